"""One file an entry, named after its track and its idea.

An entry stays as it was verified, so it may repeat lines of another.
"""

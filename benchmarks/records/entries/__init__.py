"""One file an entry, named after its track and its idea."""

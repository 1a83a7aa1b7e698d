"""The leaderboard of docs/speedrun.md: ``python -m benchmarks.records verify ENTRY``.

An entry is one file in ``entries/``::

    TRACK = "speed"                # or "minute", "ten_minutes"
    BASELINE = "speed_folded"      # the record to beat: it runs beside the entry
    ENVIRONMENT = {...}            # optional: environment variables of the process

    def train(words, vocab, seed):
        '''Train on words; return log_probs.'''

``log_probs(words)`` gives the natural logarithms of the probabilities of every next character: for
each word, a row of ``vocab.size`` for each character and one for the boundary behind the last, in
the order of ``vocab.encode_words(words)``. In the speed track it is a
:class:`~benchmarks.records.network.Network`.
"""

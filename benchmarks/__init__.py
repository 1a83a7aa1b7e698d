"""Side-by-side runs against peers: ``python -m benchmarks`` or ``make bench``.

Every peer is written in its fastest honest form, does the same work on the same data and the same
batches, and is checked to give the same losses before anything is timed. Contestants live in
processes of their own, take turns in interleaved rounds, and are compared by ratios within a
round. The results: ``docs/benchmarks.md``, ``benchmarks.json``, ``images/benchmarks.png``.
"""

"""Side-by-side runs against peers: ``python -m benchmarks`` or ``make bench``.

Every peer is written in its fastest honest form, does the same work on the same data and the same
batches, and is checked to give the same losses before anything is timed. Contestants live in
processes of their own, take turns in interleaved rounds, and are compared by ratios within a
round. The results: ``docs/benchmarks.md``, ``benchmarks.json``, ``images/benchmarks.png``.
"""

import os

from benchmarks.columns import LIMIT

if LIMIT in os.environ.get("XLA_FLAGS", ""):
    # The flag limits XLA alone: NumPy, its BLAS and PyTorch would use AVX-512 where the processor
    # has it.
    os.environ.update(
        {
            "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
            "OPENBLAS_CORETYPE": "Haswell",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
        }
    )

"""The machine: what a compiled program and the last bits of a result depend on. No JAX."""

import contextlib
import hashlib
import os
import platform
from itertools import takewhile


def n_threads() -> int:
    """Return the number of threads that XLA uses on the CPU."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu() -> str:
    """Name the model of the CPU, with a digest of its instruction sets."""
    model, features = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as info:
        lines = (line.partition(":") for line in takewhile(str.strip, info))
        first_core = {name.strip(): value.strip() for name, _, value in lines}
        model = first_core.get("model name", model)
        features = first_core.get("flags", first_core.get("Features", ""))
    digest = hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]
    return f"{model} {digest}"

"""The machine that the figures belong to, and the ceiling of its matrix products."""

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.columns import LIMIT, code_digest, cpuinfo, isa
from jaxmore.runs.machine import n_threads

PACKAGES = ["jax", "jaxlib", "numpy", "optax", "torch"]


def describe_machine() -> dict[str, Any]:
    """Describe CPU, cores, versions, date and load, which should be near 0 before a run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "isa": isa(),
        "code": code_digest(),
        "device": jax.devices()[0].device_kind,
        "cores": n_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES} | {"gcc": _gcc()},
        "matmul_precision": jax.config.jax_default_matmul_precision
        or ("float32" if jax.default_backend() == "cpu" else "XLA's default, TF32 where there is"),
        "matmul_ceiling_gflops": round(matmul_ceiling() / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
    }


def matmul_ceiling(n: int = 2048, repeats: int = 5) -> float:
    """Measure the float32 FLOPs per second of a square product: NumPy's BLAS or XLA.

    NumPy's alone where the vectors are limited, as XLA's library of products does not obey that.
    """
    limited = LIMIT in os.environ.get("XLA_FLAGS", "")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n), np.float32) for _ in range(2))
    on_device = jnp.array(a), jnp.array(b)
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, b)
        times.append(time.perf_counter() - start)
        if not limited:
            start = time.perf_counter()
            jnp.matmul(*on_device).block_until_ready()
            times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


def _cpu() -> str:
    lines = cpuinfo().splitlines()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gcc() -> str | None:
    try:
        return subprocess.run(
            ["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

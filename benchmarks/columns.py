"""What figures belong to: a column of the page, and the code that was measured. No JAX."""

import ast
import hashlib
import io
import os
import platform
import tokenize
from pathlib import Path
from typing import Any

Section = dict[str, Any]
"""{"machine": what it ran on, "rows": what was measured}"""

LIMIT = "--xla_cpu_max_isa=AVX2"
"""In XLA_FLAGS it makes a column of AVX2 on a processor with AVX-512."""
JAXMORE = Path(__file__).resolve().parents[1] / "jaxmore"
MEASURED = (
    "backprop.py",
    "rules",
    "layers",
    "models",
    "training/loop.py",
    "training/optimizers.py",
)
"""The code that decides what a step costs."""


def column(machine: dict[str, Any]) -> str:
    """Name the column that figures belong to; figures of the same column replace each other."""
    cores = f"{machine['cores']} core" + "s" * (machine["cores"] > 1)
    return f"jax {machine['versions']['jax']}, {machine['isa']}, {cores}"


def put(columns: list[Section], section: Section) -> list[Section]:
    """Return the columns of a section with one of them replaced or added."""
    name = column(section["machine"])
    others = [its for its in columns if column(its["machine"]) != name]
    return sorted([*others, section], key=lambda its: column(its["machine"]))


def isa() -> str:
    """Name the widest vectors that may be used: the processor's, if not limited.

    :data:`LIMIT` limits the code that XLA compiles, and every peer.
    """
    if platform.machine() in ("arm64", "aarch64"):
        return "NEON"
    if LIMIT in os.environ.get("XLA_FLAGS", ""):
        return "AVX2"
    sets = {"avx512f": "AVX-512", "avx2": "AVX2"}
    return next((name for flag, name in sets.items() if flag in cpuinfo()), platform.machine())


def cpuinfo() -> str:
    """Return what Linux knows of the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8") if path.exists() else ""


def code_digest() -> str:
    """Digest the measured code without its comments, its docstrings and its blank lines."""
    digest = hashlib.sha256()
    for name in MEASURED:
        path = JAXMORE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update("\n".join(code_lines(file.read_text("utf-8"))).encode())
    return digest.hexdigest()[:16]


def code_lines(source: str) -> list[str]:
    """Return the lines of a module without comments and docstrings."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[line - 1] = ""
    return [line.rstrip() for line in lines if line.strip()]

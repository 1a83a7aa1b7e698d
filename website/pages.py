"""The pages that are made from the code: the reference, and what is measured of each rule."""

import importlib
import inspect
import re
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "library": "jaxmore",
    "rules": "jaxmore.rules",
    "layers": "jaxmore.layers",
    "models": "jaxmore.models",
    "data": "jaxmore.data",
    "testing": "jaxmore.testing",
    "interop": "jaxmore.interop",
    "ninja": "jaxmore.ninja",
}
"""The pages of the reference: each shows every name of a module's ``__all__``."""
TITLES = {"library": "jaxmore: train, sample, differentiate"}


def public_names(module: ModuleType) -> list[str]:
    """The names of a page; those of ``jaxmore`` that another page shows are left out there."""
    names = [n for n in module.__all__ if not inspect.ismodule(getattr(module, n))]
    if module.__name__ != "jaxmore":
        return names
    elsewhere = {n for m in list(MODULES.values())[1:] for n in importlib.import_module(m).__all__}
    return [name for name in names if name not in elsewhere]


def undocumented(module: ModuleType) -> list[str]:
    """The public names without a docstring, public methods and properties included."""
    lacks = []
    for name in public_names(module):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or callable(thing)):
            continue  # a constant: the string below it is shown
        if not inspect.getdoc(thing):
            lacks.append(f"{module.__name__}.{name}")
        if inspect.isclass(thing):
            members = {k: v for k, v in vars(thing).items() if not k.startswith("_")}
            lacks += [
                f"{module.__name__}.{name}.{key}"
                for key, member in members.items()
                if (inspect.isfunction(member) or isinstance(member, property))
                and not inspect.getdoc(getattr(thing, key))
            ]
    return lacks


def reference(page: str) -> str:
    """Write a page of the reference in Markdown.

    Raises:
        ValueError: a public name has no docstring.
    """
    module = importlib.import_module(MODULES[page])
    if lacks := undocumented(module):
        raise ValueError(f"no docstring: {', '.join(lacks)}")
    lines = [f"# {TITLES.get(page, module.__name__)}", "", _summary(module), ""]
    for name in public_names(module):
        lines += [f"::: {_path(module, name)}", ""]
    return "\n".join(lines)


def reference_index() -> str:
    """Write the first page of the reference: every public name, with its first sentence."""
    lines = [
        "# Reference",
        "",
        "Every public name. `import jaxmore` loads a name on first use: it does not wait for JAX.",
        "",
    ]
    for page, path in MODULES.items():
        module = importlib.import_module(path)
        lines += [f"## [{path}]({page}.md)", "", "| name | what it does |", "|---|---|"]
        for name in public_names(module):
            doc = inspect.getdoc(getattr(module, name)) if callable(getattr(module, name)) else ""
            first = (doc or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            first = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", first).strip()
            lines.append(f"| [`{name}`]({page}.md#{_path(module, name)}) | {first} |")
        lines.append("")
    return "\n".join(lines)


def _summary(module: ModuleType) -> str:
    from website.docstrings import to_markdown

    return to_markdown(inspect.getdoc(module) or "")


def _path(module: ModuleType, name: str) -> str:
    """Where a name is defined: griffe reads the source there."""
    thing = getattr(module, name)
    home = getattr(thing, "__module__", None)
    generic = typing.get_origin(thing) is not None
    if generic or not isinstance(home, str) or not home.startswith("jaxmore"):
        home = _defines(module, name)
    return f"{home}.{name}"


def _defines(module: ModuleType, name: str) -> str:
    """The module that a constant is imported from."""
    source = inspect.getsource(module)
    for home, names in re.findall(r"from (jaxmore[\w.]+) import (\([^)]*\)|[^(\n]+)", source):
        if re.search(rf"\b{name}\b", names):
            return home
    return module.__name__


def measured(rule: str) -> str:
    """Write what is measured of a rule, and the documentation of its functions."""
    lines = ["", "## Exactness", "", *_exactness(rule), "", "## Memory", "", *_memory(rule), ""]
    functions = [rule, f"{rule}_fwd", f"{rule}_bwd"]
    lines += ["## Functions", ""]
    from jaxmore import rules

    for name in functions:
        lines += [f"::: {_path(rules, name)}", "    options: {heading_level: 3}", ""]
    return "\n".join(lines)


def _exactness(rule: str) -> list[str]:
    page = (ROOT / "docs" / "exactness.md").read_text("utf-8")
    page = page.partition("\n## Digits in the tails")[0]  # a table of its own
    rows = [line for line in page.splitlines() if line.startswith(f"| {rule} |")]
    lines = [
        "Largest error in float32 relative to the tensor's largest element, and root-mean-square",
        "error over that of the better of the two autodiffs (below 1: less error than both). These",
        "rows are those of [the page on exactness](../exactness.md).",
        "",
        "| arguments | cotangent | by hand | jax.grad | torch | ratio |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        _, arguments, cotangent, _, _, _, hand, jax, torch, ratio, _ = cells
        lines.append(f"| {arguments} | {cotangent} | {hand} | {jax} | {torch} | {ratio} |")
    return lines if rows else ["A reshape moves numbers and rounds none: its cotangents are exact."]


def _memory(rule: str) -> list[str]:
    from jaxmore.testing import oracles
    from jaxmore.testing.shipped import FAMILIES

    lines = [
        "Bytes of float32 residuals that the forward pass keeps, beside those that `jax.vjp` keeps",
        "of the same forward pass. Parameters count where the backward pass reads them.",
        "",
        "| arguments | by hand | jax.vjp |",
        "|---|---:|---:|",
    ]
    for family in FAMILIES[rule]:
        ours, theirs = _bytes(rule, family, oracles)
        options = ", ".join(f"{k}={v}" for k, v in family.options.items())
        lines.append(f"| `{family.arguments}` {options} | {ours:,} | {theirs:,} |")
    return lines


def _bytes(rule: str, family: Any, oracles: ModuleType) -> tuple[int, int]:
    import jax
    import jax.numpy as jnp

    from jaxmore import rules
    from jaxmore.testing import parse_args

    args = [a if a is None else jnp.asarray(a) for a in parse_args(family.arguments)]
    own = [i for i, a in enumerate(args) if a is not None and jnp.issubdtype(a.dtype, jnp.floating)]

    def call(function: Any, *floats: Any) -> Any:
        full = list(args)
        for i, value in zip(own, floats, strict=True):
            full[i] = value
        return function(*full, **family.options)

    floats = [jnp.asarray(args[i], "float32") for i in own]
    op, fwd = getattr(rules, rule), getattr(rules, f"{rule}_fwd")
    ours = oracles.count_bytes(lambda *f: call(fwd, *f)[1], floats)
    theirs = oracles.kept_bytes(lambda *f: call(op, *f), floats)
    jax.clear_caches()
    return ours, theirs

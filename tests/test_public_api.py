"""Every rule of the public API has all that a rule must have; a message says what is missing."""

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import jaxmore
from jaxmore import rules
from jaxmore.testing.shipped import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs" / "rules").glob("*.md")}
NAMES = sorted(
    {re.sub("_(fwd|bwd)$", "", n) for n in rules.__all__ if n.endswith(("_fwd", "_bwd"))}
)


def compared_with_torch(sources: Iterable[str]) -> set[str]:
    """The rules that test files compare with torch.

    Such a file has a test named "...against_torch" that takes the oracle, and imports ``op_bwd``
    or lists ``Case("op", ...)``.
    """
    found: set[str] = set()
    for source in sources:
        nodes = list(ast.walk(ast.parse(source)))
        if not any(
            isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and node.name.endswith("against_torch")
            and "oracle" in [argument.arg for argument in node.args.args]
            for node in nodes
        ):
            continue
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module == "jaxmore.rules":
                found |= {alias.name.removesuffix("_bwd") for alias in node.names}
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Case":
                found |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
    return found


COMPARED = compared_with_torch(
    path.read_text("utf-8") for path in (ROOT / "tests" / "rules").glob("*.py")
)


def missing(
    name: str,
    namespace: Any = rules,
    families: Mapping[str, Any] = FAMILIES,
    compared: Iterable[str] = COMPARED,
    pages: Mapping[str, str] = PAGES,
) -> list[str]:
    """What a rule lacks."""
    functions = {end: getattr(namespace, name + end, None) for end in ("", "_fwd", "_bwd")}
    lacks = [f"the function {name}{end}" for end, function in functions.items() if not function]
    lacks += [
        f"a docstring of {name}{end}"
        for end, function in functions.items()
        if function and not inspect.getdoc(function)
    ]
    if not lacks:
        options = [set(keyword_only(function)) for function in functions.values()]
        lacks += ["the same options in all three functions"] * (options != options[:1] * 3)
        lacks += of_docstring(functions[""])
    if name not in families:
        lacks.append("arguments in jaxmore.testing.shipped.FAMILIES, for check_rule")
    if name not in compared:
        lacks.append("a test ...against_torch(oracle) in tests/rules")
    page = pages.get(name, "")
    if not page:
        lacks.append(f"a derivation page docs/rules/{name}.md")
    elif f"{name}_bwd(" not in page or ">>>" not in page:
        lacks.append(f"an example of {name}_bwd in docs/rules/{name}.md")
    if f"({name}.md)" not in pages["README"]:
        lacks.append(f"a line for {name} in docs/rules/README.md")
    return lacks


def keyword_only(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def of_docstring(op: Any) -> list[str]:
    doc = inspect.getdoc(op) or ""
    sections = dict(re.findall(r"^(Args|Returns|Source):\s*(.+?)(?=\n\n|\Z)", doc, re.M | re.S))
    lacks = [f"{title}: in its docstring" for title in ("Args", "Returns", "Source")]
    lacks = [lack for lack in lacks if lack.partition(":")[0] not in sections]
    derivation = doc.partition("Derivation")[2].partition("Args:")[0]
    if not re.search(r"^ +.*\bd\w+(\[.*?\])? += ", derivation, re.M):
        lacks.append("a Derivation in its docstring that ends in a formula, dx = ...")
    arguments = dict(
        re.findall(r"^ *(\w+): (.+?)(?=^ *\w+: |\Z)", sections.get("Args", ""), re.M | re.S)
    )
    optional = keyword_only(op)
    for argument in inspect.signature(op).parameters:
        text = arguments.get(argument)
        if not text:
            lacks.append(f"{argument} under Args")
        elif argument not in optional and not re.search(r"\(.+\)|shape|key|see \w+", text):
            lacks.append(f"the shape of {argument} under Args")
    if not re.search(r"\(.*\)|shape|float32", sections.get("Returns", "shape")):
        lacks.append("the shape under Returns")
    return lacks


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_whole(name):
    lacks = missing(name)
    assert not lacks, f"the rule {name} lacks {'; '.join(lacks)}"


def test_the_walk_meets_every_rule():
    assert len(NAMES) >= 20
    assert set(FAMILIES) == set(NAMES)
    assert set(PAGES) == {*NAMES, "README", "collectives"}
    files = {path.stem for path in (ROOT / "jaxmore" / "rules").glob("*.py")}
    modules = {inspect.getmodule(getattr(rules, name)).__name__ for name in NAMES}
    tools = {"__init__", "_precision", "_recompute", "_reductions"}
    assert {module.rpartition(".")[2] for module in modules} == files - tools


def test_every_public_name_is_there_and_has_a_docstring():
    for module in (jaxmore, rules, jaxmore.layers, jaxmore.models, jaxmore.testing):
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), f"{module.__name__}.{name}"


# The walk itself, on a planted rule ---------------------------------------------------------------


def half(x, *, by=2.0):
    """Half of x: y = x/2.

    Derivation. The slope is 1/2::

        dx = dy/2

    Args:
        x: any shape.
        by: what to divide by.

    Returns:
        y, with the shape of x.

    Source: arithmetic.
    """
    return x / by


def half_fwd(x, *, by=2.0):
    """``half(x)`` and no residuals."""
    return half(x, by=by), ()


def half_bwd(res, dy, *, by=2.0):
    """dx = dy/2."""
    return (dy / by,)


def without_option(res, dy):
    """dx = dy/2."""
    return (dy / 2,)


WHOLE = {
    "namespace": {"half": half, "half_fwd": half_fwd, "half_bwd": half_bwd},
    "families": {"half": ()},
    "compared": {"half"},
    "pages": {"half": ">>> half_bwd((), 1.0)", "README": "[half](half.md)"},
}


def with_docstring(old, new):
    def op(x, *, by=2.0):
        return x / by

    assert old in half.__doc__
    op.__doc__ = half.__doc__.replace(old, new)
    return {"namespace": WHOLE["namespace"] | {"half": op}}


def without(part, key):
    return {part: {k: v for k, v in WHOLE[part].items() if k != key}}


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        ({}, None),
        (without("namespace", "half_bwd"), "the function half_bwd"),
        (without("namespace", "half"), "the function half"),
        ({"namespace": WHOLE["namespace"] | {"half_bwd": without_option}}, "the same options"),
        ({"namespace": WHOLE["namespace"] | {"half_fwd": lambda x: x}}, "a docstring of half_fwd"),
        (with_docstring("Returns:", "Gives:"), "Returns: in its docstring"),
        (with_docstring("Source:", "From"), "Source: in its docstring"),
        (with_docstring("Derivation", "Remark"), "a Derivation"),
        (with_docstring("dx = ", "so "), "a Derivation"),
        (with_docstring("by: what", "what"), "by under Args"),
        (with_docstring("x: any shape.", "x: a number."), "the shape of x"),
        (with_docstring("y, with the shape of x.", "y."), "the shape under Returns"),
        ({"families": {}}, "arguments in jaxmore.testing.shipped.FAMILIES"),
        ({"compared": set()}, "a test ...against_torch(oracle)"),
        (without("pages", "half"), "a derivation page docs/rules/half.md"),
        ({"pages": WHOLE["pages"] | {"half": "half"}}, "an example of half_bwd"),
        ({"pages": WHOLE["pages"] | {"README": ""}}, "a line for half in docs/rules/README.md"),
    ],
)
def test_the_walk_tells_what_is_missing(change, lack):
    parts = WHOLE | change
    lacks = missing("half", **parts | {"namespace": SimpleNamespace(**parts["namespace"])})
    assert [text[: len(lack)] for text in lacks] == [lack] if lack else lacks == []


def test_a_comparison_with_torch_is_recognised():
    test = "def test_half_against_torch(oracle):\n    ..."
    assert compared_with_torch(["from jaxmore.rules import half_bwd\n" + test]) == {"half"}
    assert compared_with_torch(['CASES = [Case("half", [()])]\n' + test]) == {"half"}
    assert (
        compared_with_torch(["from jaxmore.rules import half_bwd\ndef test_half(): ..."]) == set()
    )

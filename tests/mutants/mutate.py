"""Generate mutants: a source file with one node of its syntax tree changed at a time.

Nodes without effect on the computation are not mutated (docstrings, annotations, decorators, error
messages, keys of dicts, types in ``cast``), nor is ``strict=``, which is itself a check.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in [
        *ROOT.glob("jaxmore/rules/*.py"),
        *ROOT.glob("jaxmore/layers/*.py"),
        ROOT / "jaxmore/ninja/closed_forms.py",
        ROOT / "jaxmore/ninja/stepwise.py",
    ]
    if path.name != "__init__.py"
)

FASTER_ALONE = {"on_one_thread"}
"""Functions that choose between programs with the same values; tests/rules has their tests."""


class Mutant(NamedTuple):
    """One change. ``before`` and ``after`` are the statement, or the head of a compound one."""

    function: str
    before: str
    after: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.function}: {self.before}  →  {self.after}"


def tree_of(file: str) -> ast.Module:
    """Parse a file and remove its annotations."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):  # they have no effect and take time
            node.returns = None
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
    return tree


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield every distinct mutant of a file."""
    tree = tree_of(file)
    seen: set[tuple[str, str, str]] = set()
    for place in list(places(tree, None, "")):
        if place.function.partition(".")[0] in FASTER_ALONE:
            continue
        before = _head(place.statement)
        for new in replacements(place.node):
            place.put(ast.fix_missing_locations(new))
            after = _head(place.statement)
            key = place.function, before, after
            if before != after and key not in seen:
                seen.add(key)
                yield Mutant(*key, compile(tree, file, "exec"))
            place.put(place.node)


class Place(NamedTuple):
    node: ast.expr
    parent: ast.AST
    field: str
    index: int | None
    statement: ast.AST
    function: str

    def put(self, new: ast.expr) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new


SKIPPED_FIELDS = {"annotation", "decorator_list", "bases", "returns", "type_params"}


def places(parent: ast.AST, statement: ast.AST | None, function: str) -> Iterator[Place]:
    """Yield the expressions below a node, with their statement and function."""
    for field, value in ast.iter_fields(parent):
        if field in SKIPPED_FIELDS:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _says_nothing(parent, field, index, child):
                continue
            inside = statement
            name = function
            if isinstance(child, ast.stmt):
                inside = child
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{function}.{child.name}".lstrip(".")
            if isinstance(child, ast.expr) and inside is not None:
                place = index if isinstance(value, list) else None
                yield Place(child, parent, field, place, inside, name or "module")
            yield from places(child, inside, name)


def _says_nothing(parent: ast.AST, field: str, index: int, child: ast.AST) -> bool:
    if isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Delete):
        return True
    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):  # a docstring
        return True
    if isinstance(child, ast.keyword) and child.arg == "strict":
        return True
    if isinstance(parent, ast.Call) and field == "args" and index == 0:
        return _name(parent.func) == "cast"
    # A type alias: Tree = dict[str, Any].
    return (
        isinstance(child, ast.Assign)
        and isinstance(child.value, ast.Subscript)
        and (_name(child.value.value) in ("tuple", "dict"))
    )


def _head(statement: ast.AST) -> str:
    """Unparse a statement on one line; for a compound statement, only its header."""
    match statement:
        case ast.If(test=test):
            return f"if {ast.unparse(test)}"
        case ast.For(target=target, iter=of):
            return f"for {ast.unparse(target)} in {ast.unparse(of)}"
        case ast.FunctionDef(name=name, args=args):
            return f"def {name}({ast.unparse(args)})"
        case _:
            return ast.unparse(statement)


OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
}  # fmt: skip
COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
RENAMED = {
    "sum": "mean", "mean": "sum", "add": "set", "set": "add", "max": "min", "argmax": "argmin",
    "maximum": "minimum", "zeros": "ones", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "rsqrt": "sqrt", "exp": "exp2", "log": "log2", "tanh": "sin", "sigmoid": "tanh",
    "cumsum": "cumprod", "tril_indices": "triu_indices", "sqrt": "square", "erfc": "erf",
}  # fmt: skip
# Calls that may be replaced by their first argument, or by the object of the method.
UNWRAPPED = {
    "widen", "astype", "swapaxes", "moveaxis", "squeeze", "reversed", "square", "sum", "mean",
    "max", "exp", "log", "tanh", "sigmoid", "clip", "cumsum", "rsqrt", "sqrt", "sin", "reshape",
    "softmax", "map", "concatenate",
}  # fmt: skip
COMMUTATIVE = {"maximum", "minimum", "max", "swapaxes", "isinstance", "getattr", "cast"}


def replacements(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in OPERATORS:
                yield ast.BinOp(left, OPERATORS[type(op)](), right)
            if isinstance(op, ast.MatMult):
                yield ast.BinOp(right, op, left)
            yield left
            yield ast.UnaryOp(ast.USub(), right) if isinstance(op, ast.Sub) else right
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Compare(left, [op], [right]) if type(op) in COMPARISONS:
            yield ast.Compare(left, [COMPARISONS[type(op)]()], [right])
            if isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                yield ast.Compare(right, [op], [left])
        case ast.BoolOp(op, values):
            yield from values
        case ast.Constant(value) if isinstance(value, bool | int | float):
            yield ast.Constant(_nudged(value))
        case ast.Constant("float32"):
            yield ast.Constant("bfloat16")
        case ast.Attribute(value, "T" | "mT"):
            yield value
        case ast.IfExp(_, body, orelse):
            yield body
            yield orelse
        case ast.Slice(lower, upper, step):
            for field, value in (("lower", lower), ("upper", upper), ("step", step)):
                if value is not None:
                    others = {"lower": lower, "upper": upper, "step": step}
                    yield ast.Slice(**others | {field: None})  # pyright: ignore
                    if not isinstance(value, ast.Constant):
                        shifted = ast.BinOp(value, ast.Add(), ast.Constant(1))
                        yield ast.Slice(**others | {field: shifted})  # pyright: ignore
        case ast.Tuple(items, ast.Load()) | ast.List(items, ast.Load()) if len(items) > 1:
            for changed in (*_swapped(items), items[:-1]):
                yield type(node)(changed, ast.Load())
        case ast.Dict(keys, values) if len(keys) > 1:
            for changed in _swapped(values):
                yield ast.Dict(keys, changed)
        case ast.Call(func, args, keywords):
            yield from _replaced_calls(func, args, keywords)
        case _:
            pass


def _replaced_calls(
    func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]
) -> Iterator[ast.expr]:
    name = _name(func)
    if name in RENAMED and not (name == "set" and not args):
        new: Any = (
            ast.Attribute(func.value, RENAMED[name], ast.Load())
            if isinstance(func, ast.Attribute)
            else ast.Name(RENAMED[name], ast.Load())
        )
        yield ast.Call(new, args, keywords)
    is_method = isinstance(func, ast.Attribute) and _name(func.value) not in (
        "jnp", "lax", "jax", "np", "nn", "random", "rules", "math",
    )  # fmt: skip
    if name in UNWRAPPED:
        if is_method:
            yield func.value  # pyright: ignore
        elif args and not isinstance(args[0], ast.Starred):
            yield args[0]
    if name == "where":
        yield from args[1:]
    if name not in COMMUTATIVE:
        for changed in _swapped(args):
            yield ast.Call(func, changed, keywords)
    for i, keyword in enumerate(keywords):
        is_flag = isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, bool)
        if keyword.arg not in ("strict", None) and not is_flag:
            yield ast.Call(func, args, [*keywords[:i], *keywords[i + 1 :]])


def _swapped(items: list[Any]) -> Iterator[list[Any]]:
    for i in range(len(items) - 1):
        yield [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


def _nudged(value: float) -> float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 1.001 or 0.001


def _name(func: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")

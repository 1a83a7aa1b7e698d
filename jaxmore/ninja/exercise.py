"""What an exercise is made of: a network, its forward lines, blanks, hints and a README."""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from textwrap import dedent
from typing import Any, NamedTuple


class Hint(NamedTuple):
    """A question, and the idea of the answer. Neither is the line itself."""

    question: str
    more: str


class Line(NamedTuple):
    """A line of the forward pass: the name that it assigns, and the names that it reads."""

    target: str
    code: str
    reads: frozenset[str]


def parse_lines(text: str) -> tuple[Line, ...]:
    """Read forward lines, each of which assigns one name."""
    return tuple(_line(node, text) for node in ast.parse(text).body)


def _line(node: ast.stmt, text: str) -> Line:
    names = [child for child in ast.walk(node) if isinstance(child, ast.Name)]
    (target,) = (name.id for name in names if isinstance(name.ctx, ast.Store))
    reads = frozenset(name.id for name in names if isinstance(name.ctx, ast.Load))
    return Line(target, ast.get_source_segment(text, node) or "", reads)


class Exercise(NamedTuple):
    """A network whose cotangents are to be written by hand.

    In the learner's file the parameters, the intermediates and the batch have their own names, and
    the cotangent of ``h`` is called ``dh``.
    """

    title: str
    """The first line of the file and of its README."""
    batch: Callable[[], Any]
    """Returns the parameters, X and Y: a NamedTuple."""
    parameters: Callable[..., Any]
    """The parameters alone, the first argument of ``forward``: a NamedTuple."""
    forward: Callable[..., Any]
    """(parameters, X, Y) -> the intermediates in order, the loss last: a NamedTuple."""
    cotangents: tuple[str, ...]
    """The variables that have a blank, in the order of the backward pass."""
    setup: str
    """The lines before the forward pass; ``{h}`` stands for the shape of ``h``."""
    hints: Mapping[str, Hint]
    readme: str
    """The README; ``{checking}`` and ``{writing}`` stand for what all exercises share."""
    text: str | None = None
    """The forward lines; None for those of ``forward``."""
    closed_forms: Mapping[str, Line] = {}
    """Further blanks, named ``h_fast``: several forward lines are treated as one."""
    closed_form_blanks: str = ""
    """The end of the file, with the blanks of the closed forms."""
    by_other_numbers: Callable[[Any, Any, Mapping[str, Any]], dict[str, Any]] = lambda *_: {}
    """(batch, intermediates, generic cotangents) -> the right cotangents of some blanks.

    These are judged with generic numbers for the cotangents above them, because with the real ones
    a wrong line would do as well.
    """
    zero_by_identity: frozenset[str] = frozenset()
    """The variables whose cotangents are zero, but for rounding, on every batch."""
    powers: Mapping[str, str] = {}
    """What is added to a variable before a power is taken of it, such as "1e-5"."""
    bank: Callable[[], Mapping[str, Any]] = dict
    """Returns the known mistakes, by variable."""

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that have a blank, closed forms last."""
        return (*self.cotangents, *self.closed_forms)

    @property
    def forward_text(self) -> str:
        """The forward lines as they stand in the learner's file."""
        return self.text or _body(self.forward)

    def lines_that_read(self, name: str) -> list[Line]:
        """Return the forward lines that use a variable; its cotangent comes from them."""
        if name in self.closed_forms:
            return [self.closed_forms[name]]
        return [line for line in _lines(self.forward_text) if name in line.reads]

    def share_of_forward(self, assigned: Mapping[str, Any]) -> float:
        """Return for how many of the forward lines a file assigns the name, as a share of all."""
        targets = {line.target for line in _lines(self.forward_text)}
        return len(targets & assigned.keys()) / len(targets)


_lines = cache(parse_lines)


@cache
def _body(forward: Callable[..., Any]) -> str:
    """The lines of a function between its first blank line and its last, without ``params.``."""
    source = dedent(inspect.getsource(inspect.unwrap(forward)))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    rows = source.splitlines()[function.body[0].end_lineno : function.body[-1].lineno - 1]
    _, _, body = "\n".join(rows).partition("\n\n")
    return dedent(body).replace("params.", "").rstrip() + "\n"

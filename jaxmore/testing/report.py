"""The report of a check: a table for a right rule, a diagnosis for a wrong one."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from jaxmore import notebook
from jaxmore.terminal import table


@dataclass(frozen=True)
class Problem:
    """A mistake that a check found."""

    check: str
    """The check that found it: structure, primal, autodiff, differences, ..."""
    message: str
    argument: str | None = None
    index: tuple[int, ...] | None = None
    """The worst element of the argument's cotangent."""
    ours: float | None = None
    oracle: float | None = None
    relative_error: float | None = None
    cause: str | None = None
    """The cause that the pattern of the error shows, or None."""

    def __str__(self) -> str:
        return self.message + (f"\n  cause: {self.cause}" if self.cause else "")


@dataclass(frozen=True)
class Row:
    """The errors of one cotangent, in units of the condition scale of its elements."""

    argument: str
    shape: tuple[int, ...]
    autodiff: float
    """The largest error against ``jax.vjp`` in float64."""
    differences: float
    """The largest error against differences of the forward in float64."""
    narrow: dict[str, float] = field(default_factory=dict[str, float])
    """The largest error against float64 in each narrow dtype, in units of its eps."""
    judged_by_autodiff: float = 1.0
    """The share of the elements at which autodiff gave a number."""
    judged_by_differences: float = 1.0
    """The share of the elements at which the differences settled."""


@dataclass
class Report:
    """Everything that :func:`jaxmore.testing.check_rule` measured. Prints as a short table."""

    name: str
    rows: list[Row] = field(default_factory=list[Row])
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])
    unjudged: list[str] = field(default_factory=list[str])
    """Elements and checks that could not be judged, and why."""
    sampled: bool = False
    """Whether the differences moved a sample of the elements only."""
    taylor: float | None = None
    """The order of the Taylor remainder; None where it is at the level of rounding."""
    agreement: float | None = None
    """The largest difference between eager, jit, vmap, scan and checkpoint, in ulps."""
    modes: bool = False
    """Whether the rule ran in every mode, not eagerly and under jit alone."""
    grad_of_grad: float | None = None
    """The largest error of the second derivative, in units of the condition scale."""
    dual: float | None = None
    """The largest difference of ⟨dy, jvp(v)⟩ and ⟨vjp(dy), v⟩, in units of the condition scale."""
    residual_bytes: int | None = None
    """None where they were not counted."""
    autodiff_bytes: int = 0
    not_provided: list[str] = field(default_factory=list[str])
    """What a hijax primitive has no rule for: jvp, linearize, vmap, ..."""
    left_out: tuple[str, ...] = ()
    """Checks that the caller left out."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, and something was judged."""
        return not self.problems and (self._judged_anything or "autodiff" in self.left_out)

    @property
    def verdict(self) -> str:
        """``"right"``, ``"wrong"``, or ``"not judged"`` where no oracle spoke at some element."""
        if self.problems:
            return "wrong"
        return "right" if self._judged_anything and not self.unjudged else "not judged"

    @property
    def _judged_anything(self) -> bool:
        return any(max(r.judged_by_autodiff, r.judged_by_differences) > 0 for r in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, for JSON."""
        return {"passed": self.passed, "verdict": self.verdict} | asdict(self)

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        verdict = f"{self.name}: {self.verdict}"
        reasons = map(str, [*self.problems, *self.unjudged, *self.notes])
        return notebook.table(head, rows, "; ".join([verdict, *reasons]))

    def _table(self) -> list[tuple[str, ...]]:
        """Return the head of the table, and a row for each cotangent."""
        dtypes = list(self.rows[0].narrow) if self.rows else []
        rows: list[tuple[str, ...]] = [(self.name, "shape", "autodiff", "differences", *dtypes)]
        for r in self.rows:
            narrow = (_eps(r.narrow[d]) if d in r.narrow else "" for d in dtypes)
            autodiff = _error(r.autodiff, r.judged_by_autodiff)
            differences = _error(r.differences, r.judged_by_differences)
            rows.append((r.argument, str(r.shape), autodiff, differences, *narrow))
        return rows

    def __str__(self) -> str:
        remarks = [f"not judged: {text}" for text in self.unjudged]
        remarks += [f"not provided: {', '.join(self.not_provided)}"] if self.not_provided else []
        remarks += [f"note: {note}" for note in self.notes]
        if self.problems:
            lines = [f"{self.name} is wrong", *map(str, self.problems)]
            return "\n".join([*lines, *remarks])
        if not self.passed:
            return "\n".join([f"{self.name} is not judged: no oracle gives a number", *remarks])
        rows = self._table()
        lines = [table(rows, "<<" + ">" * (len(rows[0]) - 2))]
        measured: list[str] = []
        if self.agreement is not None and self.modes:
            measured.append(f"modes within {self.agreement:.1f} ulp")
        if self.grad_of_grad is not None:
            measured.append(f"grad of grad {self.grad_of_grad:.0e}")
        if self.dual is not None:
            measured.append(f"jvp dual to vjp within {self.dual:.0e}")
        if self.taylor is not None:
            measured.append(f"Taylor order {self.taylor:.2f}")
        if self.residual_bytes is not None:
            by_autodiff = f" (autodiff: {self.autodiff_bytes:,})" if self.autodiff_bytes else ""
            measured.append(f"residuals {self.residual_bytes:,} bytes{by_autodiff}")
        lines += [", ".join(measured)] if measured else []
        return "\n".join([*lines, *remarks])


class RuleError(AssertionError):
    """A rule is wrong. The message says where and by how much; ``report`` holds the details."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def _error(error: float, judged: float) -> str:
    """Format an error, with the share of the elements it was measured at if not all."""
    if judged == 0 or math.isnan(error):
        return "-"
    return f"{error:.0e}" if judged == 1 else f"{error:.0e} ({min(100 * judged, 99.9):.3g}%)"


def _eps(error: float) -> str:
    return f"{error:.1f} eps" if error < 1000 else f"{error:.0e} eps"

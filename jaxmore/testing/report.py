"""What a check found: a table when all is well, a diagnosis when it is not."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a rule."""

    check: str
    """Which of the seven checks found it: structure, primal, autodiff, differences, ..."""
    message: str
    argument: str | None = None
    index: tuple[int, ...] | None = None
    """The worst element of the argument's cotangent."""
    ours: float | None = None
    oracle: float | None = None
    relative_error: float | None = None
    cause: str | None = None
    """What the pattern of the error shows, or None where it shows nothing."""

    def __str__(self) -> str:
        return self.message + (f"\n  cause: {self.cause}" if self.cause else "")


@dataclass(frozen=True)
class Row:
    """What was measured for one cotangent; errors are in units of its condition scale."""

    argument: str
    shape: tuple[int, ...]
    autodiff: float
    """Largest difference to ``jax.vjp`` in float64."""
    differences: float
    """Largest difference to the differences of the forward in float64."""
    narrow: dict[str, float] = field(default_factory=dict[str, float])
    """By dtype, the largest error against float64, in units of the dtype's eps."""
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
    agreement: float | None = None
    """Eager, jit, vmap, scan and checkpoint, the largest difference in ulps of the scale."""
    grad_of_grad: float | None = None
    """Reverse mode through the drop-in's reverse mode, in units of the condition scale."""
    residual_bytes: int = 0
    autodiff_bytes: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, for JSON."""
        return {"passed": self.passed} | asdict(self)

    def __str__(self) -> str:
        if self.problems:
            lines = [f"{self.name} is wrong", *map(str, self.problems)]
            return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
        dtypes = list(self.rows[0].narrow) if self.rows else []
        head = (self.name, "shape", "autodiff", "differences", *dtypes)
        table: list[tuple[str, ...]] = []
        for r in self.rows:
            narrow = (_eps(r.narrow[d]) if d in r.narrow else "" for d in dtypes)
            row = r.argument, str(r.shape), f"{r.autodiff:.0e}", f"{r.differences:.0e}", *narrow
            table.append(row)
        widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in [head, *table]
        ]
        modes = ""
        if self.agreement is not None and self.grad_of_grad is not None:
            modes = f"modes within {self.agreement:.1f} ulp, grad of grad {self.grad_of_grad:.0e}, "
        kept = f"residuals {self.residual_bytes:,} bytes (autodiff: {self.autodiff_bytes:,})"
        lines.append(modes + kept)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


class RuleError(AssertionError):
    """A rule is wrong. The message says where and by how much; ``report`` holds the details."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def _eps(error: float) -> str:
    return f"{error:.1f} eps" if error < 1000 else f"{error:.0e} eps"

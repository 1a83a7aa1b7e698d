"""The notebooks' exercise, "becoming a backprop ninja": network, figures, blanks and grader."""

from jaxmore.ninja import stepwise
from jaxmore.ninja.blanks import write
from jaxmore.ninja.comparison import Comparison, compare, dump, format_table, stepwise_table
from jaxmore.ninja.example_batch import Batch, batch
from jaxmore.ninja.grader import Report, Verdict, check

__all__ = [
    "Batch",
    "Comparison",
    "Report",
    "Verdict",
    "batch",
    "check",
    "compare",
    "dump",
    "format_table",
    "stepwise",
    "stepwise_table",
    "write",
]

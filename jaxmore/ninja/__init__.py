"""The notebooks' exercise, "becoming a backprop ninja": network, figures, blanks and grader."""

from jaxmore.ninja import stepwise
from jaxmore.ninja.blanks import write
from jaxmore.ninja.comparison import Comparison, compare, dump, format_table, stepwise_table
from jaxmore.ninja.example_batch import Batch, batch
from jaxmore.ninja.figures import Figure, format_figures
from jaxmore.ninja.grader import Report, Verdict, check
from jaxmore.ninja.microgpt import replay_microgpt
from jaxmore.ninja.notebook_figures import replay
from jaxmore.ninja.notebooks import NetworkInputs, notebook_003, notebook_004

__all__ = [
    "Batch",
    "Comparison",
    "Figure",
    "NetworkInputs",
    "Report",
    "Verdict",
    "batch",
    "check",
    "compare",
    "dump",
    "format_figures",
    "format_table",
    "notebook_003",
    "notebook_004",
    "replay",
    "replay_microgpt",
    "stepwise",
    "stepwise_table",
    "write",
]

"""Exercises in backpropagation: "becoming a backprop ninja", attention, a GRU; and replays."""

from jaxmore.ninja import attention, gru, stepwise
from jaxmore.ninja.comparison import Comparison, compare, dump, format_table, stepwise_table
from jaxmore.ninja.example_batch import Batch, batch
from jaxmore.ninja.exercise import Exercise, Hint
from jaxmore.ninja.exercises import EXERCISES, write
from jaxmore.ninja.figures import Figure, format_figures
from jaxmore.ninja.grader import Report, Verdict, check
from jaxmore.ninja.microgpt import replay_microgpt
from jaxmore.ninja.notebook_figures import replay
from jaxmore.ninja.notebooks import NetworkInputs, notebook_003, notebook_004

__all__ = [
    "EXERCISES",
    "Batch",
    "Comparison",
    "Exercise",
    "Figure",
    "Hint",
    "NetworkInputs",
    "Report",
    "Verdict",
    "attention",
    "batch",
    "check",
    "compare",
    "dump",
    "format_figures",
    "format_table",
    "gru",
    "notebook_003",
    "notebook_004",
    "replay",
    "replay_microgpt",
    "stepwise",
    "stepwise_table",
    "write",
]

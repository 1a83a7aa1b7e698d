"""One module per command, with its flags and what it does. Running a command imports JAX."""

from importlib import import_module
from typing import Any

COMMANDS = {
    "train": "Train a model on a file of words and make more of them.",
    "sample": "Make more words with a trained model.",
    "evaluate": "Compute the train, dev and test loss of a trained model.",
    "inspect": "Plot activations, cotangents and ratios of a trained model.",
    "find-lr": "Sweep the learning rate of an optimiser, and suggest one.",
    "sweep": "Train once for each learning rate, weight decay and seed.",
    "ngram": "Count bigrams or trigrams; print their loss, sample words.",
    "data": "Describe a file of words, download makemore's, or pack a file.",
    "trace": "Print the contexts of words, and what each predicts.",
    "check": "Check gradients: jaxmore's own, and yours.",
    "exercise": "Write an exercise in backpropagation, with hints.",
    "explore": "Write a page that shows backpropagation, live in a browser.",
    "replay": "Recompute what the notebooks, or microgpt, print.",
    "convert": "Turn makemore.py's model.pt into a work folder, or back.",
}
"""The line of each command in ``jaxmore --help``, which imports none of them to answer fast."""


def command(name: str) -> Any:
    """Import the class of a command: :mod:`jaxmore.commands.find_lr` has ``FindLr``."""
    module = import_module(f"jaxmore.commands.{name.replace('-', '_')}")
    return getattr(module, name.title().replace("-", ""))

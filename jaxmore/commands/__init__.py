"""One file a command: its flags and what it does. JAX is imported when a command runs."""

from importlib import import_module
from typing import Any

COMMANDS = {
    "train": "Train a model on a file of words and make more of them.",
    "sample": "Make more words with a trained model.",
    "evaluate": "The exact train, dev and test loss of a trained model.",
    "inspect": "Draw what a batch does in a trained model, layer by layer.",
    "find-lr": "Sweep the learning rate of an optimiser, and suggest one.",
    "sweep": "Train once for each learning rate, weight decay and seed.",
    "ngram": "Count bigrams or trigrams: their loss, a heat map, and new words.",
    "data": "Tell which words a run would use, or fetch makemore's names.",
    "trace": "Spell out the contexts of words, and what each predicts.",
    "check": "Prove gradients: what ships, and what is yours.",
    "exercise": "Write an exercise in backpropagation for you to do, with hints.",
    "explore": "Write a page that shows backpropagation, live in a browser.",
    "replay": "Replay what the notebooks, or microgpt, print: with JAX alone.",
    "convert": "Turn makemore.py's model.pt into a work folder, or back.",
}
"""What ``jaxmore --help`` says of each command. It imports none of them, so it answers at once."""


def command(name: str) -> Any:
    """Import the class of a command: :mod:`jaxmore.commands.find_lr` has ``FindLr``."""
    module = import_module(f"jaxmore.commands.{name.replace('-', '_')}")
    return getattr(module, name.title().replace("-", ""))

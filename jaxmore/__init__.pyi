# The public names: for type checkers, and for the lazy loading in __init__.py.
from .backprop import loss_and_grad, trace
from .data import Vocabulary, context_windows, read_words, split_words
from .drop_in import custom_vjp
from .errors import InputError
from .layers import (
    BatchNorm,
    Chain,
    Embedding,
    Flatten,
    Layer,
    Linear,
    Normal,
    Tanh,
    Windows,
    describe,
)
from .models import bengio, mlp_bn
from .torch_generator import TorchGenerator

__version__: str

__all__ = [
    "BatchNorm",
    "Chain",
    "Embedding",
    "Flatten",
    "InputError",
    "Layer",
    "Linear",
    "Normal",
    "Tanh",
    "TorchGenerator",
    "Vocabulary",
    "Windows",
    "bengio",
    "context_windows",
    "custom_vjp",
    "describe",
    "loss_and_grad",
    "mlp_bn",
    "read_words",
    "split_words",
    "trace",
]

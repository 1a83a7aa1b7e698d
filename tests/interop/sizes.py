"""Small models of every type that makemore.py has, and words for them."""

import jax
import numpy as np

from jaxmore.layers import Tree
from jaxmore.models import MODELS, model_options

TYPES = ["bigram", "mlp", "bow", "rnn", "gru", "lstm", "transformer"]
WORDS = ["emma", "ava", "mia", "zoe", "bo", "lucy", "ida"]
V, T = 14, 5  # of these words
SIZES = {"n_embd": 6, "n_embd2": 7, "n_layer": 2, "n_head": 3}


def weights(type: str, **sizes: int) -> tuple[dict[str, int], Tree]:
    """The options of a model of ours, and generic weights for it."""
    options = {"block_size": T, **SIZES, **sizes}
    options = {name: options[name] for name in model_options(type)}
    shapes = jax.eval_shape(MODELS[type].make(V, **options).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return options, jax.tree.map(lambda p: rng.normal(size=p.shape).astype("f4"), shapes)

"""The seeds' parameters as views of one flat vector, so that one operation updates them all."""

from typing import Any

import numpy as np
from jaxtyping import Float


def flat_parameters(
    params: dict[str, Any],
) -> tuple[Float[np.ndarray, " P"], list[Float[np.ndarray, "..."]]]:
    """Copy the parameters of ``mlp_bn``.

    Returns:
        The vector, and its views: C, W1, b1, gain, bias, W2, b2.
    """
    leaves = [
        params["embedding"]["weight"],
        params["hidden"]["weight"],
        params["hidden"]["bias"],
        params["norm"]["gain"],
        params["norm"]["bias"],
        params["head"]["weight"],
        params["head"]["bias"],
    ]
    flat = np.concatenate([leaf.ravel() for leaf in leaves])
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(flat, ends)
    return flat, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]

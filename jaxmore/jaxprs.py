"""What jaxprs say in one version of JAX and in another."""

from collections.abc import Mapping
from typing import Any


def scan_sizes(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of constants and of carried values of a ``scan``, from its parameters."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    n_consts, n_carry, _ = map(len, params["ft_in"].unpack())  # newer jax
    return n_consts, n_carry

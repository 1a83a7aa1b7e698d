"""``--device``: the platform that JAX computes on, chosen before it computes anything."""

from typing import Any, cast

import jax

from jaxmore.errors import InputError


def choose_device(platform: str) -> None:
    """Compute on one platform of JAX's from here on: ``cpu``, ``gpu``, ``cuda``, ``tpu``, ...

    Raises:
        InputError: it is not there, or JAX is at work on another one already.
    """
    if not platform:  # to JAX it is the default
        raise InputError("--device must name a platform, such as cpu")
    before = cast(Any, jax.config).jax_platforms
    jax.config.update("jax_platforms", platform)
    try:
        usable = jax.devices()[0] in jax.devices(platform)
    except Exception as error:  # RuntimeError from most platforms, AssertionError from cuda
        jax.config.update("jax_platforms", before)
        reason = str(error).split(" (set JAX_PLATFORMS", maxsplit=1)[0].partition("\n")[0]
        why = f" ({reason})" if reason else ""
        raise InputError(f"--device {platform}: JAX finds no such platform here{why}") from error
    if not usable:
        raise InputError(f"--device {platform}: JAX is at work on {jax.default_backend()} already")

"""``jax.jit`` with options for XLA's CPU compiler."""

from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import Any

import jax

RUNS_ONCE = {"xla_backend_optimization_level": 0}
"""Options for what runs a few times: half the time to compile, several times as long to run."""
RUNS_SELDOM = {"xla_backend_optimization_level": 1}
"""Options for what runs now and then: less time to compile, about as long to run."""


class CpuJit:
    """``jax.jit`` with compiler options that are used on the CPU alone.

    On a GPU, XLA knows no optimisation level below 2. Which platform it is is known at the first
    call only, because the question starts JAX.

    Args:
        function: the function to compile.
        options: XLA's options on the CPU.
        **jit_options: the other arguments of ``jax.jit``.
    """

    def __init__(
        self, function: Callable[..., Any], options: Mapping[str, Any], **jit_options: Any
    ) -> None:
        self._function, self._options, self._jit_options = function, options, jit_options
        update_wrapper(self, function)

    @cached_property
    def jitted(self) -> Any:
        """The result of ``jax.jit``."""
        options = dict(self._options) if jax.default_backend() == "cpu" else None
        return jax.jit(self._function, compiler_options=options, **self._jit_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.jitted(*args, **kwargs)

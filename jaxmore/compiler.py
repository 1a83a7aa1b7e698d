"""``jax.jit`` with options for XLA's CPU compiler."""

from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import Any

import jax

UNOPTIMIZED = {"xla_backend_optimization_level": 0}
"""CPU options for what runs a few times: half the time to compile, and slower to run."""


class CpuJit:
    """``jax.jit`` with compiler options that apply on the CPU only.

    XLA's GPU compiler does not support optimisation levels below 2. The platform is looked up at
    the first call rather than at decoration, because ``jax.default_backend()`` initialises JAX.

    Args:
        function: the function to compile.
        cpu_options: XLA compiler options, used on the CPU only.
        compiler_options: XLA compiler options, used on every platform.
        **jit_options: further keyword arguments of ``jax.jit``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        cpu_options: Mapping[str, Any],
        compiler_options: Mapping[str, Any] | None = None,
        **jit_options: Any,
    ) -> None:
        update_wrapper(self, function)
        self._function, self._jit_options = function, jit_options
        self._cpu_options, self._options = cpu_options, compiler_options or {}

    @cached_property
    def jitted(self) -> Any:
        """The result of ``jax.jit``."""
        on_cpu = jax.default_backend() == "cpu"
        options = {**self._options, **(self._cpu_options if on_cpu else {})}
        return jax.jit(self._function, compiler_options=options or None, **self._jit_options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.jitted(*args, **kwargs)

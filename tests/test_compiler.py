"""Compiler options for the CPU alone."""

import jax
import jax.numpy as jnp
import pytest

from jaxmore.compiler import CpuJit

UNKNOWN = {"xla_no_such_option": True}


def test_the_cpu_is_given_the_options() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        CpuJit(jnp.negative, UNKNOWN)(1.0)


def test_a_gpu_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert CpuJit(jnp.negative, UNKNOWN)(1.0) == -1

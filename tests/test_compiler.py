"""Compiler options for the CPU alone."""

import jax
import jax.numpy as jnp
import pytest

from jaxmore.compiler import CpuJit

UNKNOWN = {"xla_no_such_option": True}


def on(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)


def test_the_cpu_is_given_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    on("cpu", monkeypatch)
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        CpuJit(jnp.negative, UNKNOWN)(1.0)


def test_a_gpu_is_given_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    on("gpu", monkeypatch)
    assert CpuJit(jnp.negative, UNKNOWN)(1.0) == -1


def test_a_gpu_is_given_the_options_of_every_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    on("gpu", monkeypatch)
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        CpuJit(jnp.negative, {}, compiler_options=UNKNOWN)(1.0)


def test_decorating_does_not_start_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jax, "default_backend")
    assert CpuJit(jnp.negative, {}, static_argnums=()).__name__ == "negative"

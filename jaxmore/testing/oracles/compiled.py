"""Compile what runs a few times: the checks spend most of their time in the compiler."""

from functools import partial

from jaxmore.compiler import RUNS_ONCE, CpuJit

jit_quickly = partial(CpuJit, options=RUNS_ONCE)
"""``jax.jit`` without LLVM's optimisation: half the time to compile, and slower to run."""

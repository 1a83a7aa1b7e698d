"""Compile what runs a few times: the checks spend most of their time in the compiler."""

from functools import partial

from jaxmore.compiler import UNOPTIMIZED, CpuJit

jit_quickly = partial(CpuJit, cpu_options=UNOPTIMIZED)
"""``jax.jit`` without LLVM's optimisation: half the time to compile, and slower to run."""

"""Compile what runs a few times: the checks spend most of their time in the compiler."""

from functools import partial

import jax

jit_quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""``jax.jit`` without LLVM's optimisation: half the time to compile, and slower to run."""

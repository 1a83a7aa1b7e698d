"""How far a gradient moves when each operation rounds differently.

A change of the inputs' last bit does not show what a forward loses inside: x + 1e7 keeps seven
digits less than x, and equally right gradients of its variance differ in the ninth. Monte Carlo
arithmetic shows it: every inexact result is multiplied by 1 + u, |u| <= eps, drawn anew for each.

Source: Parker, "Monte Carlo arithmetic: exploiting randomness in floating-point arithmetic" (1997).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxmore.testing.oracles.autodiff import bind, cotangents

# Equations that only call others: followed inside.
CALLS = (
    "jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call",
)  # fmt: skip
# What rounds nothing stays as it is: two copies of a value must stay equal, for ties and masks.
INEXACT = (
    "add", "add_any", "sub", "mul", "div", "rem", "pow", "integer_pow", "square", "sqrt", "rsqrt",
    "cbrt", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh", "sin", "cos", "tan", "asin",
    "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv",
    "lgamma", "digamma", "dot_general", "conv_general_dilated", "reduce_sum", "reduce_prod",
    "cumsum", "cumprod", "cumlogsumexp", "scatter-add", "scan", "while", "cond",
)  # fmt: skip


def gradient_noise(
    function: Callable[..., Any], inputs: Sequence[Any], dy: Any, random: np.random.Generator
) -> list[np.ndarray]:
    """Measure how far autodiff's cotangents lie apart in six runs of Monte Carlo arithmetic.

    It is the reference's noise and not the rule's: a backward that loses digits which autodiff
    keeps has no excuse. Loops and branches count as one operation each.

    Args:
        function: the forward, of arrays.
        inputs: its arguments, in the dtype whose rounding is meant.
        dy: the cotangent of its value.
        random: the source of the perturbations.

    Returns:
        For each input the distance, element by element, in float64; 0 where there is no number.
    """
    graph = jax.make_jaxpr(partial(cotangents, function))(inputs, dy)
    leaves = jax.tree.leaves((inputs, dy))
    runs = [_run(graph, leaves, random) for _ in range(6)]
    with np.errstate(all="ignore"):
        spreads = [np.ptp(np.asarray(outs, "float64"), 0) for outs in zip(*runs, strict=True)]
    return [np.nan_to_num(spread, posinf=0) for spread in spreads]


def _run(graph: core.ClosedJaxpr, inputs: Sequence[Any], random: np.random.Generator) -> list[Any]:
    values = dict(zip(graph.jaxpr.invars, inputs, strict=True))
    values |= dict(zip(graph.jaxpr.constvars, graph.consts, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in graph.jaxpr.eqns:
        operands, name = [read(atom) for atom in equation.invars], equation.primitive.name
        if name in CALLS:
            params = equation.params
            body: Any = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
            body = body if isinstance(body, core.ClosedJaxpr) else core.ClosedJaxpr(body, ())
            outs = _run(body, operands, random)
        else:
            outs = bind(equation, operands)
            if name in INEXACT:
                outs = [_perturbed(out, random) for out in outs]
        values |= dict(zip(equation.outvars, outs, strict=True))
    return [read(atom) for atom in graph.jaxpr.outvars]


def _perturbed(out: Any, random: np.random.Generator) -> Any:
    if not jnp.issubdtype(out.dtype, jnp.floating):
        return out
    eps = float(jnp.finfo(out.dtype).eps)
    return out * jnp.asarray(1 + random.uniform(-eps, eps, out.shape), out.dtype)

"""Forms that XLA's CPU compiler makes fast, each beside the plain form with the same result."""

from collections.abc import Callable, Sequence
from functools import partial
from timeit import timeit
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxmore import rules
from jaxmore.rules._reductions import max_keepdims, sum_rows
from jaxmore.training.loop import COMPILER_OPTIONS

Shapes = tuple[tuple[int, ...], ...]
Function = Callable[..., Any]
VARIANTS = 8
"""How many inputs a scan goes round: of one alone XLA would take the work out of the loop."""


class Form(NamedTuple):
    """Two functions of arrays, and the shapes of the arrays for each row of the table."""

    name: str
    plain: Function
    jaxmore: Function
    shapes: Sequence[Shapes]


def weight_step(gradient: Function, x: Array, dy: Array, weight: Array) -> Array:
    # A scan that carried only the gradient would carry it transposed, as jaxmore's does.
    return weight - 0.1 * gradient(x, dy, weight)


def bias_gradient(sum_of: Function, x: Array, dy: Array, weight: Array) -> tuple[Array, Array]:
    (dx,) = rules.gelu_bwd(x, dy, approximate=True)
    return dx @ weight, sum_of(dx)


def attention(q: Array, k: Array, v: Array, do: Array, **options: int) -> tuple[Array, Any]:
    o, res = rules.causal_attention_fwd(q, k, v, **options)
    return o, rules.causal_attention_bwd(res, do, **options)


MAXIMUM = partial(jnp.max, axis=-1, keepdims=True), max_keepdims
LINEAR = (
    partial(weight_step, lambda x, dy, _: x.T @ dy),
    partial(weight_step, lambda x, dy, weight: rules.linear_bwd((x, weight), dy)[1]),
)
GELU = partial(bias_gradient, lambda dx: dx.sum((0, 1))), partial(bias_gradient, sum_rows)
GELU_SHAPES = (32, 15, 256), (32, 15, 256), (256, 64)
ATTENTION = partial(attention, block_size=15), attention  # unpadded; padded to 16 rows
FORMS = [
    Form("softmax: maximum", *MAXIMUM, [((2048, 16),), ((2048, 64),), ((512, 1024),)]),
    Form(
        "linear layer's weight: gradient and step of SGD",
        *LINEAR,
        [((n, i), (n, o), (i, o)) for n, i, o in ((32, 200, 27), (480, 960, 64), (2048, 512, 128))],
    ),
    Form("gelu behind a bias: gradient, with its product and its sum", *GELU, [GELU_SHAPES]),
    Form("attention: forward and backward", *ATTENTION, [((32, 4, 15, 16),) * 4]),
]


def run(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each form and shape."""
    n_steps, rounds = (80, 5) if quick else (400, 25)
    return [compare(form, shapes, n_steps, rounds) for form in FORMS for shapes in form.shapes]


def compare(form: Form, shapes: Shapes, n_steps: int, rounds: int) -> dict[str, Any]:
    """Time both functions in turns, ``n_steps`` times per round; their results must agree."""
    shape = ", ".join(map(str, dict.fromkeys(shapes)))
    print(f"forms, {form.name}, {shape}", flush=True)
    rng = np.random.default_rng(0)
    stacks = [jnp.array(rng.standard_normal((VARIANTS, *s)), jnp.float32) for s in shapes]
    scans = [scanned(function, stacks, n_steps) for function in (form.plain, form.jaxmore)]
    plain, jaxmore = (jax.tree.leaves(scan()) for scan in scans)
    for a, b in zip(plain, jaxmore, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * abs(b).max(), err_msg=form.name)
    seconds = [[timeit(scan, number=1) for scan in scans] for _ in range(rounds)]
    us = 1e6 * np.array(seconds) / n_steps
    row = dict(zip(("us_plain", "us_jaxmore"), np.median(us, 0).tolist(), strict=True))
    row |= {"ratio": float(np.median(us[:, 0] / us[:, 1])), "rounds_us": us.tolist()}
    return {"form": form.name, "shape": shape} | row


def scanned(function: Function, stacks: list[Array], n_steps: int) -> Callable[[], Any]:
    """Apply ``function`` to the stacked inputs one after the other; return the last result."""

    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def run(stacks: list[Array]) -> Any:
        def step(_: Any, i: Array) -> tuple[Any, None]:
            args = (lax.dynamic_index_in_dim(x, i % VARIANTS, keepdims=False) for x in stacks)
            return function(*args), None

        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, *(x[0] for x in stacks)))
        return lax.scan(step, zeros, jnp.arange(n_steps))[0]

    return lambda: jax.block_until_ready(run(stacks))

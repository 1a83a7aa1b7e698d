"""Right rules where a checker errs, each with a wrong twin: kinks, masks, small logarithms,
large ranges, oracles that are no numbers, mixed outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Random = np.random.Generator
Shape = tuple[int, ...]


class HardRule(NamedTuple):
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]
    args: tuple[Any, ...]
    wrong: Callable[..., tuple[Any, ...]]
    """A backward function that is wrong at one element, or at few."""


def _own(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *args: Any,
    wrong: Callable[..., Any] | None = None,
) -> HardRule:
    """A rule of its arguments; its twin doubles the smallest element unless ``wrong`` is given."""

    def doubled(*a: Any) -> Any:
        first, *rest = backward(*a)
        flat = jnp.ravel(first)
        size = jnp.where((flat == 0) | ~jnp.isfinite(flat), jnp.inf, jnp.abs(flat))
        return flat.at[size.argmin()].mul(2).reshape(first.shape), *rest

    def of_residuals(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, dy: function(*a, dy)

    return HardRule(
        lambda *a: (forward(*a), a), of_residuals(backward), args, of_residuals(wrong or doubled)
    )


def _wide(random: Random, shape: Shape) -> np.ndarray:
    """Draws with magnitudes spread over thirty decades."""
    return random.normal(size=shape) * 10.0 ** random.uniform(-15, 15, shape)


def _as_rows(shape: Shape) -> tuple[int, int]:
    return int(np.prod(shape[:-1])), shape[-1]


# Magnitudes --------------------------------------------------------------------------------------


def product(random: Random, shape: Shape) -> HardRule:
    x, w = _wide(random, shape), _wide(random, shape)
    return _own(lambda x, w: x * w, lambda x, w, dy: (dy * w, dy * x), x, w)


def rows(random: Random, shape: Shape) -> HardRule:
    """A gain for each row, from 1e-15 to 1e15."""
    x = random.normal(size=_as_rows(shape))
    gain = 10.0 ** np.linspace(-15, 15, len(x))[:, None]
    return _own(
        lambda x, gain: jnp.sin(x) * gain,
        lambda x, gain, dy: (dy * jnp.cos(x) * gain, (dy * jnp.sin(x)).sum(1, keepdims=True)),
        x,
        gain,
    )


def matrix(random: Random, shape: Shape) -> HardRule:
    """A matrix whose columns spread over thirty decades, so the weight's cotangent does by rows."""
    x = random.normal(size=_as_rows(shape)) * 10.0 ** np.linspace(-15, 15, shape[-1])
    w = random.normal(size=(shape[-1], 3))

    def wrong(x: Any, w: Any, dy: Any) -> Any:
        return dy @ w.T, (x.T @ dy).at[0].multiply(2)

    return _own(lambda x, w: x @ w, lambda x, w, dy: (dy @ w.T, x.T @ dy), x, w, wrong=wrong)


def power(random: Random, shape: Shape) -> HardRule:
    return _own(lambda x: x**3, lambda x, dy: (3 * x * x * dy,), _wide(random, shape))


def exponential(random: Random, shape: Shape) -> HardRule:
    y = random.uniform(-40, 40, shape)
    return _own(jnp.exp, lambda x, dy: (jnp.exp(x) * dy,), y)


def log(random: Random, shape: Shape) -> HardRule:
    return _own(jnp.log, lambda x, dy: (dy / x,), 10.0 ** random.uniform(-30, 3, shape))


def entropy(random: Random, shape: Shape) -> HardRule:
    p = 10.0 ** random.uniform(-12, 0, shape)

    def backward(p: Any, dy: Any) -> Any:
        return (-(jnp.log(p) + 1) * dy[..., None],)

    return _own(lambda p: -(p * jnp.log(p)).sum(-1), backward, p)


# Kinks, ties and near-ties -----------------------------------------------------------------------


def relu(random: Random, shape: Shape) -> HardRule:
    x, slope = random.integers(-2, 3, shape).astype("float32"), random.random()
    x.flat[0] = 0

    def with_slope(slope: float) -> Callable[..., Any]:
        return lambda x, dy: (jnp.where(x == 0, slope, x > 0).astype(dy.dtype) * dy,)

    return _own(lambda x: jnp.maximum(x, 0), with_slope(slope), x, wrong=with_slope(1.1))


def near_zero(random: Random, shape: Shape) -> HardRule:
    """The absolute value close to its kink, where it is smooth."""
    x = random.choice([-1.0, 1.0], shape) * 10.0 ** random.uniform(-12, 0, shape)
    return _own(
        jnp.abs,
        lambda x, dy: (jnp.sign(x) * dy,),
        x,
        wrong=lambda x, dy: (jnp.where(jnp.abs(x) == jnp.abs(x).min(), 0, jnp.sign(x)) * dy,),
    )


def clip(random: Random, shape: Shape) -> HardRule:
    inclusive = random.random() < 0.5
    x = random.integers(-2, 3, shape) * 1.0
    x.flat[0] = 1

    def backward(x: Any, dy: Any) -> Any:
        inside = (x >= -1) & (x <= 1) if inclusive else (x > -1) & (x < 1)
        return (inside * dy,)

    def wrong(x: Any, dy: Any) -> Any:
        return (jnp.where(jnp.abs(x) == 1, -0.1, jnp.abs(x) < 1) * dy,)

    return _own(lambda x: jnp.clip(x, -1, 1), backward, x, wrong=wrong)


def first_maximum(random: Random, shape: Shape) -> HardRule:
    """Values and places of the maximum over rows, with ties."""
    x = random.integers(0, 3, shape) * 1.0
    x[..., :2] = 5

    def forward(x: Any) -> Any:
        return x.max(-1), x.argmax(-1)

    def backward(x: Any, dy: Any) -> Any:
        chosen = jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype)
        return (chosen * dy[0][..., None],)

    def every_maximum(x: Any, dy: Any) -> Any:
        return ((x == x.max(-1, keepdims=True)) * dy[0][..., None],)

    return _own(forward, backward, x, wrong=every_maximum)


def near_tie(random: Random, shape: Shape) -> HardRule:
    """The two largest of each row differ in their ninth digit."""
    x = random.random(shape)
    x[..., 0], x[..., 1] = 2, 2 + 1e-9

    def share(x: Any, closeness: float) -> Any:
        close = x >= x.max(-1, keepdims=True) - closeness
        return (close / close.sum(-1, keepdims=True)).astype(x.dtype)

    return _own(
        lambda x: x.max(-1),
        lambda x, dy: (share(x, 0) * dy[..., None],),
        x,
        wrong=lambda x, dy: (share(x, 1e-6) * dy[..., None],),
    )


def equal_arguments(random: Random, shape: Shape) -> HardRule:
    """maximum(a, b) with equal elements: the two slopes have to sum to one."""
    a = random.integers(0, 2, shape) * 1.0
    b = random.integers(0, 2, shape) * 1.0
    b.flat[0] = a.flat[0]
    return _own(
        jnp.maximum,
        lambda a, b, dy: (dy * (a >= b), dy * (b > a)),
        a,
        b,
        wrong=lambda a, b, dy: (dy * (a >= b), dy * (b >= a)),
    )


# Masks -------------------------------------------------------------------------------------------


def masked_softmax(random: Random, shape: Shape) -> HardRule:
    keep = random.random(shape) < 0.6
    keep[..., :2] = True
    hidden = random.choice([-1e30, -np.inf])
    mask = np.where(keep, 0, hidden)

    def backward(x: Any, mask: Any, dy: Any) -> Any:
        y = jax.nn.softmax(x + mask)
        dx = y * (dy - (y * dy).sum(-1, keepdims=True))
        return dx, dx

    def wrong(x: Any, mask: Any, dy: Any) -> Any:
        dx, dmask = backward(x, mask, dy)
        return dx, dmask * 1.001

    forward = lambda x, mask: jax.nn.softmax(x + mask)  # noqa: E731
    return _own(forward, backward, random.normal(size=shape), mask, wrong=wrong)


def boolean_mask(random: Random, shape: Shape) -> HardRule:
    """log-sum-exp over the elements that a mask keeps."""
    keep = random.random(shape) < 0.6
    keep[..., 0] = True

    def forward(x: Any, keep: Any) -> Any:
        return jax.nn.logsumexp(jnp.where(keep, x, -jnp.inf), axis=-1)

    def backward(x: Any, keep: Any, dy: Any) -> Any:
        return jax.nn.softmax(jnp.where(keep, x, -jnp.inf)) * dy[..., None], None

    return _own(forward, backward, random.normal(size=shape), keep)


# Where an oracle is no number --------------------------------------------------------------------


def row_norms(random: Random, shape: Shape) -> HardRule:
    x = random.normal(size=shape)
    x.reshape(-1, shape[-1])[0] = 0  # where the subgradient 0 is right, and autodiff gives NaN

    def norm(x: Any) -> Any:
        return jnp.sqrt((x * x).sum(-1))

    def backward(x: Any, dy: Any) -> Any:
        n = norm(x)[..., None]
        return (jnp.where(n > 0, dy[..., None] * x / jnp.where(n > 0, n, 1), 0),)

    def ones_at_zero(x: Any, dy: Any) -> Any:
        return (jnp.where(norm(x)[..., None] > 0, backward(x, dy)[0], 2 * dy[..., None]),)

    return _own(norm, backward, x, wrong=ones_at_zero)


def minus_infinity(random: Random, shape: Shape) -> HardRule:
    """log-sum-exp with a −∞ in each row."""
    x = random.normal(size=shape)
    x[..., 0] = -np.inf
    return _own(
        lambda x: jax.nn.logsumexp(x, axis=-1),
        lambda x, dy: (jax.nn.softmax(x) * dy[..., None],),
        x,
    )


def nan_elsewhere(random: Random, shape: Shape) -> HardRule:
    """Where autodiff gives NaN for the branch of a where that is not taken."""
    x = random.normal(size=shape)
    x.flat[0], x.flat[1] = -0.7, 0.9
    return _own(
        lambda x: jnp.where(x > 0, jnp.sqrt(x), x),
        lambda x, dy: (jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1)), 1) * dy,),
        x,
        wrong=lambda x, dy: (jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1)), 2) * dy,),
    )


# Other outputs and cotangents --------------------------------------------------------------------


def unused(random: Random, shape: Shape) -> HardRule:
    """None for the zero cotangents of an argument."""
    x, z = random.normal(size=shape), random.normal(size=shape[-1:])
    return _own(lambda x, z: jnp.sin(x), lambda x, z, dy: (jnp.cos(x) * dy, None), x, z)


def rows_of_a_table(random: Random, shape: Shape) -> HardRule:
    """Rows by their ids, repeated, with magnitudes over thirty decades."""
    table, ids = _wide(random, shape), random.integers(0, shape[0], 5)
    ids[1] = ids[0]

    def backward(table: Any, ids: Any, dy: Any) -> Any:
        return jnp.zeros_like(table).at[ids].add(2 * table[ids] * dy), None

    def overwrites(table: Any, ids: Any, dy: Any) -> Any:
        return jnp.zeros_like(table).at[ids].set(2 * table[ids] * dy), None

    return _own(lambda table, ids: table[ids] ** 2, backward, table, ids, wrong=overwrites)


HARD: tuple[Callable[[Random, Shape], HardRule], ...] = (
    product, rows, matrix, power, exponential, log, entropy,
    relu, near_zero, clip, first_maximum, near_tie, equal_arguments,
    masked_softmax, boolean_mask, row_norms, minus_infinity, nan_elsewhere,
    unused, rows_of_a_table,
)  # fmt: skip


def draw_hard_rule(seed: int) -> tuple[HardRule, str]:
    """Draw a rule of one of these kinds, each in turn."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(2, 6, random.integers(1, 4)).tolist())
    make = HARD[seed % len(HARD)]
    return make(random, shape), f"{make.__name__} of {list(shape)}, seed {seed}"

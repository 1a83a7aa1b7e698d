"""Right rules where a checker errs: kinks, masks, small logarithms, large ranges, mixed outputs."""

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


def _own(forward: Callable[..., Any], backward: Callable[..., Any], *args: Any) -> HardRule:
    return HardRule(lambda *a: (forward(*a), a), lambda a, dy: backward(*a, dy), args)


def _wide(random: Random, shape: Shape) -> np.ndarray:
    """Draws with magnitudes spread over thirty decades."""
    return random.normal(size=shape) * 10.0 ** random.uniform(-15, 15, shape)


def relu(random: Random, shape: Shape) -> HardRule:
    x, slope = random.integers(-2, 3, shape).astype("float32"), random.random()

    def backward(x: Any, dy: Any) -> Any:
        return (jnp.where(x == 0, slope, x > 0).astype(dy.dtype) * dy,)

    return _own(lambda x: jnp.maximum(x, 0), backward, x)


def clip(random: Random, shape: Shape) -> HardRule:
    inclusive = random.random() < 0.5

    def backward(x: Any, dy: Any) -> Any:
        inside = (x >= -1) & (x <= 1) if inclusive else (x > -1) & (x < 1)
        return (inside * dy,)

    return _own(lambda x: jnp.clip(x, -1, 1), backward, random.integers(-2, 3, shape) * 1.0)


def first_maximum(random: Random, shape: Shape) -> HardRule:
    """Values and places of the maximum over rows, with ties."""

    def forward(x: Any) -> Any:
        return x.max(-1), x.argmax(-1)

    def backward(x: Any, dy: Any) -> Any:
        chosen = jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype)
        return (chosen * dy[0][..., None],)

    return _own(forward, backward, random.integers(0, 3, shape) * 1.0)


def masked_softmax(random: Random, shape: Shape) -> HardRule:
    keep = random.random(shape) < 0.6
    keep[..., 0] = True
    hidden = random.choice([-1e30, -np.inf])
    mask = np.where(keep, 0, hidden)

    def backward(x: Any, mask: Any, dy: Any) -> Any:
        y = jax.nn.softmax(x + mask)
        dx = y * (dy - (y * dy).sum(-1, keepdims=True))
        return dx, dx

    return _own(lambda x, mask: jax.nn.softmax(x + mask), backward, random.normal(size=shape), mask)


def log(random: Random, shape: Shape) -> HardRule:
    return _own(jnp.log, lambda x, dy: (dy / x,), 10.0 ** random.uniform(-30, 3, shape))


def entropy(random: Random, shape: Shape) -> HardRule:
    p = 10.0 ** random.uniform(-12, 0, shape)

    def backward(p: Any, dy: Any) -> Any:
        return (-(jnp.log(p) + 1) * dy[..., None],)

    return _own(lambda p: -(p * jnp.log(p)).sum(-1), backward, p)


def product(random: Random, shape: Shape) -> HardRule:
    x, w = _wide(random, shape), _wide(random, shape)
    return _own(lambda x, w: x * w, lambda x, w, dy: (dy * w, dy * x), x, w)


def row_norms(random: Random, shape: Shape) -> HardRule:
    x = random.normal(size=shape)
    x.reshape(-1, shape[-1])[0] = 0  # where the subgradient 0 is right, and autodiff gives NaN

    def norm(x: Any) -> Any:
        return jnp.sqrt((x * x).sum(-1))

    def backward(x: Any, dy: Any) -> Any:
        n = norm(x)[..., None]
        return (jnp.where(n > 0, dy[..., None] * x / jnp.where(n > 0, n, 1), 0),)

    return _own(norm, backward, x)


def unused(random: Random, shape: Shape) -> HardRule:
    """None for the zero cotangents of an argument."""
    x, z = random.normal(size=shape), random.normal(size=shape[-1:])
    return _own(lambda x, z: jnp.sin(x), lambda x, z, dy: (jnp.cos(x) * dy, None), x, z)


def exponential(random: Random, shape: Shape) -> HardRule:
    y = random.uniform(-40, 40, shape)
    return _own(jnp.exp, lambda x, dy: (jnp.exp(x) * dy,), y)


HARD: tuple[Callable[[Random, Shape], HardRule], ...] = (
    relu, clip, first_maximum, masked_softmax, log, entropy, product, row_norms, unused,
    exponential,
)  # fmt: skip


def draw_hard_rule(seed: int) -> tuple[HardRule, str]:
    """Draw a rule of one of these kinds, each in turn."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(2, 6, random.integers(1, 4)).tolist())
    make = HARD[seed % len(HARD)]
    return make(random, shape), f"{make.__name__} of {list(shape)}, seed {seed}"

"""Right rules and wrong twins where a checker may err: magnitudes, NaN, masks, kinks, domains.

The twins share their forward and their arguments. The right one passes, the wrong one is caught.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.testing.rule import examine

R = np.random.default_rng(0)


class Rule(NamedTuple):
    name: str
    right: bool
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    args: tuple[Any, ...]


C: list[Rule] = []


def case(name: str, right: bool, forward: Any, backward: Any, *args: Any) -> None:
    C.append(Rule(name, right, forward, backward, args))


def auto(f: Any) -> Any:
    return lambda *a: jax.vjp(f, *a[:-1])[1](a[-1])


# ruff: noqa: E731
x3 = np.array([40.0, 0, -1])
case("exp", True, jnp.exp, lambda x, d: (jnp.exp(x) * d,), x3)
case("exp doubled", False, jnp.exp, lambda x, d: (jnp.exp(x) * d * jnp.array([1, 2, 2]),), x3)
w = np.array([1e15, 1, 1])
v = R.normal(size=3)
case("w.x", True, lambda x: (w * x).sum(), lambda x, d: (w * d,), v)
case(
    "w.x doubled", False, lambda x: (w * x).sum(), lambda x, d: (w * d * np.array([1, 2, 2.0]),), v
)
case("cbrt", True, jnp.cbrt, lambda x, d: (d / (3 * jnp.cbrt(x) ** 2),), np.array([0.0, 1, 2]))
case(
    "cbrt5", False, jnp.cbrt, lambda x, d: (5 * d / (3 * jnp.cbrt(x) ** 2),), np.array([0.0, 1, 2])
)
nrm = lambda x: jnp.sqrt((x * x).sum(-1))


def nb(x, d):
    n = nrm(x)
    return (jnp.where(n > 0, d / jnp.where(n > 0, n, 1), 0)[..., None] * x,)


case("norm0", True, nrm, nb, np.zeros(3))
case("norm0 wrong", False, nrm, lambda x, d: (jnp.ones(3) * d,), np.zeros(3))
case("norm0 unit", True, nrm, lambda x, d: (jnp.array([1.0, 0, 0]) * d,), np.zeros(3))
case("rownorm", True, nrm, nb, np.array([[1.0, 2, 3], [0, 0, 0]]))
case(
    "rownorm wrong",
    False,
    nrm,
    lambda x, d: (1.01 * nb(x, d)[0],),
    np.array([[1.0, 2, 3], [0, 0, 0]]),
)
lse = lambda x: jax.nn.logsumexp(x, -1)
xl = np.array([[1.0, -np.inf, 2], [0.3, 0.2, -np.inf]])
case("lse", True, lse, lambda x, d: (jax.nn.softmax(x) * d[:, None],), xl)
case("lse wrong", False, lse, lambda x, d: (1.1 * jax.nn.softmax(x) * d[:, None],), xl)
case("log1e-200", True, jnp.log, lambda x, d: (d / x,), np.array([1e-200, 1, 3]))
case("log1e-6", True, jnp.log, lambda x, d: (d / x,), np.array([1e-6, 1, 3]))
case(
    "log1e-6 wrong",
    False,
    jnp.log,
    lambda x, d: (d / x * jnp.array([1, 1, 1.0001]),),
    np.array([1e-6, 1, 3]),
)
case("sqrt", True, jnp.sqrt, lambda x, d: (d / (2 * jnp.sqrt(x)),), np.array([5e-7, 1, 3]))
p = np.array([1e-12, 0.3, 0.7])
case("entropy", True, lambda p: -(p * jnp.log(p)).sum(), lambda p, d: (-d * (jnp.log(p) + 1),), p)
sg = lambda x: jax.nn.sigmoid(1e8 * x)
case(
    "sig1e8",
    True,
    sg,
    lambda x, d: (1e8 * sg(x) * (1 - sg(x)) * d,),
    np.array([1e-9, 0.0, -3e-8, 1.0]),
)
case(
    "sig1e8 wrong",
    False,
    sg,
    lambda x, d: (2e8 * sg(x) * (1 - sg(x)) * d,),
    np.array([1e-9, 0.0, -3e-8, 1.0]),
)
for M in (-1e30, -np.inf):
    m = np.array([[0, M, 0], [0, 0, M]])
    xx = R.normal(size=(2, 3))

    def smb(x, m, d):
        y = jax.nn.softmax(x + m)
        g = y * (d - (y * d).sum(-1, keepdims=True))
        return (g, g)

    case(f"mask {M}", True, lambda x, m: jax.nn.softmax(x + m), smb, xx, m)
    case(
        f"mask {M} wrong",
        False,
        lambda x, m: jax.nn.softmax(x + m),
        lambda x, m, d: (smb(x, m, d)[0], 1.5 * smb(x, m, d)[1]),
        xx,
        m,
    )
t3 = np.array([[2.0, 2, 2], [1, 0, 5]])
mx = lambda x: x.max(-1)
case("tie full", False, mx, lambda x, d: ((x == x.max(-1, keepdims=True)) * d[:, None],), t3)
case(
    "tie zero",
    False,
    mx,
    lambda x, d: ((x == x.max(-1, keepdims=True)) * d[:, None] * jnp.array([[0], [1]]),),
    t3,
)
case("tie first", True, mx, lambda x, d: (jax.nn.one_hot(x.argmax(-1), 3) * d[:, None],), t3)
case(
    "tie split",
    True,
    mx,
    lambda x, d: (
        (x == x.max(-1, keepdims=True))
        / (x == x.max(-1, keepdims=True)).sum(-1, keepdims=True)
        * d[:, None],
    ),
    t3,
)
a = np.array([1.0, 2, 3])
case("maxab both", False, jnp.maximum, lambda a, b, d: ((a >= b) * d, (b >= a) * d), a, a)
case("maxab none", False, jnp.maximum, lambda a, b, d: ((a > b) * d, (b > a) * d), a, a)
case("maxab a", True, jnp.maximum, lambda a, b, d: ((a >= b) * d, (b > a) * d), a, a)
case("maxxx both", False, lambda x: jnp.maximum(x, x), lambda a, d: (2 * d,), a)
case(
    "abs near",
    False,
    jnp.abs,
    lambda x, d: (jnp.where(jnp.abs(x) < 1e-6, 0, jnp.sign(x)) * d,),
    np.array([1e-7, 1, -2]),
)
case("abs", True, jnp.abs, lambda x, d: (jnp.sign(x) * d,), np.array([1e-7, 0, -2]))
case(
    "relu near",
    False,
    jax.nn.relu,
    lambda x, d: (jnp.where(jnp.abs(x) < 1e-5, 0.3, x > 0) * d,),
    np.array([1e-6, 1, -2]),
)
case(
    "near tie",
    True,
    mx,
    lambda x, d: (jax.nn.one_hot(x.argmax(-1), 3) * d[:, None],),
    np.array([[1, 1 + 1e-9, 0]]),
)
case(
    "near tie wrong",
    False,
    mx,
    lambda x, d: (jnp.array([[0.5, 0.5, 0]]) * d[:, None],),
    np.array([[1, 1 + 1e-9, 0]]),
)
case("clip dy", False, lambda x: 3 * x, lambda x, d: (3 * jnp.clip(d, -10, 10),), a)
case("drop dy", False, lambda x: 3 * x, lambda x, d: (3 * jnp.where(jnp.abs(d) < 1e-3, 0, d),), a)
case("linear", True, lambda x: 3 * x, lambda x, d: (3 * d,), a)
case(
    "while",
    True,
    lambda a: jax.lax.fori_loop(0, jnp.int32(40) + (a[0] > 1e9), lambda i, y: 0.5 * (y + a / y), a),
    lambda a, d: (d / (2 * jnp.sqrt(a)),),
    a,
)
case(
    "while wrong",
    False,
    lambda a: jax.lax.fori_loop(0, jnp.int32(40) + (a[0] > 1e9), lambda i, y: 0.5 * (y + a / y), a),
    lambda a, d: (d / (2.001 * jnp.sqrt(a)),),
    a,
)
case(
    "int out",
    True,
    lambda x: (x.max(-1), x.argmax(-1)),
    lambda x, d: (jax.nn.one_hot(x.argmax(-1), 3) * d[0][:, None],),
    R.normal(size=(2, 3)),
)
case(
    "int out wrong",
    False,
    lambda x: (x.max(-1), x.argmax(-1)),
    lambda x, d: (jax.nn.one_hot(x.argmin(-1), 3) * d[0][:, None],),
    R.normal(size=(2, 3)),
)
case("none ct", True, lambda x, y: x * 2, lambda x, y, d: (2 * d, None), a, a)
case("none ct wrong", False, lambda x, y: x * y, lambda x, y, d: (y * d, None), a, v)
rf = lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2
case("rfft", True, rf, auto(rf), R.normal(size=6))
case("rfft wrong", False, rf, lambda x, d: (1.001 * auto(rf)(x, d)[0],), R.normal(size=6))
case(
    "fftconv bwd",
    True,
    lambda x: jnp.cumsum(x),
    lambda x, d: (
        jnp.real(
            jnp.fft.ifft(
                jnp.fft.fft(jnp.concatenate([d, 0 * d]))
                * jnp.conj(jnp.fft.fft(jnp.concatenate([jnp.ones(3), jnp.zeros(3)])))
            )
        )[:3],
    ),
    np.array([1e8, 1, 1]),
)


# A right rule or a wrong twin of each kind of hard place.
QUICK = ["exp", "exp doubled", "cbrt5", "norm0", "norm0 wrong", "mask -inf wrong"]
QUICK += ["tie first", "tie zero", "while wrong", "drop dy"]


@pytest.mark.parametrize("rule", C, ids=lambda rule: rule.name)
@pytest.mark.quick(*QUICK)
def test_a_right_rule_passes_and_its_wrong_twin_is_caught(rule: Rule):
    def fwd(*args: Any) -> Any:
        return rule.forward(*args), args

    def bwd(args: Any, dy: Any) -> Any:
        return rule.backward(*args, dy)

    report = examine(fwd, bwd, *rule.args, dtypes=(), modes=False)
    assert report.passed == rule.right, report


def test_what_no_oracle_can_judge_is_named():
    cbrt = next(rule for rule in C if rule.name == "cbrt")
    report = examine(
        lambda x: (cbrt.forward(x), x), cbrt.backward, *cbrt.args, dtypes=(), modes=False
    )
    assert len(report.unjudged) == 1
    assert report.unjudged[0].startswith("x[0]: neither")
    assert report.rows[0].judged_by_autodiff == pytest.approx(2 / 3)


def test_a_slope_of_zero_is_seen_by_differences_alone() -> None:
    def fwd(x):
        return jnp.maximum(x, 0), x

    def bwd(x, dy):
        return (jnp.where(x > 0, dy, 0),)

    x = np.random.default_rng(0).normal(size=(4, 5))
    report = examine(fwd, bwd, x, dtypes=(), modes=False, skip=("autodiff",))
    assert report.verdict == "right"
    assert report.rows[0].judged_by_differences == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))  # the error of a wrong one has either sign
def test_a_second_derivative_is_judged_but_at_a_kink_of_the_first(seed: int) -> None:
    def frozen(x, dy):
        return (jax.lax.stop_gradient(jnp.exp(x)) * dy,)

    x = np.array([0.0, 1.3, -1.0])
    report = examine(lambda x: (jnp.exp(x), x), frozen, x, dtypes=(), seed=seed)
    assert "grad of grad" in report.problems[0].message
    square = examine(
        lambda x: (jnp.maximum(x, 0) ** 2, x),
        lambda x, dy: (2 * jnp.maximum(x, 0) * dy,),
        x,
        dtypes=(),
        seed=seed,
    )
    assert square.passed, square
    report = examine(lambda x: (jnp.exp(x), x), frozen, np.array(0.3), dtypes=(), seed=seed)
    assert "grad of grad" in report.problems[0].message
    tiny = np.array([1e-6, 2e-6, 3e-6])  # where log has no kink, but changes fast
    report = examine(
        lambda x: (jnp.log(x), x), lambda x, dy: (dy / jax.lax.stop_gradient(x),), tiny,
        dtypes=(), seed=seed,
    )  # fmt: skip
    assert "grad of grad" in report.problems[0].message

"""A proof at some sizes is carried to all sizes only where an argument does so."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmore import rules
from jaxmore.prove.residues import NotProved
from tests.prove import axes
from tests.prove.axes import AXES, CLASSES, ROWS, proofs
from tests.prove.sizes import Axis, argue

GUARDS = {("rms_norm", "E"), ("softmax", "V"), ("linear", "I")}
QUICK = [axis for axis in AXES if (axis.rule, axis.axis) in GUARDS]
SLOW = [pytest.param(a, marks=pytest.mark.slow) for a in AXES if a not in QUICK]


@pytest.mark.parametrize("axis", [*QUICK, *SLOW], ids=lambda axis: f"{axis.rule}-{axis.axis}")
def test_a_rule_is_proved_at_the_sizes_that_its_argument_needs(axis: Axis) -> None:
    argument = argue(axis)
    for proof in proofs(axis, argument.sizes):
        assert proof.passed, str(proof)


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Axis]:
    def define(f: Any, slope: Any, arguments: str = "f[N]") -> Axis:
        def bwd(*args: Any) -> Any:
            found = slope(*args)
            return found if isinstance(found, tuple) else (found,)

        for end, function in (
            ("", f),
            ("_fwd", lambda *args: (f(*args), args)),
            ("_bwd", lambda args, dy: bwd(*args, dy)),
        ):
            monkeypatch.setattr(rules, f"strange{end}", function, raising=False)
        return Axis("strange", arguments, "N", {})

    return define


def repeated(x: Any, dy: Any) -> Any:
    return lax.fori_loop(0, x.size, lambda i, s: jnp.where(i == 200, 2 * s, s), dy) + 0 * x


@pytest.mark.parametrize(
    ("f", "slope", "reason"),
    [
        (lambda x: x * x[::-1], lambda x, dy: 2 * x[::-1] * dy, "rev on the axis"),
        (lambda x: x * np.arange(x.size), lambda x, dy: np.arange(x.size) * dy, "for each place"),
        (lambda x: x * np.where(np.arange(x.size) % 2, 2.0, 3.0), lambda x, dy: dy, "for each"),
        (lambda x: x * (x.size - 2), lambda x, dy: (x.size - 2) * dy, "constant that depends on n"),
        (lambda x: x if x.size < 50 else 2 * x, lambda x, dy: dy, "another program"),
        (lambda x: (1 / x).sum() ** 2, lambda x, dy: dy * x, "a denominator for each place"),
        (lambda x: jnp.exp(x).sum() * jnp.exp(-x).sum(), lambda x, dy: x * dy, "two exponents"),
        (lambda x: jnp.sqrt((x * x).sum() ** 2), lambda x, dy: x * dy, "a root of a square"),
        (lambda x: 2 * x, lambda x, dy: jnp.where(jnp.arange(x.size) == 40, 3, 2) * dy, "no arg"),
        (lambda x: 2 * x, lambda x, dy: jnp.where(jnp.arange(x.size) > 99, 3, 2) * dy, "no arg"),
        # Right at some sizes: small ones, odd ones, 11 modulo 12, those below 200.
        (lambda x: 2 * x, lambda x, dy: (2 if x.size < 40 else 3) * dy, "constant that depends"),
        (lambda x: x * x / 2, lambda x, dy: x * dy if x.size % 2 else x * x, "another program"),
        (lambda x: x, lambda x, dy: dy if x.size % 12 in (1, 11) else -dy, "another program"),
        (lambda x: x, lambda x, dy: jnp.where(jnp.asarray(x.size) > 200, 2, 1) * dy, "by the size"),
        (lambda x: x, lambda x, dy: dy * (1 + jnp.floor(jnp.asarray(x.size / 200))), "by the size"),
        (lambda x: x, lambda x, dy: dy * ((x[:, None] > x).sum(1) != 40), "gt on the axis"),
        (lambda x: x.sum(), lambda x, dy: repeated(x, dy), "scan on the axis"),
        (
            lambda x: lax.reduce(x, 1.0, lambda a, b: a * b * 1, (0,)),
            lambda x, dy: dy * x,
            "reduce",
        ),
        (lambda x: x, lambda x, dy: dy[jnp.minimum(jnp.arange(x.size), 4)], "gather on the axis"),
        (jnp.sum, lambda x, dy: jnp.append(jnp.repeat(dy, 5), 0 * x[5:]), "slice on the axis"),
    ],
)
def test_there_is_no_argument(f: Any, slope: Any, reason: str, define: Any) -> None:
    with pytest.raises(NotProved, match=reason):
        argue(define(f, slope))


def test_the_sizes_of_an_argument_refuse_what_is_right_at_one_size(define: Any) -> None:
    axis = define(lambda x: x.sum() ** 2, lambda x, dy: 2 * x * dy)  # right at n = 1
    argument = argue(axis)
    assert argument.kind == "symmetric"
    assert [proof.passed for proof in proofs(axis, argument.sizes)] == [True, False, False, False]


def test_a_sum_is_proved_with_a_place_beside_the_one_that_stands_apart(define: Any) -> None:
    axis = define(jnp.max, lambda x, dy: jnp.broadcast_to(dy, x.shape))  # right at n = 1
    argument = argue(axis)
    assert argument.kind == "sum"
    found = list(proofs(axis, argument.sizes))
    assert not found[-1].passed


@pytest.mark.parametrize(
    ("f", "slope", "arguments"),
    [  # all are right at n = 1
        (lambda x, b: (x + b).sum(), lambda x, b, dy: (dy + 0 * x, dy), "f[N] f[]"),
        (lambda x: pairs(x).sum(), lambda x, dy: dy + 0 * x, "f[N]"),
        (lambda x: x, lambda x, dy: dy if x.size < 40 else -dy, "f[N]"),
        (lambda x: x, lambda x, dy: -dy if 1 < x.size < 40 else dy, "f[N]"),
    ],
)
def test_a_sum_is_proved_at_more_than_one_size(
    f: Any, slope: Any, arguments: str, define: Any
) -> None:
    axis = define(f, slope, arguments)
    argument = argue(axis)
    assert argument.kind == "sum"
    assert not all(proof.passed for proof in proofs(axis, argument.sizes))


def pairs(x: Any) -> Any:
    return jnp.broadcast_to(x, (x.size, x.size))


def test_a_sum_over_pairs_is_of_degree_two_in_n(define: Any) -> None:
    axis = define(lambda x: pairs(x.sum() ** 2 + 0 * x).sum(), lambda x, dy: dy * x)
    assert len(argue(axis).sizes) > len(argue(define(lambda x: x.sum() ** 2, jnp.multiply)).sizes)


def test_a_place_beside_the_target_has_no_argument(define: Any) -> None:
    def chosen(x: Any, target: Any) -> Any:
        return jnp.where(jnp.arange(x.shape[-1]) == target[:, None], x, 0).sum()

    def slope(x: Any, target: Any, dy: Any) -> Any:
        place = jnp.arange(x.shape[-1])
        return jnp.where(place == target[:, None], dy, jnp.where(place == 40, dy, 0)) + 0 * x, None

    with pytest.raises(NotProved, match="no argument names"):
        argue(define(chosen, slope, "f[1,N] i[1]<N"))


def test_two_maxima_stand_apart_at_two_places(define: Any) -> None:
    def slope(x: Any, dy: Any) -> Any:  # right at n = 2, where what is not the largest is least
        return jnp.where(x == jnp.max(x), dy, -dy)

    axis = define(lambda x: jnp.max(x) + jnp.max(-x), slope)
    found = list(proofs(axis, argue(axis).sizes))
    assert not found[-1].passed


@pytest.mark.slow
@pytest.mark.parametrize("axis", [ROWS, CLASSES], ids=lambda axis: axis.axis)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda z, t: t == -1,
        lambda z, t: (t != -1) & (t != z.argmax(-1)),
        lambda z, t: t == z.argmax(-1),
        lambda z, t: (t != -1).sum() == 3,
    ],
)
def test_each_kind_of_row_and_each_number_of_targets_is_proved(
    wrong: Any, axis: Axis, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = rules.softmax_cross_entropy_bwd

    def bwd(saved: Any, dy: Any) -> Any:
        (dz, none), at = right(saved, dy), wrong(saved.logits, saved.targets)
        return jnp.where(at[..., None], dz + dy, dz), none

    needed = argue(ROWS)
    monkeypatch.setattr(axes, "argue", lambda _: needed)
    monkeypatch.setattr(rules, "softmax_cross_entropy_bwd", bwd)
    found = proofs(axis, needed.sizes if axis == ROWS else range(2, 3))
    assert not all(proof.passed for proof in found)

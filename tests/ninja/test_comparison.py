"""The seeds' table: against finite differences, for planted mistakes, and as it is printed."""

import re

import jax
import numpy as np
import pytest

from jaxmore import stepwise
from jaxmore.ninja import (
    Comparison,
    compare,
    comparison,
    dump,
    format_table,
    notebook_003,
    stepwise_table,
)
from jaxmore.ninja.comparison import autodiff_cotangents


def network(b1: bool = True, seed: int = 0, vocab: int = 11) -> tuple[stepwise.Parameters, ...]:
    random = np.random.default_rng(seed)
    shapes = [(vocab, 4), (12, 7), (7,), (7, vocab), (vocab,), (1, 7), (1, 7)]
    params = stepwise.Parameters(*[random.normal(size=shape) for shape in shapes])
    X, Y = random.integers(0, vocab, (9, 3)), random.integers(0, vocab, 9)
    return (params if b1 else params._replace(b1=None)), X, Y


# dcounts alone has elements far above 1. torch and backward() round its two terms apart, where the
# oracle's are fused, so it is one rounding off, of an element near 2e4.
SCALE = {"counts": 2e4}


def test_every_line_agrees_in_float64():
    lines = stepwise_table(*network(), "float64")
    closed = ["dlogits_closed", "dlogits_outer", "dhprebn_closed", "dhprebn_outer"]
    assert [line.name for line in lines] == [*stepwise.Cotangents._fields, *closed]
    assert all(line.approximate for line in lines)
    assert all(line.maxdiff < 1e-14 * SCALE.get(line.name, 1) for line in lines)
    assert not jax.config.jax_enable_x64


@pytest.mark.slow
def test_every_line_agrees_in_float32():
    lines = stepwise_table(*network())
    assert all(line.maxdiff < 1e-5 * SCALE.get(line.name, 1) for line in lines)
    # From the loss down to the counts the two do the same operations.
    assert all(line.exact for line in lines[: stepwise.Cotangents._fields.index("counts")])


@pytest.mark.slow
def test_without_b1_there_is_no_line_for_it():
    names = [line.name for line in stepwise_table(*network(b1=False))]
    assert "b1" not in names
    assert len(names) == 29


def test_the_oracle_is_right():
    """Its cotangents, of parameters and of intermediates, against central differences."""
    with jax.enable_x64(True):
        params, X, Y = network()
        of_parameters, of_intermediates = autodiff_cotangents(params, X, Y)
        assert of_intermediates.loss == 1

        def loss(**changed: np.ndarray) -> float:
            return float(stepwise.forward(params._replace(**changed), X, Y).loss)

        h = 1e-6
        for name, value in params._asdict().items():
            direction = np.random.default_rng(1).normal(size=value.shape)
            slope = (
                loss(**{name: value + h * direction}) - loss(**{name: value - h * direction})
            ) / (2 * h)
            np.testing.assert_allclose(
                slope, (direction * getattr(of_parameters, name)).sum(), rtol=1e-6, atol=1e-9
            )
        # An offset of hpreact is one of bnbias, an offset of logits one of b2, row by row.
        np.testing.assert_allclose(
            of_intermediates.hpreact.sum(0), of_parameters.bnbias[0], rtol=1e-12
        )
        np.testing.assert_allclose(of_intermediates.logits.sum(0), of_parameters.b2, rtol=1e-12)


@pytest.mark.parametrize(
    "bit", [0, 1, *(pytest.param(i, marks=pytest.mark.slow) for i in (2, 3, 4))]
)
def test_each_wrong_cotangent_is_seen_and_no_other(bit: int, monkeypatch: pytest.MonkeyPatch):
    """Of each cotangent the runs in which it is wrong are the digits of its number."""
    params, X, Y = network()
    right = stepwise.backward
    names = [name for i, name in enumerate(stepwise.Cotangents._fields, 1) if i >> bit & 1]

    def wrong(*args):
        d = right(*args)
        return d._replace(**{name: getattr(d, name) + 1e-3 for name in names})

    monkeypatch.setattr(comparison.stepwise, "backward", wrong)
    lines = stepwise_table(params, X, Y, "float64")
    bad = {line.name for line in lines if not line.approximate}
    closed = {"dhprebn_closed", "dhprebn_outer"} if "hpreact" in names else set()
    assert bad - closed == set(names)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["a"] * 40, ["-n", "--help", "-", "..", "|"] * 8])
def test_words_whose_cotangents_cancel_are_right(words, monkeypatch):
    """Few contexts, or one: the terms of db1 exceed their sum, zero, by 10⁹."""
    batch = notebook_003(words)
    assert all(line.approximate for line in stepwise_table(*batch))
    right = stepwise.backward

    def wrong(*args):
        d = right(*args)
        return d._replace(b1=d.hprebn[1:].sum(0))

    monkeypatch.setattr(comparison.stepwise, "backward", wrong)
    assert [line.name for line in stepwise_table(*batch, "float64") if not line.approximate] == [
        "b1"
    ]


def test_a_comparison_by_the_condition_scale():
    ours, zero = np.array([3e-8, 1.0], np.float32), np.array([0.0, 1.0], np.float32)
    assert not compare("b1", ours, zero).approximate
    assert compare("b1", ours, zero, scale=np.array([1.0, 1.0])).approximate
    assert not compare("b1", ours * 100, zero, scale=np.array([1.0, 1.0])).approximate
    assert not compare("b1", ours * np.nan, zero, scale=np.array([np.inf, np.inf])).approximate


def test_lines_are_the_seeds():
    ours = np.array([1.0, 2.0], np.float32)
    assert compare("logits", ours, ours) == ("logits", True, True, 0.0)
    near = np.array([1.0, 2.0 + 2**-20], np.float32)
    assert compare("logits", near, ours) == ("logits", False, True, 2**-20)
    lines = [compare("counts_sum_inv", ours, ours), compare("W2", ours + 1, ours)]
    assert format_table(lines) == (
        "counts_sum_inv  | exact: True  | approximate: True  | maxdiff: 0.0\n"
        "W2              | exact: False | approximate: False | maxdiff: 1.0"
    )
    assert str(Comparison("hprebn", False, True, 1.0913936421275139e-11)) == (
        "hprebn          | exact: False | approximate: True  | maxdiff: 1.0913936421275139e-11"
    )


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"dW: float32\[2\] is no match for float32\[1, 2\]"):
        compare("dW", np.ones(2, np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="float64"):
        compare("dW", np.ones(2), np.ones(2, np.float32))
    params, X, Y = network()
    with pytest.raises(ValueError, match="at least two"):
        stepwise_table(params, X[:1], Y[:1])


def test_dump_shows_every_intermediate_with_its_cotangent():
    params, X, Y = network()
    shown = dump(params, X, Y)
    heads = re.findall(r"^([a-z]\w*) (\(.*\))$", shown, re.MULTILINE)
    *names, loss = stepwise.Intermediates._fields
    assert [head[0] for head in heads] == [*(n for name in names for n in (name, f"d{name}")), loss]
    assert ("dbnmeani", "(1, 7)") in heads
    v = stepwise.forward(params, X, Y)
    d = stepwise.backward(params, X, Y, v)
    assert f"bnvar_inv (1, 7)\n{np.asarray(v.bnvar_inv)}\n" in shown
    assert f"demb (9, 3, 4)\n{np.asarray(d.emb)}\n" in shown

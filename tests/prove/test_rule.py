"""prove_rule proves what is right, refutes what is wrong and names what it cannot follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import rules
from jaxmore.cli import main
from jaxmore.prove import prove_rule
from jaxmore.prove.rule import EVERY_SHAPE
from jaxmore.testing.arguments import parse_args

FAST = {
    "tanh": ("f[5]", {}),
    "gelu": ("f[5]", {"approximate": False}),
    "linear": ("f[2,3] f[3,4] f[4]", {}),
    "softmax": ("f[2,3]", {}),
    "layer_norm": ("f[2,3] f[3] f[3]", {}),
    "softmax_cross_entropy": ("f[3,4] i[3]=-1..4", {}),
}


@pytest.mark.parametrize("name", FAST)
def test_a_shipped_rule_is_proved(name: str):
    text, options = FAST[name]
    op, fwd, bwd = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))
    proof = prove_rule(fwd, bwd, *parse_args(text), op=op, n_points=1, options=options)
    assert proof.passed, str(proof)
    assert proof.bound < 1e-10


def square_fwd(x):
    return x * x, x


def test_a_wrong_factor_is_refuted_by_numbers_of_one_digit():
    proof = prove_rule(square_fwd, lambda x, dy: (3 * x * dy,), np.ones(1))
    assert proof.verdict == "wrong"
    assert "x[0]: " in proof.text and "at x = [" in proof.text


def test_an_error_of_one_part_in_a_billion_is_refuted():
    wrong = prove_rule(square_fwd, lambda x, dy: ((2 + 1e-9) * x * dy,), np.ones(3))
    assert wrong.verdict == "wrong"


def test_a_wrong_forward_is_refuted():
    proof = prove_rule(square_fwd, lambda x, dy: (2 * x * dy,), np.ones(2), op=lambda x: x * x + x)
    assert proof.verdict == "wrong" and proof.text.startswith("\nfwd")


def test_what_cannot_be_followed_is_named_with_its_line():
    def fwd(x):
        return jax.scipy.special.digamma(x), x

    proof = prove_rule(fwd, lambda x, dy: (dy,), np.ones(2))
    assert proof.verdict == "not proved"
    assert "digamma at test_rule.py:" in proof.text


def test_branches_that_were_not_reached_are_named():
    proof = prove_rule(rules.relu_fwd, rules.relu_bwd, np.array([1.0, 2.0]))
    assert proof.passed and any("only branch 0 of 2" in note for note in proof.notes)


def test_orders_and_ties_are_named():
    def largest(x):
        return x[jnp.argmax(x)], x

    proof = prove_rule(
        largest, lambda x, dy: (jnp.zeros_like(x).at[jnp.argmax(x)].set(dy),), np.arange(3.0)
    )
    assert proof.passed and any("other orders or ties" in note for note in proof.notes)
    assert not any("equal numbers" in note for note in proof.notes)
    for x, tied in ((0.0, True), (-1.0, False)):  # where x < 0, bwd compares 0 with 0
        proof = prove_rule(rules.relu_fwd, rules.relu_bwd, np.array([x, 2.0]))
        assert proof.passed and any("equal numbers" in note for note in proof.notes) == tied


@pytest.mark.parametrize(
    ("fwd", "bwd", "note"),
    [  # each is wrong for other numbers
        (lambda x: x * (x > 0), lambda dy: dy, "with the same outcome"),
        (lambda x: x * jnp.sign(x), lambda dy: dy, "with the same outcome"),
        (lambda x: x * jnp.floor(x), lambda dy: dy * jnp.array([1, 2]), "rounds to an integer"),
        (lambda x: x * x.astype(int), lambda dy: dy * jnp.array([1, 2]), "rounds to an integer"),
        (
            lambda x: jax.lax.while_loop(lambda s: s.sum() < 10, lambda s: 2 * s, x),
            lambda dy: 4 * dy,
            "numbers of steps",
        ),
        (  # the body compares, for the condition of the next step
            lambda x: jax.lax.while_loop(
                lambda s: s[1], lambda s: (2 * s[0], (2 * s[0] < 3).any()), (x, True)
            )[0],
            lambda dy: 4 * dy,
            "numbers of steps",
        ),
    ],
)
def test_what_these_numbers_decide_is_named(fwd, bwd, note: str):
    x = np.array([1.0, 2.0])
    proof = prove_rule(lambda x: (fwd(x), ()), lambda _, dy: (bwd(dy),), x, n_points=1)
    assert proof.passed and any(note in line for line in proof.notes), str(proof)


def test_each_choice_is_named_at_its_own_line():
    def fwd(x):
        return jnp.where(x > 0, x, 0), x

    def bwd(x, dy):  # JAX traces where once, for both
        return (jnp.where(x <= 0, 0, dy),)

    def both_fwd(x):
        return jnp.where(x > 0, x, 0) + jnp.where(x <= 0, 0, x), ()

    x = np.array([1.0, 2.0])
    for proof in (
        prove_rule(fwd, bwd, x, n_points=1),
        prove_rule(both_fwd, lambda _, dy: (2 * dy,), x, n_points=1),
    ):
        missed = [note.split()[0] for note in proof.notes if "takes only branch" in note]
        assert proof.passed and len(missed) == 2, str(proof)
        assert (missed[0] != missed[1]) == (proof.name == "fwd")


@jax.jit
def _helper(x):
    return jnp.where(x > 0, x, 0)


@jax.jit
def square(x):
    return jnp.where(x > 0, x * x, 0)


@pytest.mark.parametrize("function", [_helper, square])
def test_a_function_of_the_users_is_not_taken_for_one_of_jax(function):
    inside = function.__wrapped__.__code__.co_firstlineno + 2  # after the decorator and the def
    proof = prove_rule(lambda x: (function(x), ()), lambda _, dy: (0 * dy,), -np.ones(1))
    missed = [note.split()[0] for note in proof.notes if "takes only branch" in note]
    assert missed == [f"test_rule.py:{inside}"], str(proof)


@pytest.mark.parametrize("seed", range(4))
def test_the_sign_of_a_root_is_refuted(seed: int):
    def root_fwd(x, y):  # |x| √y
        return jnp.sqrt(x * x * y), (x, y)

    def bwd(saved, dy):  # as if it were x √y, which a field cannot tell at half of the points
        x, y = saved
        return dy * jnp.sqrt(y), dy * x / jnp.sqrt(y) / 2

    x, y = np.array([-1.5]), np.array([2.0])
    proof = prove_rule(root_fwd, bwd, x, y, seed=seed, n_points=1)
    assert proof.verdict == "wrong", str(proof)


@pytest.mark.parametrize("x", [[2.0, 3.0], [2.0, 0.0], [0.0, -2.0]])
def test_the_sign_of_a_root_is_refuted_where_one_argument_is_not_finite(x: list[float]):
    def fwd(x):
        return jnp.sqrt(41**2 * x * x), x

    def wrong(x, dy):  # in the field the root of x² may be −1/41 of that of 41² x²
        return (-41 * dy * x / jnp.sqrt(x * x),)

    def right(x, dy):
        return (41**2 * dy * x / jnp.sqrt(41**2 * x * x),)

    assert prove_rule(fwd, wrong, np.array(x), n_points=1).verdict == "wrong"
    assert prove_rule(fwd, right, np.array(x), n_points=1).passed


def test_roots_that_cannot_be_compared_are_not_proved():
    def fwd(x):
        return jnp.sqrt(x), x

    proof = prove_rule(fwd, lambda x, dy: (dy / jnp.sqrt(x) / 2,), np.array([-1.0]), n_points=1)
    assert proof.verdict == "not proved" and "signs of roots" in proof.text


def test_the_bound_covers_the_comparison_with_op():
    def bound(op):
        return prove_rule(square_fwd, lambda x, dy: (2 * x * dy,), np.ones(1), op=op).bound

    assert bound(lambda x: x**90 / x**88) > 1e3 * bound(None)


def test_loops_and_branches():
    def fwd(x):
        total, _ = jax.lax.scan(lambda c, row: (c * row, None), jnp.ones(2), x)
        y = jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * total), (0, total))
        return jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, y[1]), (x, total)

    def bwd(saved, dy):
        x, total = saved
        slope = jax.lax.cond(x.sum() > 0, jnp.cos, lambda a: -jnp.sin(a), total**4)
        return (slope * 4 * total**4 / x * dy,)

    proof = prove_rule(fwd, bwd, np.random.default_rng(0).normal(size=(3, 2)))
    assert proof.passed, str(proof)


def test_the_command(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "def f_fwd(x):\n    return x**3, x\n\ndef f_bwd(x, dy):\n    return (3*x*dy,)\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit):
        main(["check", "--prove", f"{file}:f", "--args", "f[2]"])
    assert "f: wrong\nx[0]: " in capsys.readouterr().out
    main(["check", "--prove", "--rule", "sigmoid"])
    assert "sigmoid: proved for (2, 3, 4)" in capsys.readouterr().out


def test_a_narrow_dtype_on_the_way_is_no_constant():
    def fwd(x):
        return 2 * x.astype("bfloat16").astype(x.dtype), ()

    x = np.ones(2)
    assert prove_rule(fwd, lambda _, dy: (2 * dy,), x).passed
    assert prove_rule(fwd, lambda _, dy: (0 * dy,), x).verdict == "wrong"


def test_an_option_may_have_the_name_of_the_provers_own():
    def fwd(x, *, seed):
        return seed * x, ()

    proof = prove_rule(fwd, lambda _, dy, *, seed: (seed * dy,), np.ones(2), options={"seed": 3})
    assert proof.passed


@pytest.mark.parametrize("axis", [0, 1])
def test_a_stack_is_exact(axis: int) -> None:
    def fwd(a, b):
        return jnp.stack([a * a, b], axis), a

    def bwd(a, dy):
        da, db = jnp.moveaxis(dy, axis, 0)
        return 2 * a * da, db

    a, b = np.random.default_rng(0).normal(size=(2, 3))
    assert prove_rule(fwd, bwd, a, b).passed


WEIGHTS = np.array([2.0, 3.0])


def wrong_at_another_size(x, dy):
    square, three = x * x, 3 * dy
    return (square * three if x.size == 9 else three * three,)


@pytest.mark.parametrize(
    ("fwd", "bwd", "text", "holds"),
    [
        (rules.tanh_fwd, rules.tanh_bwd, "f[2,3]", True),
        (lambda x, y: (x * y, (x, y)), lambda r, d: (d * r[1], d * r[0]), "f[2] f[2]", True),
        # a sum, an element's own constant, another function at another rank, a refused shape,
        # the same operations on other operands
        (rules.softmax_fwd, rules.softmax_bwd, "f[2,3]", False),
        (lambda x: (x * WEIGHTS, ()), lambda _, d: (d * WEIGHTS,), "f[2]", False),
        (
            lambda x: (x * x if x.ndim == 2 else x, x),
            lambda x, d: (2 * x * d if x.ndim == 2 else d,),
            "f[2,2]",
            False,
        ),
        (lambda x: (x.reshape(2, 2) * 2, ()), lambda _, d: (2 * d,), "f[2,2]", False),
        (lambda x: (x * x * x, x), wrong_at_another_size, "f[9]", False),
    ],
)
def test_the_proof_of_an_elementwise_rule_holds_at_every_shape(fwd, bwd, text: str, holds: bool):
    proof = prove_rule(fwd, bwd, *parse_args(text), n_points=1)
    assert proof.passed, str(proof)
    assert (EVERY_SHAPE in proof.notes) == holds

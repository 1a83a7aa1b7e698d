"""check_rule passes right rules, and each check finds the mistakes that it is for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import custom_vjp, rules
from jaxmore.testing import RuleError, check_rule, modes
from jaxmore.testing.rule import examine
from jaxmore.testing.shipped import FAMILIES, check_family


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.quick("tanh", "embedding")
def test_a_shipped_rule_passes_every_check(name: str):
    """So each goes through ``jaxmore.custom_vjp`` under jit, vmap, scan and grad of grad."""
    report = check_family(name, FAMILIES[name][0])
    assert report.passed, report
    assert not report.notes
    for row in report.rows:
        assert row.autodiff < 1e-12
        assert row.differences < 1e-9
        assert set(row.narrow) == {"float32", "bfloat16", "float16"}
        assert max(row.narrow.values()) < 4
    assert report.agreement < 16
    assert report.grad_of_grad < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "i"), [(name, i) for name in FAMILIES for i in range(1, len(FAMILIES[name]))]
)
@pytest.mark.slow
def test_a_shipped_rule_is_right_on_every_family(name: str, i: int):
    # In blocks, and by tanh, the rule is another one: in every mode too.
    modes = (name, i) in [("causal_attention", 1), ("gelu", 3)]
    report = check_family(name, FAMILIES[name][i], dtypes=(), modes=modes)
    assert report.passed, report


def test_every_rule_has_a_family():
    assert {f"{name}_bwd" for name in FAMILIES} == {n for n in dir(rules) if n.endswith("_bwd")}


# A rule of a stranger's ---------------------------------------------------------------------------


def scale_fwd(x, gain):
    return x * gain, (x, gain)


def scale_bwd(residuals, dy):
    x, gain = residuals
    return dy * gain, (dy * x).sum(0)


X = np.random.default_rng(0).normal(size=(5, 3))
GAIN = np.random.default_rng(1).normal(size=3)


def test_a_right_rule_gives_a_table():
    report = check_rule(scale_fwd, scale_bwd, X, GAIN)
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "scale",
        "shape",
        "autodiff",
        "differences",
        "float32",
        "bfloat16",
        "float16",
    ]
    assert lines[1].startswith("x      (5, 3)")
    assert lines[2].startswith("gain   (3,)")
    assert lines[3].startswith("modes within ")
    assert "residuals 72 bytes" in lines[3]  # 15 + 3 numbers in float32
    assert len(lines) == 4
    assert json.loads(json.dumps(report.as_dict()))["passed"] is True


def test_the_process_stays_as_it_was():
    before = jax.config.jax_enable_x64
    check_rule(scale_fwd, scale_bwd, X, GAIN, dtypes=(), modes=False)
    with pytest.raises(RuleError):
        check_rule(scale_fwd, lambda res, dy: scale_bwd(res, dy)[:1], X, GAIN)
    assert jax.config.jax_enable_x64 == before
    assert jnp.ones(1).dtype == jnp.float32


def problem(bwd, *args, fwd=scale_fwd, **options):
    """Return the only problem in the report."""
    report = examine(fwd, bwd, *(args or (X, GAIN)), **options)
    assert len(report.problems) == 1, report
    return report.problems[0]


def test_the_diagnosis_is_whole():
    def wrong(residuals, dy):
        dx, dgain = scale_bwd(residuals, dy)
        return dx.at[3, 1].mul(1.001), dgain

    with pytest.raises(RuleError) as error:
        check_rule(scale_fwd, wrong, X, GAIN)
    (found,) = error.value.report.problems
    assert (found.check, found.argument, found.index) == ("autodiff", "x", (3, 1))
    assert found.ours == pytest.approx(1.001 * found.oracle)
    assert found.relative_error == pytest.approx(1e-3)
    assert found.cause is None
    lines = str(error.value).splitlines()
    assert lines[0] == "scale is wrong"
    assert lines[1].startswith("x: 1 of 15 elements, all in [3, :]; worst at x[3, 1]: ")
    assert lines[1].endswith("(relative error 0.001)")
    assert len(lines) == 2


def test_primal():
    def other_fwd(x, gain):
        return x * gain * (1 + 2**-50), (x, gain)

    found = problem(scale_bwd, fwd=other_fwd, op=lambda x, gain: x * gain)
    assert found.check == "primal"
    assert "not the plain forward's" in found.message
    found = problem(
        scale_bwd, fwd=lambda x, g: ((x * g)[None], (x, g)), op=lambda x, gain: x * gain
    )
    assert found.message == "fwd returns float64[1, 5, 3], the plain forward float64[5, 3]"


def test_structure():
    def returning(cotangents):
        return problem(lambda res, dy: cotangents(*scale_bwd(res, dy)))

    assert "a dict, not a tuple" in returning(lambda dx, dg: {"x": dx, "gain": dg}).message
    assert "1 cotangent for 2 arguments" in returning(lambda dx, dg: (dx,)).message
    found = returning(lambda dx, dg: (dx, None))
    assert found.argument == "gain"
    assert found.cause == "it is zero everywhere"  # as JAX reads None
    assert "float32, not float64" in returning(lambda dx, dg: (dx, dg.astype("float32"))).message
    assert "shape (1, 3), not (3,)" in returning(lambda dx, dg: (dx, dg[None])).message
    assert "fails eagerly: TypeError" in returning(lambda dx, dg: (dx, dg + "1")).message


def test_integers_have_no_cotangent():
    ids = np.array([1, 0, 1, 2])
    table = X
    op, fwd, bwd = rules.embedding, rules.embedding_fwd, rules.embedding_bwd
    assert examine(fwd, bwd, ids, table, op=op, modes=False).passed
    found = problem(lambda res, dy: (ids * 1.0, bwd(res, dy)[1]), ids, table, fwd=fwd)
    assert found.argument == "ids"


def test_residuals_are_arrays():
    found = problem(lambda res, dy: (3 * dy,), X, fwd=lambda x: (3 * x, (x, "add")))
    assert found.check == "residuals"
    assert "hold 'add', a str" in found.message


def test_differences_do_not_trust_autodiff():
    """A forward whose own gradient is wrong, and a rule that agrees with it."""
    stopped = lambda x: x * jax.lax.stop_gradient(x)  # noqa: E731
    found = problem(lambda x, dy: (x * dy,), X, fwd=lambda x: (stopped(x), x))
    assert found.check == "differences"
    assert "jax.vjp agrees" in found.cause
    found = problem(lambda x, dy: (2 * x * dy,), X, fwd=lambda x: (stopped(x), x))
    assert found.check == "autodiff"
    assert "differences of the forward agree" in found.cause


@pytest.mark.slow
def test_linearity():
    clipped = lambda x, dy: (jnp.where(jnp.abs(dy) < 3, dy, 0) * 3,)  # noqa: E731
    many = np.random.default_rng(0).normal(size=1000)
    assert problem(clipped, many, fwd=lambda x: (3 * x, x)).check in ("linearity", "autodiff")

    def nan_at_zero(x, dy):
        return (3 * dy * dy / dy,)

    found = problem(nan_at_zero, X, fwd=lambda x: (3 * x, x))
    assert found.message == "x: a dy of zero gives nan, not 0"

    def constant(x, dy):
        return (3 * dy + jnp.where((dy == 0).all(), 1e-30, 0),)

    assert "a dy of zero gives 1e-30" in problem(constant, X, fwd=lambda x: (3 * x, x)).message

    def two_ulps(x, dy):
        return (jnp.where(jnp.abs(dy).max() > 4, jnp.nextafter(3 * dy, jnp.inf), 3 * dy),)

    found = problem(two_ulps, X, fwd=lambda x: (3 * x, x))
    assert found.message.startswith("x: 4 dy does not give 4 times the bits; if that is meant")


def test_modes():
    def by_value(x, dy):
        return ((3 if dy.sum() > -1e9 else 4) * dy,)

    found = problem(by_value, X, fwd=lambda x: (3 * x, x))
    assert found.check == "modes"
    assert "fails under jit: TracerBoolConversionError" in found.message

    def over_all(x, dy):
        return (3 * dy + 0 * jax.pure_callback(lambda d: d, dy, dy),)

    found = problem(over_all, X, fwd=lambda x: (3 * x, x))
    assert found.check == "modes"
    assert "fails under vmap" in found.message


def test_modes_go_through_the_drop_in(monkeypatch: pytest.MonkeyPatch):
    """A rule that is right by itself, and wrong as ``custom_vjp`` hands it to JAX."""
    twice = lambda x, dy: (6 * dy,)  # noqa: E731
    monkeypatch.setattr(modes, "custom_vjp", lambda op, fwd, bwd: custom_vjp(op, fwd, twice))
    report = examine(lambda x: (3 * x, x), lambda x, dy: (3 * dy,), X)
    found = [problem.message.split(" and jit differ")[0] for problem in report.problems]
    assert found == ["x: vmap", "x: lax.scan", "x: checkpoint"]


@pytest.mark.slow
def test_a_rule_that_is_compiled_to_something_else():
    """No oracle can judge it; that eager and jit differ is all there is to say."""

    def by_mode(x, dy):
        return ((2.0 if isinstance(x, jax.core.Tracer) else 3.0) * dy,)

    found = problem(by_mode, X, fwd=lambda x: (3 * x, x))
    assert found.check == "modes"
    assert "eager and jit differ by" in found.message


def test_grad_of_grad():
    def frozen(x, dy):
        return (jax.lax.stop_gradient(2 * x) * dy,)

    found = problem(frozen, X, fwd=lambda x: (x * x, x))
    assert found.message.startswith("x: grad of grad is off by ")


@pytest.mark.slow
def test_narrow_sums():
    """A sum in bfloat16 over many rows loses digits that float32 would keep."""

    def in_its_own_dtype(residuals, dy):
        x, gain = residuals
        step = lambda total, row: (total + row, None)  # noqa: E731
        dgain, _ = jax.lax.scan(step, jnp.zeros_like(gain), dy * x)
        return dy * gain, dgain

    many = np.random.default_rng(0).uniform(1, 2, (700, 2))
    gain = np.array([0.7, 1.3])
    found = problem(in_its_own_dtype, many, gain, modes=False, op=lambda x, g: x * g)
    assert (found.check, found.argument) == ("dtypes", "gain")
    assert "sums taken in float32?" in found.message
    assert examine(scale_fwd, in_its_own_dtype, many, gain, modes=False, dtypes=()).passed


@pytest.mark.slow
def test_a_dtype_that_overflows_is_noted():
    report = check_rule(lambda x: (jnp.exp(x), jnp.exp(x)), lambda y, dy: (y * dy,), X + 20)
    assert report.notes == ["float16: the forward overflows; not checked"]
    assert set(report.rows[0].narrow) == {"float32", "bfloat16"}


def test_kinks():
    """At a kink any slope between the two one-sided ones is right, and no other."""

    def relu_with(slope):
        bwd = lambda x, dy: (jnp.where(x == 0, slope, x > 0) * dy,)  # noqa: E731
        return examine(lambda x: (jnp.maximum(x, 0), x), bwd, at, modes=False, dtypes=())

    at = np.array([0.0, 1.5, -0.7, 0.0])
    for slope in (0.0, 0.3, 1.0):
        report = relu_with(slope)
        assert report.passed, report
        if slope != 0.5:  # that is what JAX takes
            assert "kink at 2 elements" in report.notes[-1]
    assert not relu_with(1.1).passed
    assert not relu_with(-0.1).passed


def test_a_tie_for_the_maximum():
    def first(x, dy):
        return (jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=dy.dtype) * dy[..., None],)

    ties = np.array([[1.0, 3.0, 3.0], [0.5, -1.0, 0.2]])
    assert check_rule(lambda x: (x.max(-1), x), first, ties, modes=False, dtypes=()).notes


@pytest.mark.slow
def test_trees_and_options():
    def fwd(params, x, *, power):
        return {"y": (params["a"] * x) ** power, "z": params["b"]["c"]}, (params, x)

    def bwd(residuals, dy, *, power):
        params, x = residuals
        du = power * (params["a"] * x) ** (power - 1) * dy["y"]
        return {"a": (du * x).sum(0), "b": {"c": dy["z"]}}, du * params["a"]

    params = {"a": GAIN, "b": {"c": X[0]}}
    report = check_rule(fwd, bwd, params, X, power=3)
    assert [row.argument for row in report.rows] == ["params.a", "params.b.c", "x"]

    def wrong(residuals, dy, *, power):
        dparams, dx = bwd(residuals, dy, power=power)
        return {**dparams, "b": {"c": -dy["z"]}}, dx

    found = examine(fwd, wrong, params, X, power=3).problems[0]
    assert found.argument == "params.b.c"
    assert found.cause.startswith("its sign is wrong; if that is meant (gradient reversal)")


@pytest.mark.slow
def test_an_argument_that_is_left_out():
    assert check_rule(rules.linear_fwd, rules.linear_bwd, X, X.T, None, modes=False).passed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.array([-1.0, 2.0]),), "not finite"),
        ((np.array([1, 2]),), "no argument is a float"),
    ],
)
def test_arguments_that_show_nothing_are_refused(args, message):
    with pytest.raises(ValueError, match=message):
        check_rule(lambda x: (jnp.log(x), x), lambda x, dy: (dy / x,), *args)


@pytest.mark.slow
def test_degenerate_arguments_are_noted():
    report = check_rule(
        rules.embedding_fwd, rules.embedding_bwd, np.arange(3), np.ones((3, 2)), modes=False
    )
    assert report.notes == [
        "the values of ids are all different: .set for .add would not show",
        "weight holds one value only: a wrong factor or axis may not show",
    ]

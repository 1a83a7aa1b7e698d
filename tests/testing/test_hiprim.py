"""check_hiprim passes right primitives, and each check finds the mistake that it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import hijax

from jaxmore import InputError, drop_in, hiprim, rules
from jaxmore.testing import RuleError, check_hiprim

if drop_in.HiPrim is None:
    pytest.skip("hijax primitives came with jax 0.9", allow_module_level=True)

X, Y = np.array([0.3, -1.2, 0.8]), np.array([1.1, 0.4, -0.6])
NEWER = hasattr(hijax, "HiPrim")
newer = pytest.mark.skipif(not NEWER, reason="this remat came with jax 0.12")
HAS_LIN = hasattr(drop_in.HiPrim, "lin")
with_lin = pytest.mark.skipif(not HAS_LIN, reason="lin and linearized came with jax 0.10")


class ReverseOnly(drop_in.HiPrim):
    """x sin y, with no rule but that of reverse mode."""

    def __init__(self, x, y):
        self.in_avals, self.out_aval, self.params = (x, y), x, {}
        super().__init__()

    def expand(self, x, y):
        return x * jnp.sin(y)

    def vjp_fwd(self, nzs_in, x, y):
        return self(x, y), (x, y)

    def vjp_bwd_retval(self, res, dz):
        x, y = res
        return dz * jnp.sin(y), dz * x * jnp.cos(y)


class Right(ReverseOnly):
    """x sin y, with all rules."""

    def jvp(self, primals, tangents):
        (x, y), (vx, vy) = primals, map(hijax.instantiate_zeros, tangents)
        return self(x, y), vx * jnp.sin(y) + vy * x * jnp.cos(y)

    def lin(self, nzs_in, x, y):
        return self(x, y), (x, y)

    def linearized(self, res, *tangents):
        return self.jvp(res, tangents)[1]

    def batch(self, axis_data, args, dims):
        args = [
            jnp.broadcast_to(a, (axis_data.size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
            for a, d in zip(args, dims, strict=True)
        ]
        return apply(type(self))(*args), 0


def apply(primitive):
    return lambda *args: primitive(*map(jax.typeof, args))(*args)


def message(primitive, *args, dtypes=()):
    with pytest.raises(RuleError) as caught:
        check_hiprim(apply(primitive), *(args or (X, Y)), dtypes=dtypes)
    return str(caught.value)


def test_a_right_primitive_passes_every_check():
    report = check_hiprim(apply(Right), X, Y, dtypes=("float32", "bfloat16"))
    assert report.name == "Right"
    assert [row.argument for row in report.rows] == ["argument 0", "argument 1"]
    assert report.verdict == "right"
    assert report.not_provided == []
    assert not report.notes
    assert report.dual < 1e-14
    assert report.grad_of_grad < 1e-12
    assert report.agreement < 16
    assert report.residual_bytes == 24
    assert set(report.rows[0].narrow) == {"float32", "bfloat16"}
    assert "jvp dual to vjp within" in str(report)


def test_rules_that_are_not_there_are_no_mistake():
    report = check_hiprim(apply(ReverseOnly), X, Y, dtypes=())
    assert report.verdict == "right"
    lacking = [
        "jvp",
        *(["linearize"] if HAS_LIN else []),
        "vmap",
        "checkpoint",
    ]
    assert report.not_provided == lacking
    assert f"not provided: {', '.join(lacking)}\n" in f"{report}\n"


# A mistake for each check ------------------------------------------------------------------------


class WrongVjp(Right):
    def vjp_bwd_retval(self, res, dz):
        x, y = res
        return dz * jnp.sin(y), dz * x


class WrongJvp(Right):
    def jvp(self, primals, tangents):
        z, v = super().jvp(primals, tangents)
        return z, 1.0001 * v


class JvpOfAnotherValue(Right):
    def jvp(self, primals, tangents):
        z, v = super().jvp(primals, tangents)
        return -z, v


class ForgetsSymbolicZeros(Right):
    def jvp(self, primals, tangents):
        (x, y), (vx, vy) = primals, tangents
        return self(x, y), vx * jnp.sin(y) + vy * x * jnp.cos(y)


class BatchOfTheFirstExample(Right):
    def batch(self, axis_data, args, dims):
        first = [a if d is None else jnp.take(a, 0, d) for a, d in zip(args, dims, strict=True)]
        z = apply(type(self))(*first)
        return jnp.broadcast_to(z, (axis_data.size, *z.shape)), 0


class BatchOnTheWrongAxis(Right):
    def batch(self, axis_data, args, dims):
        z, _ = super().batch(axis_data, args, dims)
        return z, 1


class BatchWithoutGradient(Right):
    def batch(self, axis_data, args, dims):
        z, dim = super().batch(axis_data, args, dims)
        return jax.lax.stop_gradient(z), dim


class KeepsAResidualOnItself(Right):
    def vjp_fwd(self, nzs_in, x, y):
        self.kept = x, y
        return self(x, y), ()

    def vjp_bwd_retval(self, res, dz):
        return super().vjp_bwd_retval(self.kept, dz)


class WrongSecondOrder(Right):
    def vjp_bwd_retval(self, res, dz):
        return super().vjp_bwd_retval(jax.lax.stop_gradient(res), dz)


class WrongSecondOrderOfJvp(Right):
    def jvp(self, primals, tangents):
        z, _ = super().jvp(primals, tangents)
        return z, super().jvp(jax.lax.stop_gradient(primals), tangents)[1]


class DeclaresAnotherShape(Right):
    def expand(self, x, y):
        return super().expand(x, y)[None]


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (WrongVjp, "argument 1: all 3 elements; worst at argument 1["),
        (WrongJvp, "jvp is not dual to vjp: ⟨dy, J v⟩ is "),
        (JvpOfAnotherValue, "jvp returns another value than expand"),
        (ForgetsSymbolicZeros, "jvp along argument 0 alone fails: TypeError"),
        (BatchOfTheFirstExample, "vmap along the first axis: output 0 is off by "),
        (BatchOnTheWrongAxis, "vmap along the first axis"),
        (BatchWithoutGradient, "grad of vmap along the first axis: argument 0 is off by "),
        (KeepsAResidualOnItself, "it keeps a value of the forward besides the residuals"),
        (WrongSecondOrder, "grad of grad is off by"),
        (WrongSecondOrderOfJvp, "grad of jvp is off by"),
        (DeclaresAnotherShape, "expand returns float64[1, 3], out_aval declares float64[3]"),
    ],
)
@pytest.mark.quick("WrongVjp", "WrongJvp", "BatchOfTheFirstExample", "KeepsAResidualOnItself")
def test_a_mistake_is_found(wrong, found):
    assert found in message(wrong)


def narrowed(array):
    """What a constant of NumPy does to bfloat16."""
    return array * np.float32(1) if array.dtype != "float64" else array


class WideCotangent(Right):
    def vjp_bwd_retval(self, res, dz):
        return tuple(map(narrowed, super().vjp_bwd_retval(res, dz)))


class WideTangent(Right):
    def jvp(self, primals, tangents):
        z, v = super().jvp(primals, tangents)
        return z, narrowed(v)


class WideValue(Right):
    def expand(self, x, y):
        return narrowed(super().expand(x, y))


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (WideCotangent, "argument 0: the cotangent is float32, not bfloat16"),
        (WideTangent, "jvp: the tangent is float32[3], not bfloat16[3]"),
        (WideValue, "expand returns float32[3], out_aval declares bfloat16[3]"),
    ],
)
@pytest.mark.quick("WideTangent")
def test_a_wrong_dtype_of_16_bits_is_found(wrong, found):
    assert found in message(wrong, dtypes=("bfloat16",))


@newer
def test_a_wrong_rematerialisation_is_found():
    class WrongRemat(Right):
        def remat(self, trace, *args):
            return self(*args), (), lambda _, x, y: self(2 * x, y)

    assert "checkpoint with jax_remat3 and jit differ by" in message(WrongRemat)


@with_lin
def test_a_wrong_linearization_is_found():
    class WrongLinearized(Right):
        def linearized(self, res, vx, vy):
            (x, y), (vx, vy) = res, map(hijax.instantiate_zeros, (vx, vy))
            return vx * jnp.sin(y) - vy * x * jnp.cos(y)

    assert "linearize is not dual to vjp" in message(WrongLinearized)


class Both(drop_in.HiPrim):
    """Two outputs, sin x and cos x."""

    def __init__(self, x):
        self.in_avals, self.out_aval, self.params = (x,), (x, x), {}
        super().__init__()

    def expand(self, x):
        return jnp.sin(x), jnp.cos(x)

    def vjp_fwd(self, nzs_in, x):
        return self(x), x

    def vjp_bwd_retval(self, x, dy):
        ds, dc = map(hijax.instantiate_zeros, dy)
        return (ds * jnp.cos(x) - dc * jnp.sin(x),)


class ForgetsZeroCotangents(Both):
    def vjp_bwd_retval(self, x, dy):
        return (dy[0] * jnp.cos(x) - dy[1] * jnp.sin(x),)


@pytest.mark.slow
def test_each_output_alone():
    assert check_hiprim(apply(Both), X, dtypes=()).verdict == "right"
    assert "bwd fails through output 0 alone" in message(ForgetsZeroCotangents, X)


@pytest.mark.slow
def test_a_residual_that_nobody_reads_is_noted():
    class Wasteful(Right):
        def vjp_fwd(self, nzs_in, x, y):
            return self(x, y), (x, y, jnp.outer(x, y))

        def vjp_bwd_retval(self, res, dz):
            return super().vjp_bwd_retval(res[:2], dz)

    report = check_hiprim(apply(Wasteful), X, Y, dtypes=())
    assert report.notes == ["vjp_bwd does not read these residuals: float64[3, 3]"]
    assert report.residual_bytes == 60


# What can be given -------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_instance_is_checked_in_float64_alone():
    with jax.enable_x64(True):
        avals = [jax.typeof(jnp.asarray(a)) for a in (X, Y)]
    report = check_hiprim(Right(*avals), X, Y)
    assert report.verdict == "right"
    assert [row.argument for row in report.rows] == ["x", "y"]
    assert report.not_provided == []
    with pytest.raises(RuleError, match="y: "):
        check_hiprim(WrongVjp(*avals), X, Y)
    with pytest.raises(InputError, match=r"narrow dtype, .*: lambda x: Right\(jax.typeof\(x\)\)"):
        check_hiprim(Right(avals[0], jax.typeof(np.float32(Y))), X, Y)


class AppliesAnother(ReverseOnly):
    """The primitive in ``expand`` has the same mistake."""

    def expand(self, x, y):
        return apply(WrongVjp)(x, y)

    def vjp_bwd_retval(self, res, dz):
        return WrongVjp.vjp_bwd_retval(self, res, dz)


@pytest.mark.slow
def test_a_primitive_inside_expand_is_expanded_too():
    with pytest.raises(RuleError, match="argument 1: all 3 elements; worst at argument 1"):
        check_hiprim(apply(AppliesAnother), X, Y, dtypes=(), skip=("differences",))


def scanned(x, y):
    return jax.lax.scan(lambda carry, xy: (carry, apply(WrongVjp)(*xy)), None, (x, y))[1]


def branched(x, y):
    return jax.lax.cond(x[0] > 0, apply(WrongVjp), apply(WrongVjp), x, y)


def looped(x, y):
    return jax.lax.while_loop(lambda z: z[0] > 1, lambda z: apply(WrongVjp)(z, y), x)


class Scans(ReverseOnly):
    def expand(self, x, y):
        return scanned(x, y)


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (scanned, "scan"),
        (lambda x, y: apply(Right)(x, y) + jax.jit(scanned)(x, y), "scan"),
        (branched, "cond"),
        (looped, "while"),
        (jax.checkpoint(apply(WrongVjp)), "(checkpoint|remat2)"),
        (lambda x, y: jax.lax.map(lambda _: scanned(x, y), jnp.arange(2)), "scan"),
        (apply(Scans), "scan"),
    ],
)
def test_a_primitive_inside_another_transformation_is_refused(function, where):
    with pytest.raises(InputError, match=f"a hijax primitive inside {where} cannot be checked"):
        check_hiprim(function, X, Y)


class JvpLater(Right):
    def jvp(self, primals, tangents):
        raise NotImplementedError("later")


class BatchLater(Right):
    def batch(self, axis_data, args, dims):
        raise NotImplementedError("later")


class VjpLater(Right):
    def vjp_fwd(self, nzs_in, x, y):
        raise NotImplementedError("later")


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (JvpLater, "jvp fails: NotImplementedError: later"),
        (BatchLater, "vmap along the first axis fails: NotImplementedError: later"),
        (VjpLater, "vjp_fwd fails: NotImplementedError: later"),
    ],
)
@pytest.mark.quick("JvpLater")
def test_a_rule_that_raises_is_not_a_rule_that_is_absent(wrong, found):
    assert found in message(wrong)


def test_skipped_dtypes_are_skipped_in_forward_mode():
    report = check_hiprim(apply(WideTangent), X, Y, dtypes=("bfloat16",), skip=("dtypes",))
    assert report.passed


def test_a_rule_of_lambdas_is_called_the_rule():
    tripled = hiprim(lambda x: 3 * x, lambda x: (3 * x, ()), lambda _, dy: (2 * dy,))
    with pytest.raises(RuleError, match=r"^the rule is wrong"):
        check_hiprim(tripled, X, dtypes=())


def test_what_cannot_be_checked_is_one_sentence(monkeypatch):
    with pytest.raises(InputError, match="applies no hijax primitive"):
        check_hiprim(jnp.sin, X)

    class ForwardOnly(Right):
        vjp_fwd = drop_in.HiPrim.vjp_fwd

    with pytest.raises(InputError, match=r"ForwardOnly has no reverse mode to check"):
        check_hiprim(apply(ForwardOnly), X, Y)
    monkeypatch.setattr(drop_in, "HiPrim", None)
    with pytest.raises(InputError, match="has no hijax primitives: they need jax"):
        check_hiprim(apply(Right), X, Y)


@pytest.mark.slow
def test_a_primitive_inside_jit():
    report = check_hiprim(jax.jit(apply(Right)), X, Y, dtypes=())
    assert report.verdict == "right"


# Rules of ours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("tanh", [X]),
        ("softmax_cross_entropy", [np.outer(X, [0.2, 1.0, -0.5, 0.7]), np.array([3, 0, -1])]),
        ("layer_norm", [np.outer(X, [0.2, 1.0, -0.5, 0.7]), np.ones(4) + X[0], np.arange(4.0)]),
        ("linear", [np.outer(X, [0.2, 1.0]), np.outer([1.0, -0.3], Y), None]),
    ],
)
@pytest.mark.quick("tanh")
def test_a_shipped_rule_as_a_primitive(name, args):
    functions = (getattr(rules, name + end) for end in ("", "_fwd", "_bwd"))
    report = check_hiprim(hiprim(*functions), *args, dtypes=("bfloat16",))
    assert report.name == name
    assert report.verdict == "right"
    assert report.not_provided == []
    assert report.dual < 1e-14

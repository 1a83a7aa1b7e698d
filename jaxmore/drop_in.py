"""The bridges to JAX's autodiff: use a rule under ``jax.grad``, and under ``jax.jvp``."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import hijax

from jaxmore.errors import InputError, describe
from jaxmore.rules._recompute import without_recomputing


def custom_vjp(
    op: Callable[..., Any],
    op_fwd: Callable[..., tuple[Any, Any]],
    op_bwd: Callable[..., tuple[Any, ...]],
    **options: Any,
) -> Callable[..., Any]:
    """Return ``op`` with ``op_bwd`` as its gradient under ``jax.grad``, with the options bound.

    Args:
        op: the plain forward function, ``op(*arrays, **options) -> y``.
        op_fwd: ``op_fwd(*arrays, **options) -> (y, residuals)``.
        op_bwd: ``op_bwd(residuals, dy, **options) -> cotangents``, one for each array argument.
        **options: the keyword-only options of the rule (``eps``, ``axis``, ...).

    Returns:
        A function of the arrays alone. It works under ``jax.grad``, ``jit``, ``vmap``, ``scan`` and
        ``checkpoint``, and its gradient can be differentiated again in reverse mode. (As with every
        ``jax.custom_vjp``, forward mode needs ``op`` itself, or :func:`hiprim`.)

    Raises:
        ValueError: under ``jax.grad``, if the number of cotangents that ``op_bwd`` returns differs
            from the number of array arguments of ``op``.

    >>> import jax
    >>> from jaxmore.rules import tanh, tanh_bwd, tanh_fwd
    >>> f = custom_vjp(tanh, tanh_fwd, tanh_bwd)
    >>> float(jax.grad(f)(jax.numpy.array(0.0)))
    1.0
    """
    bound = _bind(op, op_fwd, op_bwd, options)
    rule = jax.custom_vjp(bound.op)
    rule.defvjp(bound.fwd, bound.bwd)
    return rule


def hiprim(
    op: Callable[..., Any],
    op_fwd: Callable[..., tuple[Any, Any]],
    op_bwd: Callable[..., tuple[Any, ...]],
    **options: Any,
) -> Callable[..., Any]:
    """Return ``op`` as a hijax primitive, JAX's newest form of a rule; forward mode works, too.

    The forward mode needs no rule of its own and no derivative by JAX. ``op_bwd`` computes
    dy ↦ Jᵀ dy for the Jacobian J of ``op``, a linear map of dy, and its transpose is (Jᵀ)ᵀ = J.
    So ``jax.jvp`` runs ``op_fwd`` and the transposed program of ``op_bwd``, which
    ``jax.linear_transpose`` makes from it operation by operation: matrix product for matrix
    product, broadcast for sum. No derivative comes from JAX. Forward and reverse mode have the same
    Jacobian. ``op_bwd`` must be linear in dy, which :func:`jaxmore.testing.check_rule` checks, and
    JAX must be able to transpose each operation between dy and a cotangent: a ``while_loop`` or a
    ``custom_vjp`` there raises an error, and so does an operation that is not linear, such as the
    clipping of a gradient.

    Args:
        op: as in :func:`custom_vjp`.
        op_fwd: as in :func:`custom_vjp`.
        op_bwd: as in :func:`custom_vjp`.
        **options: as in :func:`custom_vjp`.

    Returns:
        A function of the arrays alone. It works as that of :func:`custom_vjp` does, and under
        ``jax.jvp``, ``jacfwd`` and ``hessian``; under ``jax.linearize`` from jax 0.11 on.

    Raises:
        InputError: if the installed jax has no hijax primitives (before 0.9).

    >>> import jax
    >>> from jaxmore.rules import tanh, tanh_bwd, tanh_fwd
    >>> f = hiprim(tanh, tanh_fwd, tanh_bwd)
    >>> y, dy = jax.jvp(f, [jax.numpy.array(0.0)], [jax.numpy.array(3.0)])
    >>> float(dy)
    3.0
    """
    require_hijax()
    bound = _bind(op, op_fwd, op_bwd, options)

    def rule(*args: Any) -> Any:
        return RulePrimitive(bound, jax.tree.map(jax.typeof, args))(*args)

    rule.__name__ = getattr(op, "__name__", "rule")
    parameters = inspect.signature(op).parameters.values()
    arrays = [p for p in parameters if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD]
    rule.__signature__ = inspect.Signature(arrays)  # type: ignore[attr-defined]
    return rule


def _base_of_primitives() -> Any:
    """Return the class of which hijax primitives are made, or None where there is none."""
    base = getattr(hijax, "HiPrim", getattr(hijax, "VJPHiPrimitive", None))
    # jax 0.8 calls vjp_fwd without the flags that tell which arguments have a tangent.
    return base if base and "nzs_in" in inspect.signature(base.vjp_fwd).parameters else None


HiPrim: Any = _base_of_primitives()
"""``jax.experimental.hijax.HiPrim``, called ``VJPHiPrimitive`` before jax 0.12; None before 0.9."""
_Base: Any = HiPrim or object


def require_hijax() -> None:
    """Raise InputError where the installed jax has no hijax primitives."""
    if HiPrim is None:
        raise InputError(
            f"jax {jax.__version__} has no hijax primitives: they need jax 0.9 or newer"
        )


class _Bound(NamedTuple):
    """The functions of a rule, with its options bound."""

    op: Callable[..., Any]
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[..., tuple[Any, ...]]


def _bind(
    op: Callable[..., Any],
    op_fwd: Callable[..., tuple[Any, Any]],
    op_bwd: Callable[..., tuple[Any, ...]],
    options: dict[str, Any],
) -> _Bound:
    parameters = inspect.signature(op).parameters.values()
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    n_arguments = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

    def forward(*args: Any) -> Any:
        return op(*args, **options)

    def fwd(*args: Any) -> tuple[Any, Any]:
        y, residuals = op_fwd(*args, **options)
        # Which arguments were given is static, so pass it as tree structure, not as values.
        return y, (residuals, tuple(None if arg is None else () for arg in args))

    def bwd(saved: tuple[Any, tuple[Any, ...]], dy: Any) -> tuple[Any, ...]:
        residuals, given = saved
        cotangents = op_bwd(residuals, dy, **options)
        if not open_ended and len(cotangents) != n_arguments:
            raise ValueError(f"{len(cotangents)} cotangents for {n_arguments} arguments")
        # JAX expects no cotangent for an optional argument that was left out (a bias).
        return tuple(None if arg is None else d for arg, d in zip(given, cotangents, strict=False))

    return _Bound(forward, fwd, bwd)


class RulePrimitive(_Base):
    """A rule on arguments of given shapes and dtypes, as a hijax primitive."""

    skip_linearization_on_zero_tangents = True

    def __init__(self, rule: _Bound, in_avals: tuple[Any, ...]) -> None:
        self.rule, self.in_avals, self.params = rule, in_avals, {"rule": rule}
        graph, shapes = jax.make_jaxpr(rule.op, return_shape=True)(*in_avals)
        self.out_aval = jax.tree.unflatten(jax.tree.structure(shapes), graph.out_avals)
        super().__init__()

    def expand(self, *args: Any) -> Any:
        return self.rule.op(*args)

    def vjp_fwd(self, nzs_in: Any, /, *args: Any) -> tuple[Any, Any]:
        return self.rule.fwd(*args)

    def vjp_bwd_retval(self, residuals: Any, dy: Any, /) -> tuple[Any, ...]:
        return jax.tree.unflatten(self.in_tree, self._pull_back(residuals, dy))

    def _pull_back(self, residuals: Any, dy: Any) -> list[Any]:
        """Return a cotangent, or None, for each array among the arguments."""
        dy = jax.tree.map(hijax.instantiate_zeros, dy, is_leaf=_is_zero)
        return self._flat(self.rule.bwd(residuals, dy))

    def _flat(self, cotangents: tuple[Any, ...]) -> list[Any]:
        # A rule may give None for a whole tree.
        pairs = zip(cotangents, self.in_avals, strict=True)
        whole = (jax.tree.map(lambda _: None, aval) if d is None else d for d, aval in pairs)
        return self.in_tree.flatten_up_to(tuple(whole))

    def lin(self, nzs_in: Any, /, *args: Any) -> tuple[Any, Any, Any]:
        return *self.rule.fwd(*args), jax.tree.map(_is_float, self.out_aval)

    def linearized(self, residuals: Any, *tangents: Any) -> Any:
        """Return J tangents, by transposing dy ↦ Jᵀ dy."""
        flat = self.in_tree.flatten_up_to(tangents)
        moving = [i for i, v in enumerate(flat) if not _is_zero(v)]
        zeros = [hijax.Zero(aval.to_tangent_aval()) for aval in self.out_avals_flat]
        places = [i for i, aval in enumerate(self.out_avals_flat) if _is_float(aval)]

        def output(floats: list[Any]) -> Any:
            given = dict(zip(places, floats, strict=True))
            return jax.tree.unflatten(self.out_tree, [given.get(i, z) for i, z in enumerate(zeros)])

        def pull_back(dys: list[Any]) -> list[Any]:
            cotangents = self._pull_back(residuals, output(dys))
            pairs = [(cotangents[i], flat[i]) for i in moving]
            return [jnp.zeros_like(v) if d is None else d for d, v in pairs]

        outputs = [self.out_avals_flat[i] for i in places]
        try:
            with without_recomputing():
                transposed = jax.linear_transpose(pull_back, outputs)
            (pushed,) = transposed([flat[i] for i in moving])
        except (AssertionError, NotImplementedError) as error:
            raise TypeError(
                "forward mode transposes the backward function of the rule, and JAX cannot: each "
                f"operation between dy and a cotangent must be linear in dy ({describe(error)})"
            ) from error
        return output(pushed)

    def jvp(self, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        y, residuals = self.rule.fwd(*primals)
        return y, self.linearized(residuals, *tangents)

    def batch(self, axis_data: Any, args: tuple[Any, ...], dims: tuple[Any, ...]) -> Any:
        """Apply the mapped rule; the mapped axis of each output is its first."""
        mapped = partial(jax.vmap, axis_size=axis_data.size, axis_name=axis_data.name)
        flat_dims = self.in_tree.flatten_up_to(dims)
        residual_axes = self._residual_axes(flat_dims)

        def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
            cotangents = mapped(self.rule.bwd, in_axes=(residual_axes, 0))(residuals, dy)
            pairs = zip(self._flat(cotangents), flat_dims, strict=True)
            return jax.tree.unflatten(self.in_tree, [_unmapped(d, dim) for d, dim in pairs])

        rule = _Bound(
            mapped(self.rule.op, in_axes=dims),
            mapped(self.rule.fwd, in_axes=dims, out_axes=(0, residual_axes)),
            bwd,
        )
        y = RulePrimitive(rule, jax.tree.map(jax.typeof, args))(*args)
        return y, jax.tree.map(lambda _: 0, self.out_aval)

    def _residual_axes(self, dims: list[int | None]) -> Any:
        """Return 0 for each residual that depends on a mapped argument, None for the others.

        The others, such as weights, are kept once, not once for each example.
        """
        graph, shapes = jax.make_jaxpr(self.rule.fwd, return_shape=True)(*self.in_avals)
        pairs = zip(graph.jaxpr.invars, dims, strict=True)
        mapped = {id(x) for x, dim in pairs if dim is not None}
        for equation in graph.jaxpr.eqns:
            if mapped & {id(x) for x in equation.invars}:
                mapped |= {id(x) for x in equation.outvars}
        axes = [0 if id(x) in mapped else None for x in graph.jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(shapes), axes)[1]


def _unmapped(cotangent: Any, dim: int | None) -> Any:
    """Return a mapped cotangent as that of the whole argument, which has its mapped axis at dim."""
    if cotangent is None:
        return None
    return cotangent.sum(0) if dim is None else jnp.moveaxis(cotangent, 0, dim)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, hijax.Zero)


def _is_float(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.floating)

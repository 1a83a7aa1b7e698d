"""check_hiprim: the rules of a hijax primitive, against autodiff of what it expands to."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.extend import core

from jaxmore.drop_in import HiPrim, RulePrimitive, require_hijax
from jaxmore.errors import InputError
from jaxmore.prove.program import names_of
from jaxmore.testing import oracles
from jaxmore.testing.case import DTYPES, Case
from jaxmore.testing.hijax.expansion import expanded, primitives_in
from jaxmore.testing.hijax.forward import (
    check_forward_mode,
    check_single_gradients,
    is_missing,
    types_of,
)
from jaxmore.testing.hijax.mapped import check_vmap
from jaxmore.testing.leaves import StructureError, is_float
from jaxmore.testing.misuse import explained
from jaxmore.testing.modes import check_modes, check_second_order, disagreement
from jaxmore.testing.report import Report, RuleError
from jaxmore.testing.rule import examine


def check_hiprim(
    prim: Callable[..., Any],
    *args: Any,
    dtypes: Sequence[str] = DTYPES,
    skip: Sequence[str] = (),
    seed: int = 0,
) -> Report:
    """Check the rules of a hijax primitive on the given arguments, and raise if one is wrong.

    The oracle is ``expand``, which JAX differentiates and maps by itself. The checks are those of
    :func:`check_rule` for ``vjp_fwd`` and ``vjp_bwd`` (autodiff, differences, linearity, second
    order, ``jit``, ``scan``, ``checkpoint``, ``remat``, narrower dtypes, residuals), and

    1. types: ``expand`` and ``vjp_fwd`` return what ``out_aval`` declares, in every dtype;
    2. zeros: a gradient of one argument alone, or through one output alone, is the same;
    3. duality: ⟨dy, jvp(v)⟩ equals ⟨vjp(dy), v⟩ within 1e-12 of its condition scale, for each
       argument alone and for all; the same for ``jax.linearize``, and for the second order of
       ``jvp`` over ``vjp`` and ``vjp`` over ``jvp``;
    4. vmap: value, gradient and tangent under ``vmap``, along the first and the last axis and along
       one argument alone, equal those of the mapped ``expand``;
    5. residuals: ``vjp_bwd`` uses what it is given, and nothing else of the forward pass.

    A rule that the primitive does not have (``jvp``, ``linearize``, ``vmap``) is no mistake: the
    report says which are not provided (``report.not_provided``).

    Args:
        prim: the function that applies the primitive, as ``lambda x: Square(jax.typeof(x))(x)``
            does. An instance of the primitive must be bound to float64, and is checked in that
            alone.
        *args: as in :func:`check_rule`.
        dtypes: as in :func:`check_rule`.
        skip: as in :func:`check_rule`.
        seed: as in :func:`check_rule`.

    Returns:
        What was measured; prints as a short table.

    Raises:
        RuleError: a rule is wrong; the message says which, where and by how much.
        InputError: the installed jax has no hijax primitives; ``prim`` applies none, or one inside
            ``scan``, ``cond`` or the like; it has no reverse mode; or it is an instance bound to a
            narrow dtype.

    >>> import jax.numpy as jnp
    >>> from jaxmore import hiprim
    >>> cube = hiprim(lambda x: x**3, lambda x: (x**3, x), lambda x, dy: (3 * x**2 * dy,))
    >>> report = check_hiprim(cube, jnp.array([1.5, -0.7, 0.3]), dtypes=())
    >>> report.verdict
    'right'
    """
    require_hijax()
    instance: Any = prim if isinstance(prim, HiPrim) else None
    if instance:
        _require_float64(instance)
    primitives = [instance] if instance else primitives_in(prim, args)
    if not primitives:
        raise InputError("the function applies no hijax primitive; for a rule use check_rule")
    kind = "the rule" if isinstance(primitives[0], RulePrimitive) else type(primitives[0]).__name__
    name = getattr(prim, "__name__", "<lambda>").replace("<lambda>", kind)
    op = partial(expanded, instance.expand if instance else prim)

    def apply(*args: Any) -> Any:  # an instance may not be hashable
        return prim(*args)

    dtypes = () if instance else dtypes

    def fwd(*args: Any) -> tuple[Any, Any]:
        for primitive in primitives_in(prim, args):
            _check_types(primitive)
        try:
            return jax.vjp(apply, *args)
        except NotImplementedError as error:
            if is_missing(error):
                raise InputError(f"{name} has no reverse mode to check: {error}") from error
            raise StructureError(f"the forward pass fails: {explained(error)}") from error

    def bwd(pull_back: Any, dy: Any) -> Any:
        return pull_back(dy)

    def check_primitive(case: Case) -> None:
        function = case.leaves.on_floats(apply, float_outputs=True)
        check_single_gradients(case, function)
        with_jvp = check_forward_mode(case, function, () if "dtypes" in skip else dtypes)
        check_vmap(case, apply, op, with_jvp=with_jvp)
        if "modes" not in skip:
            check_modes(case, function)
            if any(type(p).remat is not HiPrim.remat for p in primitives if hasattr(p, "remat")):
                _check_remat(case, function)
            if with_jvp and "autodiff" not in skip and not case.without_autodiff:
                check_second_order(case, function, oracles.forward_over_reverse, "jvp of grad")
                check_second_order(case, function, oracles.reverse_over_forward, "grad of jvp")
        if "residuals" not in skip:
            _note_unread_residuals(case)

    names = names_of(instance.expand if instance else prim, args)
    report = examine(
        fwd, bwd, *args, op=op, bitwise=False, names=names, name=name, modes=False, skip=skip,
        dtypes=dtypes, seed=seed, more=check_primitive,
    )  # fmt: skip
    if not report.passed:
        raise RuleError(report)
    return report


def _require_float64(instance: Any) -> None:
    """Refuse a primitive that is bound to a narrow dtype: most checks run in float64."""
    if any(aval.dtype != "float64" for aval in instance.in_avals_flat if is_float(aval)):
        raise InputError(
            "the instance is bound to a narrow dtype, in which only its types can be checked; pass "
            f"the function that applies it: lambda x: {type(instance).__name__}(jax.typeof(x))(x)"
        )


def _check_types(primitive: Any) -> None:
    """Check that what ``expand`` and ``vjp_fwd`` return has the types that ``out_aval`` declares.

    JAX takes ``out_aval`` at its word.

    Raises:
        StructureError: if it has not.
    """
    nonzero = jax.tree.map(lambda _: True, primitive.in_avals)
    forwards: dict[str, Callable[..., Any]] = {
        "expand": partial(expanded, primitive.expand),
        "vjp_fwd": lambda *args: primitive.vjp_fwd(nonzero, *args)[0],
    }
    declared = types_of(primitive.out_avals_flat)
    for name, forward in forwards.items():
        try:
            value = jax.eval_shape(forward, *primitive.in_avals)
        except NotImplementedError as error:
            if is_missing(error):  # no reverse mode, as the check will say
                continue
            raise StructureError(f"{name} fails: {explained(error)}") from error
        if jax.tree.structure(value) != primitive.out_tree:
            raise StructureError(
                f"{name} returns {jax.tree.structure(value)}, out_aval is {primitive.out_tree}"
            )
        returned = types_of(jax.tree.leaves(value))
        if returned != declared:
            raise StructureError(f"{name} returns {returned}, out_aval declares {declared}")


def _check_remat(case: Case, function: Callable[..., Any]) -> None:
    """Check the gradient under the ``jax.checkpoint`` that calls the primitive's own ``remat``."""
    name = "jax_remat3"
    before = getattr(jax.config, name)
    jax.config.update(name, True)
    try:
        run = jax.jit(partial(oracles.through_checkpoint, function))
        got = case.attempt("modes", f"under {name}", run, case.leaves.floats, case.dys[0])
    finally:
        jax.config.update(name, before)
    case.report.problems += disagreement(case, f"checkpoint with {name}", got, case.jitted[0])
    case.stop_if_wrong()


def _note_unread_residuals(case: Case) -> None:
    """Note the arrays that the primitive keeps for its backward pass, which does not read them."""
    leaves, tree = jax.tree.flatten(case.residuals)

    def pull_back(leaves: list[Any], dy: Any) -> Any:
        return case.leaves.cotangents(
            case.rule.bwd(jax.tree.unflatten(tree, leaves), case.whole_dy(dy)), case.leaves.floats
        )

    graph = jax.make_jaxpr(pull_back)(leaves, case.dys[0]).jaxpr
    read = {x for x in graph.outvars if not isinstance(x, core.Literal)}
    for equation in reversed(graph.eqns):
        if read & set(equation.outvars):
            read |= {x for x in equation.invars if not isinstance(x, core.Literal)}
    unread = [x.aval for x in graph.invars[: len(leaves)] if x not in read]
    if unread:
        case.report.notes.append(f"vjp_bwd does not read these residuals: {types_of(unread)}")

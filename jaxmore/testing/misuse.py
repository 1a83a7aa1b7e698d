"""Rules and arguments in a form that cannot be checked as given: each gets one sentence."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxmore.errors import InputError, describe


class Given(NamedTuple):
    """A rule and its array arguments, taken apart."""

    fwd: Callable[..., Any]
    bwd: Callable[..., Any]
    op: Callable[..., Any] | None
    args: tuple[Any, ...]
    options: dict[str, Any]


def take_apart(
    fwd: Any,
    bwd: Any,
    args: Sequence[Any],
    op: Callable[..., Any] | None,
    options: Mapping[str, Any],
    nondiff_argnums: Sequence[int] = (),
) -> Given:
    """Separate the functions of a ``jax.custom_vjp`` object, and the arguments that are no arrays.

    Raises:
        InputError: if there is no forward or no backward function.
    """
    options = dict(options)
    if isinstance(fwd, jax.custom_vjp):
        rule: Any = fwd
        if bwd is not None:
            args = (bwd, *args)
        if rule.fwd is None:
            raise InputError("the custom_vjp object has no rule yet; call defvjp(fwd, bwd) first")
        fwd, bwd, op = rule.fwd, rule.bwd, op or rule.fun
        nondiff_argnums = nondiff_argnums or rule.nondiff_argnums
    if not callable(fwd) or not callable(bwd):
        which = "fwd" if not callable(fwd) else "bwd"
        raise InputError(f"{which} is no function; write check_rule(fwd, bwd, *arguments)")
    if not nondiff_argnums:
        return Given(fwd, bwd, op, tuple(args), options)
    return _without_nondiff(fwd, bwd, op, args, options, tuple(nondiff_argnums))


def _without_nondiff(
    fwd: Callable[..., Any],
    bwd: Callable[..., Any],
    op: Callable[..., Any] | None,
    args: Sequence[Any],
    options: dict[str, Any],
    nondiff: tuple[int, ...],
) -> Given:
    """Bind the values of ``nondiff_argnums``, which bwd takes before the residuals."""
    parameters = list(inspect.signature(op or fwd).parameters.values())
    names = [p.name for p in parameters]
    n = len(args) + sum(i < len(names) and names[i] in options for i in nondiff)
    rest = iter(args)
    whole: list[Any] = []
    for i in range(n):
        by_name = i in nondiff and i < len(names) and names[i] in options
        whole.append(options.pop(names[i]) if by_name else next(rest, None))
    fixed = [whole[i] for i in nondiff]
    places = [i for i in range(n) if i not in nondiff]

    def merged(arrays: Sequence[Any]) -> list[Any]:
        values = list(whole)
        for i, array in zip(places, arrays, strict=True):
            values[i] = array
        return values

    def of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
        def bound(*arrays: Any, **options: Any) -> Any:
            return function(*merged(arrays), **options)

        bound.__name__ = getattr(function, "__name__", "rule")
        kept = [p for i, p in enumerate(parameters) if i not in nondiff]
        bound.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
        return bound

    def bound_bwd(residuals: Any, dy: Any, **options: Any) -> Any:
        return bwd(*fixed, residuals, dy, **options)

    arrays = tuple(whole[i] for i in places)
    return Given(of_arrays(fwd), bound_bwd, op and of_arrays(op), arrays, options)


def refuse_shadowed(
    fwd: Callable[..., Any], given: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Refuse an option of the rule that the checker would take as its own.

    Args:
        fwd: the forward function.
        given: the rule's options, as far as they have been told apart.
        own: the checker's keywords, each with its value and its default.

    Raises:
        InputError: if the checker swallowed an option of the rule.
    """
    try:
        parameters = inspect.signature(fwd).parameters.values()
    except (TypeError, ValueError):
        return
    for p in parameters:
        if p.kind is not p.KEYWORD_ONLY or p.name not in own or p.name in given:
            continue
        value, default = own[p.name]
        if p.default is p.empty or value is not default:
            raise InputError(
                f"the rule has an option {p.name!r}, and so has the checker; write "
                f"options={{{p.name!r}: ...}}"
            )


def explained(error: Exception) -> str:
    """Return the first line of an error of JAX, and what commonly causes it."""
    text = describe(error)
    errors = jax.errors
    if isinstance(error, errors.UnexpectedTracerError):
        return f"{type(error).__name__}: it keeps a value of the forward besides the residuals"
    if isinstance(error, errors.TracerArrayConversionError):
        return text + "; it calls a NumPy function where jax.numpy's is needed"
    if isinstance(error, errors.TracerBoolConversionError):
        return text + "; it branches on a value where jnp.where or lax.cond is needed"
    if isinstance(error, errors.TracerIntegerConversionError | errors.ConcretizationTypeError):
        return text + (
            "; it needs the value of an integer (an axis, a size) while it is traced: pass it as a "
            "keyword option, such as axis=1, or read it off a shape"
        )
    return text


def refuse_leaf(name: str, leaf: Any) -> None:
    """Refuse an argument that is not an array, and one that is complex.

    Raises:
        InputError: which says what to do instead.
    """
    kind = type(leaf)
    if "flax.nnx" in f"{kind.__module__}" or any("flax.nnx" in c.__module__ for c in kind.__mro__):
        raise InputError(
            f"{name} is a Flax NNX object: split it, graphdef, state = nnx.split(module), and "
            "write the rule in terms of the state"
        )
    dtype = getattr(leaf, "dtype", None)
    if dtype is None and isinstance(leaf, bool | int | float):
        return
    if dtype is None and not isinstance(leaf, complex):
        raise InputError(
            f"{name} is {str(leaf)[:60]!r}, not an array: pass it as a keyword option, or keep the "
            "arrays of a tree alone, as eqx.partition(tree, eqx.is_array) does"
        )
    if dtype is None or jax.numpy.issubdtype(dtype, jax.numpy.complexfloating):
        raise InputError(f"{name} is complex: rules of complex arguments are not judged")

"""check_layer and check_model: the checks of a rule, for every parameter of a layer or model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmore.backprop import loss_and_grad
from jaxmore.layers import Layer, Tree, by_path
from jaxmore.testing import oracles
from jaxmore.testing.case import DTYPES
from jaxmore.testing.leaves import WithOptions
from jaxmore.testing.report import Problem, Report, RuleError
from jaxmore.testing.rule import examine

_Report = TypeVar("_Report", bound=Report)

TRAJECTORY = 1e-9
"""The largest relative difference between the losses of two training runs in float64."""


def check_layer(
    layer: Layer,
    x: Any,
    *,
    params: Tree | None = None,
    key: Array | None = None,
    dtypes: Sequence[str] = DTYPES,
    modes: bool = True,
    seed: int = 0,
) -> Report:
    """Check a layer's backward pass: the gradient of every parameter, and dx.

    The forward pass is taken as given, so a mistake in it does not show.

    Args:
        layer: the layer.
        x: its input.
        params: its parameters; by default ``layer.init``'s plus draws from N(0, 0.1²), because
            gains of one and biases of zero hide mistakes.
        key: for layers with dropout.
        dtypes: the narrower dtypes to check in.
        modes: as in :func:`jaxmore.testing.check_rule`.
        seed: of parameters and cotangents.

    Returns:
        What was measured, with a row for each parameter and for x.

    Raises:
        RuleError: as :func:`jaxmore.testing.check_rule`.
    """
    params = _generic(layer, seed) if params is None else params
    x = jax.tree.map(jnp.asarray, x)

    def fwd(params: Tree, x: Any, key: Array | None) -> tuple[Any, Any]:
        y, residuals = layer.fwd(params, x, key)
        return y, (params, residuals)

    def bwd(saved: tuple[Tree, Any], dy: Any) -> tuple[Any, Any, None]:
        return *layer.bwd(*saved, dy), None

    names = [*by_path(params), *(f"x{path}" for path in _paths(x)), "key"]
    report = examine(
        fwd,
        bwd,
        params,
        x,
        key,
        op=WithOptions(layer.fwd, first=True),
        name=type(layer).__name__,
        names=names,
        dtypes=dtypes,
        modes=modes,
        seed=seed,
    )
    _count(report, partial(layer.fwd, x=x, key=key), params)
    return _or_raise(report)


@dataclass
class ModelReport(Report):
    """A report on a model's gradients and on its losses in training."""

    trajectory: float = 0.0
    """Largest relative difference between the losses of training by hand and by autodiff."""

    def __str__(self) -> str:
        text = super().__str__()
        if self.problems:
            return text
        return text + f"\ntraining by hand and by autodiff: losses within {self.trajectory:.0e}"


def check_model(
    model: Layer,
    x: Int[Array, "*B"],
    y: Int[Array, "*C"],
    *,
    params: Tree | None = None,
    name: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    modes: bool = True,
    n_steps: int = 20,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> ModelReport:
    """Check a model's gradient, parameter by parameter, and then in training.

    As in :func:`check_layer`, the forward pass is taken as given.

    Args:
        model: ids to logits, with nothing random in it.
        x: ids as the model takes them.
        y: targets; −1 is ignored.
        params: its parameters; by default as in :func:`check_layer`.
        name: what to call it.
        dtypes: the narrower dtypes to check in.
        modes: as in :func:`jaxmore.testing.check_rule`.
        n_steps: of plain gradient descent in float64, once with the hand-derived gradient and
            once with autodiff's: the losses have to agree to 1e-9.
        learning_rate: of that run.
        seed: of parameters and cotangents.

    Returns:
        What was measured.

    Raises:
        RuleError: as :func:`jaxmore.testing.check_rule`, with the parameter's path.
    """
    return _or_raise(
        examine_model(
            model, x, y, params=params, name=name, dtypes=dtypes, modes=modes, n_steps=n_steps,
            learning_rate=learning_rate, seed=seed,
        )
    )  # fmt: skip


def examine_model(
    model: Layer,
    x: Any,
    y: Any,
    *,
    params: Tree | None = None,
    name: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    modes: bool = True,
    n_steps: int = 20,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> ModelReport:
    """:func:`check_model` that returns what is wrong in the report's problems."""
    params = _generic(model, seed) if params is None else params
    x, y = jnp.asarray(x), jnp.asarray(y)

    def bwd(gradient: Tree, dloss: Any) -> tuple[Tree, None, None]:
        return jax.tree.map(lambda g: g * dloss.astype(g.dtype), gradient), None, None

    found = examine(
        partial(loss_and_grad, model), bwd, params, x, y, op=_Loss(model), bitwise=False,
        name=name or type(model).__name__, names=[*by_path(params), "x", "y"], dtypes=dtypes,
        modes=modes, seed=seed,
    )  # fmt: skip
    report = ModelReport(**vars(found))
    _count(report, partial(model.fwd, x=x), params)
    if report.passed:
        _train(model, params, x, y, n_steps, learning_rate, report)
    return report


@dataclass(frozen=True)
class _Loss:
    """The loss computed without our cross-entropy: log-softmax, a gather, a mean over y ≠ −1.

    Equal by value, so that the oracles of equal models are compiled once.
    """

    model: Layer

    def __call__(self, params: Tree, x: Any, y: Any) -> Float[Array, ""]:
        logits = self.model.fwd(params, x)[0]
        logits = logits.astype(jnp.promote_types(logits.dtype, "float32"))
        log_probs = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(log_probs, jnp.maximum(y, 0)[..., None], axis=-1)[..., 0]
        valid = y != -1
        return -jnp.where(valid, chosen, 0).sum() / jnp.maximum(valid.sum(), 1).astype(chosen.dtype)


def _train(
    model: Layer,
    params: Tree,
    x: Any,
    y: Any,
    n_steps: int,
    learning_rate: float,
    report: ModelReport,
) -> None:
    """Train twice in float64, by hand and by autodiff, and compare the losses."""
    with jax.enable_x64(True):
        start = jax.tree.map(lambda p: jnp.asarray(p, "float64"), params)
        by_hand = partial(loss_and_grad, model, x=x, y=y)
        by_autodiff = partial(oracles.value_and_grad, partial(_Loss(model), x=x, y=y))

        def run(gradient: Any) -> np.ndarray:
            def step(params: Tree, _: None) -> tuple[Tree, Any]:
                loss, grads = gradient(params)
                return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

            return np.asarray(jax.jit(lambda p: jax.lax.scan(step, p, length=n_steps)[1])(start))

        ours, theirs = run(by_hand), run(by_autodiff)
    report.trajectory = float(np.abs((ours - theirs) / theirs).max())
    if not report.trajectory <= TRAJECTORY:
        step = int((np.abs(ours - theirs) > TRAJECTORY * np.abs(theirs)).argmax())
        text = f"step {step} of training: loss {ours[step]:.12g} in place of {theirs[step]:.12g}"
        report.problems.append(Problem("trajectory", text))


def _count(report: Report, forward: Any, params: Tree) -> None:
    """Count the bytes that the layer keeps for its backward pass, and that autodiff would."""
    report.residual_bytes = oracles.count_bytes(lambda p: forward(p)[1], [params])
    report.autodiff_bytes = oracles.kept_bytes(lambda p: forward(p)[0], [params])


@partial(jax.jit, static_argnums=0)  # operation by operation it is a hundred compilations
def _generic(layer: Layer, seed: int) -> Tree:
    key = jax.random.key(seed)
    params = layer.init(key)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(key, 1), max(len(leaves), 1))
    moved = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=False)]
    return jax.tree.unflatten(tree, moved)


def _paths(tree: Any) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def _or_raise(report: _Report) -> _Report:
    if not report.passed:
        raise RuleError(report)
    return report

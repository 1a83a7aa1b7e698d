"""Optimisers and learning-rate schedules, all of them optax's."""

import functools

import optax


@functools.cache  # equal flags, one object: jit compares static arguments by identity
def make_optimizer(
    name: str,
    learning_rate: float,
    weight_decay: float,
    schedule: str,
    max_steps: int,
    on_nan: str = "stop",
) -> optax.GradientTransformation:
    """The optimiser of a training run.

    Args:
        name: ``sgd``, or ``adamw`` with makemore.py's betas (0.9, 0.99) and eps 1e-8.
        learning_rate: of the first step.
        weight_decay: on every parameter.
        schedule: ``constant``, or ``step``: a tenth from step ``max_steps // 2`` on.
        max_steps: the length of the run.
        on_nan: ``skip``: a step whose gradient is not finite changes nothing.
    """
    optimizer = _optimizer(name, learning_rate, weight_decay, schedule, max_steps)
    if on_nan == "skip":
        # Without an end: the run itself stops when it skips a whole chunk.
        return optax.apply_if_finite(optimizer, max_consecutive_errors=2**31 - 1)
    return optimizer


def _optimizer(
    name: str, learning_rate: float, weight_decay: float, schedule: str, max_steps: int
) -> optax.GradientTransformation:
    drops = {max_steps // 2: 0.1} if schedule == "step" else None
    rates = optax.piecewise_constant_schedule(learning_rate, drops)
    if name == "adamw":
        return optax.adamw(rates, b1=0.9, b2=0.99, eps=1e-8, weight_decay=weight_decay)
    if weight_decay:
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rates))
    return optax.sgd(rates)

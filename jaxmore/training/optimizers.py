"""Optimisers and learning-rate schedules, all of them optax's."""

import optax


def make_optimizer(
    name: str, learning_rate: float, weight_decay: float, schedule: str, max_steps: int
) -> optax.GradientTransformation:
    """The optimiser of a training run.

    Args:
        name: ``sgd``, or ``adamw`` with makemore.py's betas (0.9, 0.99) and eps 1e-8.
        learning_rate: of the first step.
        weight_decay: on every parameter.
        schedule: ``constant``, or ``step``: a tenth from step ``max_steps // 2`` on.
        max_steps: the length of the run.
    """
    drops = {max_steps // 2: 0.1} if schedule == "step" else None
    rates = optax.piecewise_constant_schedule(learning_rate, drops)
    if name == "adamw":
        return optax.adamw(rates, b1=0.9, b2=0.99, eps=1e-8, weight_decay=weight_decay)
    if weight_decay:
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rates))
    return optax.sgd(rates)

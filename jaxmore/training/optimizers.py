"""Optimisers and learning-rate schedules, all of them optax's."""

import functools

import optax
from jaxtyping import Array, Float

MOST_SKIPPED = 1_000
"""The limit on consecutive skipped steps. The next bad step is not skipped: it makes the parameters
non-finite, and the run ends."""
Number = float | Float[Array, ""]
"""A float, or a traced array in a sweep. The cache cannot hash an array: a sweep calls
``make_optimizer.__wrapped__``."""


# An optimiser of optax holds closures, which equal only themselves. The cache returns one object
# for equal arguments, so that jit compiles once for them.
@functools.cache
def make_optimizer(
    name: str,
    learning_rate: Number,
    weight_decay: Number,
    schedule: str,
    max_steps: int,
    on_nan: str = "stop",
    *,
    warmup_steps: int = 0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Make the optimiser of a training run.

    Args:
        name: ``sgd``; ``adam`` (Kingma and Ba, ICLR 2015) with microgpt's betas (0.85, 0.99) and
            eps 1e-8; ``adamw`` (Loshchilov and Hutter, ICLR 2019) with makemore.py's betas (0.9,
            0.99) and eps 1e-8; or ``muon``, which steps along the orthogonalised momentum of each
            matrix (Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024) and
            uses Nadam (Dozat, ICLR 2016 workshop) with betas (0.9, 0.99) for vectors.
        learning_rate: the peak learning rate.
        weight_decay: λ. ``adamw`` subtracts rate · λ · parameter from each parameter, and ``muon``
            from each matrix, with the rate of the step (decoupled weight decay). ``sgd`` and
            ``adam`` add λ · parameter to the gradient, after clipping (L2), as torch's do.
        schedule: see :func:`learning_rates`.
        max_steps: the length of the run.
        on_nan: with ``skip``, a step whose gradient is not finite changes nothing, up to
            ``MOST_SKIPPED`` steps in a row.
        warmup_steps: see :func:`learning_rates`.
        clip_norm: the largest global norm of a gradient; longer ones are scaled down to it. None
            clips nothing. (Pascanu et al., ICML 2013.)

    Returns:
        The optimiser. Equal arguments give the same object, so that ``jit`` compiles once for them.

    Raises:
        ValueError: there is no such optimiser or schedule.
    """
    rates = learning_rates(schedule, learning_rate, max_steps, warmup_steps)
    optimizer = descent(name, rates, weight_decay)
    if clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if on_nan == "skip":
        # optax counts in its state, so the count does not depend on chunks and interruptions.
        return optax.apply_if_finite(optimizer, max_consecutive_errors=MOST_SKIPPED)
    return optimizer


def learning_rates(
    schedule: str, learning_rate: Number, max_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Make the schedule of learning rates, by step from 0.

    Args:
        schedule: ``constant``; ``step``, a tenth from step ``max_steps // 2`` on; ``cosine``, half
            a cosine down to zero at ``max_steps`` (Loshchilov and Hutter, ICLR 2017); or
            ``linear``, a line down to zero at ``max_steps``.
        learning_rate: the peak learning rate.
        max_steps: the length of the run.
        warmup_steps: W; step i < W has (i + 1) / (W + 1) of the peak rate (as in nanoGPT).

    Returns:
        A function from the step to its learning rate.

    Raises:
        ValueError: there is no such schedule.

    >>> rates = learning_rates("linear", 1.0, max_steps=6, warmup_steps=1)
    >>> [round(float(rates(step)), 2) for step in range(6)]
    [0.5, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    rest = max_steps - warmup_steps
    if schedule == "cosine":
        rates = optax.cosine_decay_schedule(learning_rate, rest)
    elif schedule == "linear":
        rates = optax.linear_schedule(learning_rate, 0.0, rest)
    elif schedule in ("constant", "step"):
        drops = {max_steps // 2 - warmup_steps: 0.1} if schedule == "step" else None
        rates = optax.piecewise_constant_schedule(learning_rate, drops)
    else:
        raise ValueError(f"there is no schedule {schedule!r}: constant, step, cosine, linear")
    if not warmup_steps:
        return rates
    first = learning_rate / (warmup_steps + 1)
    warmup = optax.linear_schedule(first, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, rates], [warmup_steps])


def descent(
    name: str, rates: float | optax.Schedule, weight_decay: Number
) -> optax.GradientTransformation:
    """Make the optimiser ``name`` of :func:`make_optimizer`, without clipping and skipping.

    Args:
        name: ``sgd``, ``adam``, ``adamw`` or ``muon``.
        rates: a learning rate or any schedule.
        weight_decay: see :func:`make_optimizer`.

    Raises:
        ValueError: there is no such optimiser.
    """
    if name == "adamw":
        return optax.adamw(rates, b1=0.9, b2=0.99, eps=1e-8, weight_decay=weight_decay)
    if name == "muon":
        return optax.contrib.muon(rates, weight_decay=weight_decay, adam_b2=0.99)
    if name == "adam":
        optimizer = optax.adam(rates, b1=0.85, b2=0.99, eps=1e-8)
    elif name == "sgd":
        optimizer = optax.sgd(rates)
    else:
        raise ValueError(f"there is no optimiser {name!r}: sgd, adam, adamw, muon")
    # A traced array has no truth value, so its term is added even if it holds 0.
    if isinstance(weight_decay, Array) or weight_decay:
        return optax.chain(optax.add_decayed_weights(weight_decay), optimizer)
    return optimizer

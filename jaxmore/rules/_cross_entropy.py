"""Fused softmax cross-entropy: the mean loss of logits and integer targets."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxmore.rules._precision import widen
from jaxmore.rules._reductions import max_keepdims


class CrossEntropyResiduals(NamedTuple):
    """The logits, the targets, and two numbers per row.

    The backward pass recomputes the probabilities as exp(logits − maximum) / total. Saving maximum
    and total separately, not as log-sum-exp, keeps them accurate for logits of any size.
    """

    logits: Float[Array, "*B V"]
    targets: Int[Array, "*B"]
    maximum: Float[Array, "*B 1"]
    total: Float[Array, "*B 1"]


def softmax_cross_entropy(
    logits: Float[Array, "*B V"], targets: Int[Array, "*B"]
) -> Float[Array, ""]:
    """Compute the mean negative log-likelihood of the targets under softmax(logits).

    With p = softmax(z) = exp(z − m) / s, m = max z and s = sum exp(z − m), over the n positions
    whose target t is not −1::

        loss = 1/n · sum of (log s + m − z[t]) = −1/n · sum of log p[t]

    Derivation, for one position; v runs over the vocabulary. loss = (log Σ_v exp z_v − z_t)/n
    (m cancels, so it has no cotangent; subtracting it only avoids overflow)::

        ∂/∂z_v  log Σ_u exp z_u = exp z_v / Σ_u exp z_u = p_v      (chain rule on log)
        ∂/∂z_v  z_t = [v = t]                                      (one-hot)

        dlogits = (p − onehot(t)) · dloss / n

    and zero where the target is ignored. Each row of dlogits sums to zero, since p and onehot
    both sum to one.

    Args:
        logits: (*B, V).
        targets: (*B), integers in [0, V), or −1 to ignore the position.

    Returns:
        The loss, in float32 (float64 for float64 logits). If every target is ignored, the loss and
        its gradient are 0.

    Source: Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.2.2.3.

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[-50.0, 2.0, 3.0, 100.0]])
    >>> float(softmax_cross_entropy(logits, jnp.array([3])))
    0.0
    >>> _, residuals = softmax_cross_entropy_fwd(jnp.zeros((1, 2)), jnp.array([0]))
    >>> softmax_cross_entropy_bwd(residuals, jnp.ones(()))[0].tolist()
    [[-0.5, 0.5]]
    """
    return softmax_cross_entropy_fwd(logits, targets)[0]


def softmax_cross_entropy_fwd(
    logits: Float[Array, "*B V"], targets: Int[Array, "*B"]
) -> tuple[Float[Array, ""], CrossEntropyResiduals]:
    """Return ``softmax_cross_entropy(logits, targets)`` and its residuals."""
    z = widen(logits)
    maximum = max_keepdims(z)
    shifted = z - maximum
    total = jnp.exp(shifted).sum(-1, keepdims=True)
    # A comparison instead of a gather: XLA fuses it, and −1 matches no class.
    chosen = jnp.where(_one_hot(targets, logits.shape[-1]), shifted, 0).sum(-1)
    valid = targets != -1
    nll = jnp.where(valid, jnp.log(total[..., 0]) - chosen, 0)
    loss = nll.sum() / _at_least_one(valid).astype(z.dtype)
    return loss, CrossEntropyResiduals(logits, targets, maximum, total)


def softmax_cross_entropy_bwd(
    res: CrossEntropyResiduals, dloss: Float[Array, ""]
) -> tuple[Float[Array, "*B V"], None]:
    """Compute dlogits = (softmax(logits) − onehot(targets)) · dloss / n, zero where ignored.

    The code multiplies the factor into each term: rounding a probability near 1 before subtracting
    1 would lose digits.
    """
    logits, targets, maximum, total = res
    z = widen(logits)
    valid = targets != -1
    scale = dloss / _at_least_one(valid).astype(z.dtype)
    shares = jnp.exp(z - maximum) * (scale / total)
    dlogits = jnp.where(_one_hot(targets, logits.shape[-1]), shares - scale, shares)
    dlogits = jnp.where(valid[..., None], dlogits, 0)
    return dlogits.astype(logits.dtype), None


def _one_hot(targets: Int[Array, "*B"], n_classes: int) -> Bool[Array, "*B V"]:
    # Compare in int32: in int8, class 255 would wrap to −1, the ignored target.
    return targets[..., None].astype(jnp.int32) == jnp.arange(n_classes, dtype=jnp.int32)


def _at_least_one(valid: Bool[Array, "*B"]) -> Int[Array, ""]:
    return jnp.maximum(valid.sum(), 1)

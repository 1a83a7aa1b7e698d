"""The oracles: autodiff, differences and the complex step, with the scale of their errors."""

from jaxmore.testing.oracles.autodiff import (
    bind,
    cotangents,
    count_bytes,
    forward_over_reverse,
    intermediate_cotangents,
    kept_bytes,
    linearized,
    pushed,
    reverse_over_forward,
    second_order,
    through_checkpoint,
    through_scan,
    value_and_grad,
)

__all__ = [
    "bind",
    "cotangents",
    "count_bytes",
    "forward_over_reverse",
    "intermediate_cotangents",
    "kept_bytes",
    "linearized",
    "pushed",
    "reverse_over_forward",
    "second_order",
    "through_checkpoint",
    "through_scan",
    "value_and_grad",
]

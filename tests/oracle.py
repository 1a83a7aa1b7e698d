"""PyTorch's autograd as the oracle, with the condition scale of every result.

A gradient is a sum of products, and its rounding error is a small multiple of the same sum over
absolute terms: its *condition scale*. Where the terms cancel (b1 before BatchNorm and logit_maxes
have gradient zero by identity) the scale does not vanish, so it separates wrong gradients from
rounding. Every comparison here is |ours - torch's| <= tolerance * scale, element by element, each
by its own scale: a large element does not hide a small one.

The scales follow torch's own backward pass operation by operation, so they work for any twin and do
not depend on jaxmore.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from reference import stepwise, twin

aten = torch.ops.aten

# Operations that only move, add and multiply: applied to absolute values, they give the sum over
# absolute terms.
ADDS_AND_MULTIPLIES = {
    aten._index_put_impl_, aten._unsafe_view, aten.add, aten.bmm, aten.cat, aten.clone, aten.copy_,
    aten.detach, aten.embedding_dense_backward, aten.expand, aten.index, aten.index_put,
    aten.masked_fill, aten.mean, aten.mm, aten.mul, aten.new_empty_strided, aten.new_zeros,
    aten.nll_loss_backward, aten.ones_like, aten.permute, aten.scatter, aten.select,
    aten.select_backward, aten.slice, aten.slice_backward, aten.stack, aten.sum, aten.t,
    aten.threshold_backward, aten.transpose, aten.unsqueeze, aten.view, aten.zeros,
}  # fmt: skip
# Functions of one number: the scale of the result is its magnitude, plus what the operand's own
# scale makes of it through the derivative, given x, f(x) and further arguments.
DERIVATIVES = {
    aten.exp: lambda x, y: y,
    aten.log: lambda x, y: 1 / x,
    aten.pow: lambda x, y, power: power * x ** (power - 1),
    aten.reciprocal: lambda x, y: y * y,
    aten.sigmoid: lambda x, y: y * (1 - y),
    aten.sqrt: lambda x, y: 0.5 / y,
    aten.tanh: lambda x, y: 1 - y * y,
}


def _layer_norm_backward(
    dy: Tensor, x: Tensor, _: Any, mean: Tensor, r: Tensor, gain: Tensor, *__: Any
) -> tuple[Tensor, Tensor, Tensor]:
    x_hat, dx_hat = (x + mean) * r, dy * gain
    along = x_hat * (dx_hat * x_hat).mean(-1, keepdim=True)
    dx = r * (dx_hat + dx_hat.mean(-1, keepdim=True) + along)
    rows = tuple(range(dy.ndim - 1))
    return dx, (dy * x_hat).sum(rows), dy.sum(rows)


# Sums with a subtraction or a division, and fused operations.
OTHERS = {
    aten.native_layer_norm_backward: _layer_norm_backward,
    aten.gelu_backward: lambda dy, x: 1.13 * dy,  # its largest slope
    aten.nll_loss_forward: lambda *args: tuple(map(abs, aten.nll_loss_forward(*args))),
    aten.sigmoid_backward: lambda dy, y: dy * y * (1 + y),
    aten.neg: lambda x: x,
    aten.sub: lambda x, y: x + y,
    aten.rsub: lambda x, y: x + y,
    aten.div: lambda x, y: x / abs(y),  # by a number
    aten.tanh_backward: lambda dy, y: dy * (1 + y**2),
    aten._softmax_backward_data: lambda dy, y, dim, _: y * (dy + (dy * y).sum(dim, keepdim=True)),
    aten._log_softmax_backward_data: lambda dy, y, dim, _: (
        dy + torch.exp(-y) * dy.sum(dim, keepdim=True)  # y comes as its magnitude, -log p
    ),
}


def _attention_backward(args: Any, magnitudes: Any) -> tuple[Tensor, Tensor, Tensor]:
    # The probabilities depend on the signs of the scores, so compute them from the arguments.
    scores = args[1] @ args[2].mT / args[1].shape[-1] ** 0.5
    unseen = torch.ones(scores.shape[-2:]).triu(1).bool()
    probs = scores.masked_fill(unseen, -torch.inf).softmax(-1)
    do, q, k, v, o = magnitudes[:5]
    dscores = probs * (do @ v.mT + (do * o).sum(-1, keepdim=True)) / q.shape[-1] ** 0.5
    return dscores @ k, dscores.mT @ q, probs.mT @ do


class _Scales(TorchDispatchMode):
    """Computes the condition scale of every tensor that is created inside this context.

    Tensors created before it (parameters, and values saved by the forward pass) count as exact:
    their scale is their magnitude.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[Tensor, Tensor]] = {}  # holds the tensor: its id stays its own

    def __getitem__(self, made: Tensor) -> np.ndarray:
        """Return the condition scale of a tensor that was created inside this context."""
        return self._made[id(made)][1].numpy()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, operation = kwargs or {}, func.overloadpacket
        magnitudes = tree_map(self._magnitude, args)
        out = func(*args, **kwargs)
        outs = out if isinstance(out, tuple) else (out,)
        if not outs[0].is_floating_point():  # ids
            return out
        if operation in ADDS_AND_MULTIPLIES:
            scale = func(*magnitudes, **kwargs).abs()  # abs: for a negative number among args
        elif operation in OTHERS:
            scale = OTHERS[operation](*magnitudes)
        elif operation is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            scale = tuple(  # laid out as the gradients are: they are viewed next
                torch.empty_like(made).copy_(its_own)
                for made, its_own in zip(outs, _attention_backward(args, magnitudes), strict=True)
            )
        elif operation is aten.div and isinstance(args[1], Tensor):
            x, y = magnitudes[0], abs(args[1])
            scale = x / y + x * (magnitudes[1] - y) / y**2
        elif operation is aten.max:  # one of the elements, with its scale
            scale = (
                magnitudes[0].max()
                if len(args) == 1
                else magnitudes[0]
                .gather(args[1], outs[1] if args[2:] and args[2] else outs[1].unsqueeze(args[1]))
                .reshape(out[0].shape)
            )
        elif operation in (aten._softmax, aten._log_softmax):
            is_log = operation is aten._log_softmax
            probs, (x, dim) = out.exp() if is_log else out, magnitudes[:2]
            moved = x + (probs * x).sum(dim, keepdim=True)
            scale = abs(out) + (moved if is_log else probs * moved)
        elif operation in DERIVATIVES:
            scale = abs(out)
            if id(args[0]) in self._made:
                slope = DERIVATIVES[operation](args[0], out, *args[1:])
                scale = scale + abs(slope) * magnitudes[0]
        else:
            raise NotImplementedError(f"tests/oracle.py does not say what {func} adds up")
        scales = scale if isinstance(scale, tuple) else (scale,) * len(outs)
        for made, its_own in zip(outs, scales, strict=True):
            self._made[id(made)] = made, its_own
        return out

    def _magnitude(self, arg: Any) -> Any:
        if not isinstance(arg, Tensor) or not arg.is_floating_point():
            return arg
        return self._made[id(arg)][1] if id(arg) in self._made else arg.abs()


class Checked(NamedTuple):
    """A result of torch and the condition scale of its elements."""

    value: np.ndarray
    scale: np.ndarray | float


def tensor(array: Any) -> Tensor:
    """Copy a JAX or NumPy array to torch."""
    return torch.tensor(np.asarray(array))


def model(
    module: nn.Module, params: Mapping[str, Any], x: Any, y: Any
) -> tuple[Checked, dict[str, Checked]]:
    """Return the loss of a twin and its gradient by path, in float64."""
    module.double()
    twin.load(module, params)
    logits = module(tensor(x))
    loss = twin.cross_entropy(logits, tensor(y))
    module.zero_grad()
    with _Scales() as scales:
        loss.backward()
    gradients = twin.gradients(module)
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad = torch.tensor(scales[parameter.grad])
    oriented = twin.gradients(module)
    # A term of the loss is a log-sum-exp minus a logit.
    return Checked(loss.detach().numpy(), (loss + logits.abs().max()).item()), {
        path: Checked(gradient, oriented[path]) for path, gradient in gradients.items()
    }


def network(
    params: Mapping[str, Any], X: Any, Y: Any, forward: Any = stepwise.forward
) -> tuple[dict[str, Checked], dict[str, Checked]]:
    """Return values and cotangents of a network by name, in the dtype of params.

    The twin ``forward`` makes the values, the loss last: by default the notebooks' network.
    """
    leaves = {k: tensor(p).requires_grad_() for k, p in params.items()}
    ids, targets = (tensor(a).long() for a in (X, Y))
    with _Scales() as value_scales:
        values = forward(leaves, ids, targets)
    with _Scales() as cotangent_scales:
        values["loss"].backward()
    return (
        {k: Checked(v.detach().numpy(), value_scales[v]) for k, v in values.items()},
        {
            k: Checked(v.grad.numpy(), cotangent_scales[v.grad])
            for k, v in (values | leaves).items()
        },
    )


def cross_entropy(logits: Any, Y: Any) -> Checked:
    """Return the gradient of the fused F.cross_entropy, in the dtype of the logits."""
    leaf = tensor(logits).requires_grad_()
    loss = twin.cross_entropy(leaf, tensor(Y))
    with _Scales() as scales:
        loss.backward()
    return Checked(leaf.grad.numpy(), scales[leaf.grad])


def gradient_scales(function: Any, leaves: Sequence[Tensor], dy: Any) -> list[np.ndarray]:
    """Return the condition scale of each leaf's gradient of <dy, function(*leaves)>."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    y, dy = function(*leaves), tensor(dy)
    with _Scales() as scales:
        gradients = torch.autograd.grad(y, leaves, dy)
    return [scales[g] for g in gradients]


def less_its_maximum(logits: Any, dy: Any) -> np.ndarray:
    """Return the cotangent of logits where y = logits - logits.max(1), by autograd."""
    leaf = tensor(logits).requires_grad_()
    (leaf - leaf.max(1, keepdim=True).values).backward(tensor(dy))
    return leaf.grad.numpy()


def assert_close(name: str, actual: Any, expected: Checked, tolerance: float) -> None:
    """Assert the same shape, finite values, and errors within ``tolerance`` of the scale.

    An error below the dtype's smallest normal number does not count.
    """
    least = float(ml_dtypes.finfo(actual.dtype).tiny)
    actual = np.asarray(actual, np.float64)
    assert actual.shape == expected.value.shape, name
    assert np.isfinite(expected.value).all(), name
    off = np.abs(actual - expected.value)
    scale = np.broadcast_to(expected.scale, off.shape)
    wrong = ~(off <= tolerance * scale + least)
    if wrong.any():
        i = np.unravel_index(np.where(wrong, off, -1).argmax(), off.shape)
        raise AssertionError(
            f"{name}: {wrong.sum()} of {off.size} elements off; at {tuple(map(int, i))} by "
            f"{off[i]:.1e}, {off[i] / max(scale[i], 1e-300):.1e} of its condition scale"
        )

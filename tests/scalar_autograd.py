"""Reverse-mode autodiff of single numbers: an oracle that shares no code with JAX or PyTorch.

NumPy's arrays of objects do the rest: ``x @ w``, ``np.exp(x)`` and ``x.sum(0)`` call the operators
and methods of the elements.
"""

import math

import numpy as np


class Scalar:
    """A number that remembers what it was computed from."""

    def __init__(self, value, operands=()):
        self.value = float(value)
        self.operands = operands  # pairs of an operand and the derivative with respect to it
        self.grad = self.scale = 0.0

    def __add__(self, other):
        if isinstance(other, Scalar):
            return Scalar(self.value + other.value, ((self, 1.0), (other, 1.0)))
        return Scalar(self.value + other, ((self, 1.0),))

    def __mul__(self, other):
        if isinstance(other, Scalar):
            return Scalar(self.value * other.value, ((self, other.value), (other, self.value)))
        return Scalar(self.value * other, ((self, float(other)),))

    def __pow__(self, n):
        return Scalar(self.value**n, ((self, n * self.value ** (n - 1)),))

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * (other**-1.0)

    def __rtruediv__(self, other):
        return self**-1.0 * other

    def __gt__(self, other):
        return self.value > other

    __radd__, __rmul__ = __add__, __mul__

    def exp(self):
        y = math.exp(self.value)
        return Scalar(y, ((self, y),))

    def log(self):
        return Scalar(math.log(self.value), ((self, 1 / self.value),))

    def tanh(self):
        y = math.tanh(self.value)
        return Scalar(y, ((self, 1 - y * y),))

    def backward(self):
        """Set ``grad`` of every number below, and ``scale``, the same sum of absolute terms."""
        order, stack, seen = [], [(self, False)], set()
        while stack:
            node, is_done = stack.pop()
            if is_done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack += [(operand, False) for operand, _ in node.operands]
        self.grad = self.scale = 1.0
        for node in reversed(order):
            for operand, derivative in node.operands:
                operand.grad += derivative * node.grad
                operand.scale += abs(derivative * node.grad)


def scalars(array):
    """An array of objects with the values of ``array``."""
    return np.vectorize(Scalar, otypes=[object])(np.asarray(array, "float64"))


def cross_entropy(logits, targets):
    """The mean over the targets that are not −1."""
    rows = logits.reshape(-1, logits.shape[-1])
    losses = [
        np.log(np.exp(row).sum()) - row[target]
        for row, target in zip(rows, np.ravel(targets), strict=True)
        if target != -1
    ]
    return sum(losses) * (1 / len(losses))

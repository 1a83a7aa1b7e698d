"""Mistakes to plant in the rules: one piece of source for another.

Each must be caught, and the argument named. ``cause`` is what the checker may say about it: a
part of a true sentence, or None where the error's pattern shows nothing.
"""

import inspect
import sys
from types import ModuleType
from typing import NamedTuple

from jaxmore import rules


class Planted(NamedTuple):
    rule: str
    function: str
    """``fwd``, ``bwd`` or the full name of a helper function."""
    right: str
    wrong: str
    argument: str | None
    """The argument that the first problem of the report must name."""
    cause: str | None = None


P = Planted
PLANTED = [
    # tanh
    P("tanh", "bwd", "1 - y * y", "1 + y * y", "x"),
    P("tanh", "bwd", "1 - y * y", "1 - y", "x"),
    P("tanh", "bwd", "(1 - y * y) * dy", "dy", "x", "local derivative is missing"),
    P("tanh", "bwd", "(1 - y * y) * dy", "-(1 - y * y) * dy", "x", "sign"),
    P("tanh", "bwd", "(1 - y * y) * dy", "2 * (1 - y * y) * dy", "x", "twice"),
    P("tanh", "bwd", "(1 - y * y) * dy", "1.001 * (1 - y * y) * dy", "x", "1.001 times"),
    P("tanh", "bwd", "(1 - y * y) * dy", "1.0001 * (1 - y * y) * dy", "x", "1.0001 times"),
    P("tanh", "fwd", "return y, y", "return y, x", "x"),
    P("tanh", "fwd", "return y, y", "return y, y.astype('float32')", "x", "converted to float32"),
    P("tanh", "fwd", "return y, y", "return y, y.astype('bfloat16').astype(y.dtype)", "x",
      "converted to bfloat16"),
    P("tanh", "bwd", "(1 - y * y) * dy", "((1 - y * y) * dy).astype('float32')", "x"),
    P("tanh", "bwd", "((1 - y * y) * dy,)", "(1 - y * y) * dy", None),
    P("tanh", "bwd", "((1 - y * y) * dy,)", "((1 - y * y) * dy, None)", None),
    P("tanh", "bwd", "(1 - y * y) * dy", "(1 - y * y) * dy + 1e-6", "x"),
    P("tanh", "bwd", "(1 - y * y) * dy", "(1 - y * y) * dy * abs(dy)", "x"),
    P("tanh", "fwd", "return y, y", "return y, (y, 3)", None),
    # sigmoid, relu, gelu
    P("sigmoid", "bwd", "y * (1 - y)", "(1 - y)", "x"),
    P("sigmoid", "bwd", "y * (1 - y)", "y", "x"),
    P("relu", "bwd", "y <= 0", "y < 0", "x", "local derivative is missing"),
    P("gelu", "bwd", "cdf * dy_wide + near * dy_wide * density", "cdf * dy_wide", "x"),
    P("gelu", "bwd", "near * dy_wide * density", "dy_wide * density", "x"),
    P("gelu", "bwd", "if approximate:", "if not approximate:", "x"),
    P("gelu", "bwd", "-0.5 * near", "-near", "x"),
    # linear
    P("linear", "bwd", "weight.T, preferred", "weight.T * 0.999, preferred", "x", "0.999 times"),
    P("linear", "bwd", "rows.T, drows", "drows.T, rows", "weight", "transposed"),
    P("linear", "bwd", "dbias.astype", "drows.astype", "bias", "sum over axis 0"),
    P("linear", "bwd", "sum_rows(dy)", "sum_rows(dy) * dy.shape[-1] / dy.size", "bias",
      "mean in place of a sum"),
    P("linear", "bwd", "sum_rows(dy)", "sum_rows(dy[:-1])", "bias"),
    P("linear", "bwd", "sum_rows(dy)", "0 * sum_rows(dy)", "bias", "zero everywhere"),
    P("linear", "bwd", "dx.astype(x.dtype), dweight.astype(weight.dtype)",
      "dweight.astype(weight.dtype), dx.astype(x.dtype)", "x", "cotangent of weight"),
    P("linear", "bwd", ", dbias.astype(weight.dtype)", "", None),
    P("linear", "bwd", "rows.T, drows", "rows.T.at[1].set(0), drows", "weight", "row 1 is lost"),
    # embedding
    P("embedding", "bwd", ".add(", ".set(", "weight", ".set for .add?"),
    P("embedding", "bwd", "dy.astype(wide)", "dy.astype(wide)[::-1]", "weight"),
    P("embedding", "bwd", "return None, dweight", "return None, dweight.at[0].set(0)", "weight",
      "row 0 is lost"),
    P("embedding", "bwd", "return None, ", "return jnp.zeros_like(ids), ", "ids"),
    P("embedding", "bwd", "wide = accumulator(weight.dtype)", "wide = jnp.dtype('float32')",
      "weight",
      "converted to float32"),
    # batch_norm
    P("batch_norm", "bwd", " - dbias / n", "", "x", "sum to zero over axes 0 and 1"),
    P("batch_norm", "bwd", " - centred * (along / ((n - 1) * var))", "", "x", "variance"),
    P("batch_norm", "bwd", "along / ((n - 1) * var)", "along / (n * var)", "x", "variance"),
    P("batch_norm", "bwd", "dx = gain * ", "dx = ", "x", "factor gain is missing"),
    P("batch_norm", "bwd", "lax.rsqrt(var)", "(lax.rsqrt(res.var) + eps)", "x"),
    P("batch_norm", "bwd", "lax.rsqrt(var)", "lax.rsqrt(res.var)", "x"),
    P("batch_norm", "bwd", "along = sum_rows(d * centred)", "along = sum_rows(d)",
      "x",
      "variance"),
    P("batch_norm", "bwd", "along = sum_rows(d * centred)",
      "along = sum_rows(d * centred) / n", "x", "variance"),
    P("batch_norm", "bwd", "(r * along).astype(res.gain.dtype), dbias",
      "dbias.astype(res.gain.dtype), (r * along)", "gain", "cotangent of bias"),
    P("batch_norm", "bwd", "return dx.astype(dy.dtype)",
      "dbias = dy_wide.sum(0)\n    return dx.astype(dy.dtype)",
      "bias", "sum over axis 0"),
    P("batch_norm", "fwd", "BatchNormResiduals(x,", "BatchNormResiduals(x_hat,", "x"),
    # layer_norm, rms_norm
    P("layer_norm", "bwd", "(t - t.mean(-1, keepdims=True))", "t", "x", "sum to zero over axis"),
    P("layer_norm", "bwd",
      " - centred * ((dx_hat * centred).mean(-1, keepdims=True) / res.var)", "", "x", "variance"),
    P("layer_norm", "bwd", "dx_hat = gain * dy_wide", "dx_hat = dy_wide", "x"),
    P("rms_norm", "bwd", ".mean(-1, keepdims=True)", ".sum(-1, keepdims=True)", "x"),
    P("rms_norm", "bwd", "dx = r * ", "dx = ", "x"),
    P("rms_norm", "bwd", "sum_rows(dx_hat * (x * r))", "sum_rows(dx_hat * x)", "gain"),
    # softmax, cross-entropy
    P("softmax", "bwd", "u - rest", "dy_wide", "x", "row sum"),
    P("softmax", "bwd", "(u * y_wide).sum(axis, ", "(u * y_wide).sum(0, ", "x"),
    P("softmax", "bwd", "(u * y_wide).sum", "u.mean", "x", "row sum"),
    P("softmax_cross_entropy", "bwd", "shares - scale, shares", "shares, shares", "logits"),
    P("softmax_cross_entropy", "bwd", "jnp.where(valid[..., None], dlogits, 0)",
      "dlogits",
      "logits", "−1, ignored"),
    P("softmax_cross_entropy", "bwd", "scale = dloss / _at_least_one(valid)",
      "scale = dloss / jnp.array(valid.size)", "logits", " times"),
    P("softmax_cross_entropy", "bwd", "/ _at_least_one(valid).astype(z.dtype)", "", "logits",
      "sum in place of a mean"),
    P("softmax_cross_entropy", "bwd", "scale = dloss / ", "scale = 1 / ", "logits",
      "factor dy is missing"),
    P("softmax_cross_entropy", "bwd", "jnp.exp(z - maximum) * (scale / total)",
      "jnp.exp(z - maximum) * scale", "logits"),
    # attention
    P("causal_attention", "_attend_bwd", "total = probs_t.sum(-2, ", "total = probs_t.sum(-1, ",
      "q"),
    P("causal_attention", "_attend_bwd", "dq_t.mT * scale", "dq_t.mT", "q", "√"),
    P("causal_attention", "_attend_bwd", "(dscores_t @ widen(q)) * scale",
      "(dscores_t.mT @ widen(q)) * scale",
      "k"),
    P("causal_attention", "_attend_bwd", "probs_t @ do", "probs_t.mT @ do", "v"),
    P("causal_attention", "bwd", "return dq, dk, dv", "return dk, dq, dv", "q", "cotangent of k"),
    # recurrent cells
    P("rnn_cell", "bwd", "return dx, dh, ", "return dx, 0 * dh, ", "h", "zero everywhere"),
    P("lstm_cell", "bwd", "da_f = f * (1 - f) * (c * dc_new)",
      "da_f = f * (1 - f) * (widen(c_new) * dc_new)", "x"),
    P("lstm_cell", "bwd", "widen(dy[1]) + ", "", "x"),
    P("lstm_cell", "bwd", "(f * dc_new)", "dc_new", "c"),
    P("lstm_cell", "bwd", "da_i, da_f, da_g, da_o", "da_f, da_i, da_g, da_o", "x"),
    # the rest
    P("dropout", "bwd", "_keep(dy, mask, rate)", "jnp.where(mask, dy, 0)", "x", "0.7 times"),
    P("dropout", "bwd", "_keep(dy, mask, rate)", "_keep(dy, ~mask, rate)", "x"),
    P("flatten", "bwd", "dy.reshape(*dy.shape[:-1], block_size, dy.shape[-1] // block_size)",
      "dy", "x",
      "reshape"),
    P("causal_mean", "bwd", ", reverse=True", "", "x"),
    P("l2_penalty", "bwd", "2 * scale", "scale", "weight", "half"),
    P("l2_penalty", "bwd", " / max(weight.size, 1)", "", "weight", "sum in place of a mean"),
]  # fmt: skip


def plant(mistake: Planted) -> ModuleType:
    """Return a copy of the rule's module that contains the mistake."""
    home = sys.modules[getattr(rules, mistake.rule).__module__]
    name = f"{mistake.rule}_{mistake.function}"
    name = name if hasattr(home, name) else mistake.function
    source = inspect.getsource(inspect.unwrap(getattr(home, name)))
    assert mistake.right in source, f"{name} has no {mistake.right!r} any more: mend this table"
    wrong = source.replace(mistake.right, mistake.wrong)
    whole = inspect.getsource(home)
    assert source in whole
    module = ModuleType(home.__name__)
    exec(compile(whole.replace(source, wrong), home.__file__ or "", "exec"), module.__dict__)
    return module

"""Rules: each operation with its forward pass and its hand-derived backward pass.

A rule ``op`` is three functions that follow the convention of ``jax.custom_vjp``:

* ``op(x, ...)`` -> y: the plain forward function;
* ``op_fwd(x, ...)`` -> (y, residuals): the same y, and the least that the backward pass needs;
* ``op_bwd(residuals, dy)`` -> a tuple with one cotangent for each array argument of ``op``, and
  ``None`` for each integer array.

Options are keyword-only and the same for all three. Sums, statistics and softmax scores are
computed in at least float32. An output has the dtype of its input; a loss is at least float32.
"""

from jaxmore.rules._activations import (
    gelu,
    gelu_bwd,
    gelu_fwd,
    relu,
    relu_bwd,
    relu_fwd,
    sigmoid,
    sigmoid_bwd,
    sigmoid_fwd,
    tanh,
    tanh_bwd,
    tanh_fwd,
)
from jaxmore.rules._attention import (
    AttentionResiduals,
    causal_attention,
    causal_attention_bwd,
    causal_attention_fwd,
)
from jaxmore.rules._batch_norm import (
    BatchNormResiduals,
    batch_norm,
    batch_norm_bwd,
    batch_norm_fwd,
    batch_norm_inference,
    batch_norm_statistics,
)
from jaxmore.rules._causal_mean import (
    causal_mean,
    causal_mean_bwd,
    causal_mean_fwd,
)
from jaxmore.rules._cross_entropy import (
    CrossEntropyResiduals,
    softmax_cross_entropy,
    softmax_cross_entropy_bwd,
    softmax_cross_entropy_fwd,
)
from jaxmore.rules._dropout import (
    dropout,
    dropout_bwd,
    dropout_fwd,
)
from jaxmore.rules._embedding import (
    EmbeddingResiduals,
    embedding,
    embedding_bwd,
    embedding_fwd,
)
from jaxmore.rules._flatten import (
    flatten,
    flatten_bwd,
    flatten_consecutive,
    flatten_consecutive_bwd,
    flatten_consecutive_fwd,
    flatten_fwd,
)
from jaxmore.rules._gru import (
    GruCellResiduals,
    gru_cell,
    gru_cell_bwd,
    gru_cell_fwd,
)
from jaxmore.rules._l2 import (
    l2_penalty,
    l2_penalty_bwd,
    l2_penalty_fwd,
)
from jaxmore.rules._layer_norm import (
    LayerNormResiduals,
    layer_norm,
    layer_norm_bwd,
    layer_norm_fwd,
    layer_norm_recompute,
)
from jaxmore.rules._linear import (
    LinearResiduals,
    linear,
    linear_bwd,
    linear_fwd,
)
from jaxmore.rules._lstm import (
    LstmCellResiduals,
    lstm_cell,
    lstm_cell_bwd,
    lstm_cell_fwd,
)
from jaxmore.rules._rms_norm import (
    RmsNormResiduals,
    rms_norm,
    rms_norm_bwd,
    rms_norm_fwd,
)
from jaxmore.rules._rnn import (
    RnnCellResiduals,
    rnn_cell,
    rnn_cell_bwd,
    rnn_cell_fwd,
)
from jaxmore.rules._softmax import (
    softmax,
    softmax_bwd,
    softmax_fwd,
)

__all__ = [
    "AttentionResiduals",
    "BatchNormResiduals",
    "CrossEntropyResiduals",
    "EmbeddingResiduals",
    "GruCellResiduals",
    "LayerNormResiduals",
    "LinearResiduals",
    "LstmCellResiduals",
    "RmsNormResiduals",
    "RnnCellResiduals",
    "batch_norm",
    "batch_norm_bwd",
    "batch_norm_fwd",
    "batch_norm_inference",
    "batch_norm_statistics",
    "causal_attention",
    "causal_attention_bwd",
    "causal_attention_fwd",
    "causal_mean",
    "causal_mean_bwd",
    "causal_mean_fwd",
    "dropout",
    "dropout_bwd",
    "dropout_fwd",
    "embedding",
    "embedding_bwd",
    "embedding_fwd",
    "flatten",
    "flatten_bwd",
    "flatten_consecutive",
    "flatten_consecutive_bwd",
    "flatten_consecutive_fwd",
    "flatten_fwd",
    "gelu",
    "gelu_bwd",
    "gelu_fwd",
    "gru_cell",
    "gru_cell_bwd",
    "gru_cell_fwd",
    "l2_penalty",
    "l2_penalty_bwd",
    "l2_penalty_fwd",
    "layer_norm",
    "layer_norm_bwd",
    "layer_norm_fwd",
    "layer_norm_recompute",
    "linear",
    "linear_bwd",
    "linear_fwd",
    "lstm_cell",
    "lstm_cell_bwd",
    "lstm_cell_fwd",
    "relu",
    "relu_bwd",
    "relu_fwd",
    "rms_norm",
    "rms_norm_bwd",
    "rms_norm_fwd",
    "rnn_cell",
    "rnn_cell_bwd",
    "rnn_cell_fwd",
    "sigmoid",
    "sigmoid_bwd",
    "sigmoid_fwd",
    "softmax",
    "softmax_bwd",
    "softmax_cross_entropy",
    "softmax_cross_entropy_bwd",
    "softmax_cross_entropy_fwd",
    "softmax_fwd",
    "tanh",
    "tanh_bwd",
    "tanh_fwd",
]

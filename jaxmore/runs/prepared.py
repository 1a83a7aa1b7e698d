"""A prepared run: all that its steps, its evaluations and its files need."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array

from jaxmore.data import IntArray, PackedExamples, Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import Chain, Combinator, Layer, Tree, describe
from jaxmore.runs.corpus import Corpus
from jaxmore.runs.records import Settings, model_record
from jaxmore.runs.trained import Trained
from jaxmore.terminal import width
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.loop import Devices, TrainState, fresh_params


class Cadence(NamedTuple):
    """What a run does between its steps, and how often; no step depends on it."""

    chunk_size: int
    """Steps per jitted call."""
    eval_every: int
    """Steps between evaluations; 0: only at the end."""
    sample_every: int
    """Steps between samples; 0: only at the end."""
    patience: int | None
    """Evaluations without a better loss after which the run stops."""
    diagnose: bool
    """Whether gradient-to-data ratios are recorded after each chunk."""


class PreparedRun(NamedTuple):
    """A training run, ready to begin."""

    settings: Settings
    cadence: Cadence
    type: str
    corpus: Corpus
    vocab: Vocabulary
    options: dict[str, Any]
    model: Layer
    data: dict[str, tuple[IntArray, IntArray]]
    """X and Y of each split that holds words; of a pack, those that are evaluated."""
    packed: PackedExamples | None
    """All training examples of a pack; None where ``data`` has all."""
    optimizer: optax.GradientTransformation
    record: dict[str, Any]
    """What ``run.json`` and every checkpoint hold."""
    devices: Devices
    """Where the steps are computed."""

    @property
    def keys(self) -> Array:
        """The key of the parameters, and the key of the batches."""
        return jax.random.split(jax.random.key(self.settings.seed))

    @property
    def description(self) -> str:
        """The layers of the model, the shapes of their parameters, and their number."""
        model = self.model
        return describe(model if isinstance(model, Combinator) else Chain(model=model), width())

    def first_state(self) -> TrainState:
        """Return the state before the first step."""
        params = fresh_params(self.model, self.keys[0])
        return TrainState(params, self.optimizer.init(params))

    def state_shapes(self) -> TrainState:
        """Return the shapes of :meth:`first_state`."""
        params = jax.eval_shape(self.model.init, self.keys[0])
        return TrainState(params, jax.eval_shape(self.optimizer.init, params))

    def trained(self, step: int, params: Tree) -> Trained:
        """Return the model after a step, with its statistics and without its losses."""
        return Trained(
            type=self.type,
            options=self.options,
            vocab=self.vocab,
            params=params,
            stats=calibrate(self.model, params, self.data["train"][0]),
            record=model_record(self.settings, self.corpus, step),
        )

    def evaluated(self, trained: Trained) -> Trained:
        """Return the same model with the loss of every split in its record.

        Raises:
            InputError: a loss is NaN or infinite.
        """
        losses = {
            name: mean_loss(self.model, trained.params, trained.stats, *split)
            for name, split in self.data.items()
        }
        if not np.isfinite(list(losses.values())).all():
            raise InputError(f"the trained model has losses {losses}: lower --learning-rate")
        return trained._replace(record=trained.record | {"losses": losses})

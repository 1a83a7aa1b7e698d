"""A prepared run: its words, model, optimiser and settings, checked before anything is written."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jaxmore.backprop import loss_and_grad
from jaxmore.data import IntArray, PackedExamples, Vocabulary
from jaxmore.errors import InputError
from jaxmore.layers import Chain, Combinator, Layer, Tree, describe
from jaxmore.models import MODELS, model_options
from jaxmore.runs.config import SIZES, TrainConfig
from jaxmore.runs.corpus import Corpus, Reads, Words, read_corpus
from jaxmore.runs.records import Settings, model_record, resolve_settings, run_record
from jaxmore.runs.trained import CUSTOM, Trained
from jaxmore.terminal import width
from jaxmore.training.evaluation import calibrate, mean_loss
from jaxmore.training.loop import Devices, TrainState, fresh_params, train_chunk
from jaxmore.training.memory import check_calibration, check_memory
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.precision import loss_and_bfloat16_grad
from jaxmore.training.streaming import AHEAD

MOST_LAYERS = 1_000
"""The layers are traced one by one, a tenth of a second each, before their memory is known."""


class PreparedRun(NamedTuple):
    """A training run, ready to begin. Nothing is on disk yet."""

    config: TrainConfig
    settings: Settings
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


def prepare(
    config: TrainConfig, words: Words, model: Layer | None = None, *, packs: bool = True
) -> PreparedRun:
    """Read the words and check that the run can begin.

    Args:
        config: the flags of the run.
        words: a list of words, or the path of a file.
        model: a layer of the caller's own, from ids (B, T) to logits (B, V) or (B, T, V).
        packs: whether the words may be a pack.

    Raises:
        InputError: the run cannot begin; the message names the flag or the file.
    """
    block_size = config.block_size or 3
    reads = MODELS[config.type].reads if model is None else _reads(model, block_size)
    settings = resolve_settings(config, reads)
    corpus = read_corpus(words, reads, unique=config.unique, packs=packs)
    vocab = corpus.vocab
    if model is None:
        type, options = config.type, _options(config, corpus.longest_word)
        block_size = config.block_size or corpus.block_size(options)
    else:
        if reads == "sequences":
            block_size = config.block_size or corpus.longest_word + 1
        type, options = CUSTOM, {"model": model, "reads": reads, "block_size": block_size}
    name = f"{type}{_sizes(options)} --batch-size {settings.batch_size}"
    try:
        layer = model or MODELS[type].make(vocab.size, **options)
        _try_batch(layer, reads, settings.batch_size, block_size)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    devices = _devices(config, settings, layer)
    optimizer = make_optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.weight_decay,
        settings.schedule,
        settings.max_steps,
        settings.on_nan,
        warmup_steps=settings.warmup_steps,
        clip_norm=settings.clip_norm,
    )
    cuts_words = model is None and MODELS[type].cuts_words
    packed = corpus.packed(reads, block_size, vocab, cut=cuts_words).get("train")
    n_steps = min(config.chunk_size, settings.max_steps)
    check_memory(
        layer,
        optimizer,
        corpus.n_examples(reads),
        block_size,
        settings.batch_size,
        n_steps=n_steps if packed is None else (1 + AHEAD) * n_steps,
        packable=packs and packed is None and corpus.file != "",
    )
    data = corpus.examples(reads, block_size, vocab, cut=cuts_words)
    check_calibration(layer, data["train"][0])
    record = run_record(config, settings, options, corpus)
    return PreparedRun(
        config=config,
        settings=settings,
        type=type,
        corpus=corpus,
        vocab=vocab,
        options=options,
        model=layer,
        data=data,
        packed=packed,
        optimizer=optimizer,
        record=record,
        devices=devices,
    )


def _devices(config: TrainConfig, settings: Settings, model: Layer) -> Devices:
    if config.mesh is not None:
        from jaxmore.training.mesh import choose_devices

        for flag in ("debug", "diagnose"):
            if getattr(config, flag):
                raise InputError(f"--{flag} looks at one device: leave --mesh out")
        if config.dtype != "float32":
            raise InputError(f"--dtype {config.dtype} runs on one device: leave --mesh out")
        if config.shard_params and config.deterministic:
            for flag, looks in (
                ("--optimizer muon", settings.optimizer == "muon"),
                ("--clip-norm", settings.clip_norm is not None),
                ("--on-nan skip", settings.on_nan == "skip"),
            ):
                if looks:
                    raise InputError(
                        f"--shard-params: {flag} looks at whole gradients, which have no fixed "
                        "order of addition: leave one out, or --no-deterministic for any order"
                    )
        return choose_devices(
            config.mesh,
            settings.batch_size,
            model,
            deterministic=config.deterministic,
            shard_params=config.shard_params,
        )
    if config.shard_params:
        raise InputError("--shard-params goes with --mesh")
    if config.cpu_devices is not None:
        raise InputError("--cpu-devices goes with --mesh")
    if not config.deterministic:
        raise InputError("--no-deterministic goes with --mesh")
    if config.dtype == "float32":
        return Devices()
    if config.debug:
        raise InputError(f"--debug looks at float32: leave --dtype {config.dtype} out")
    return Devices(
        partial(train_chunk, gradient=loss_and_bfloat16_grad), gradient=loss_and_bfloat16_grad
    )


def _options(config: TrainConfig, longest_word: int) -> dict[str, Any]:
    asked = {name: size for name in SIZES if (size := getattr(config, name)) is not None}
    if "block_size" not in model_options(config.type):
        asked.pop("block_size", None)  # then it is the length of the sequences alone
    options = model_options(config.type, longest_word=longest_word, **asked)
    if options.get("n_layer", 1) > MOST_LAYERS:
        raise InputError(f"--n-layer must be at most {MOST_LAYERS:,}, got {options['n_layer']:,}")
    return options


def _sizes(options: dict[str, Any]) -> str:
    return "".join(
        f" --{name.replace('_', '-')} {size}"
        for name, size in options.items()
        if isinstance(size, int)
    )


def _reads(model: Layer, block_size: int) -> Reads:
    """Tell from the shape of its logits whether a layer reads windows or sequences."""
    ids = jax.ShapeDtypeStruct((2, block_size), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))
    logits = jax.eval_shape(lambda params, x: model.fwd(params, x)[0], params, ids)
    return "windows" if logits.ndim == 2 else "sequences"


def _try_batch(model: Layer, reads: Reads, batch_size: int, block_size: int) -> None:
    """Try a model on a batch by shapes alone.

    Raises:
        ValueError: it cannot take such a batch, for instance one example under BatchNorm.
    """
    x = jax.ShapeDtypeStruct((batch_size, block_size), jnp.int32)
    y = jax.ShapeDtypeStruct((batch_size,), jnp.int32) if reads == "windows" else x
    params = jax.eval_shape(model.init, jax.random.key(0))
    jax.eval_shape(partial(loss_and_grad, model), params, x, y)

"""From flags to a prepared run. The steps, evaluations and samples of a run read no flags."""

from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxmore.backprop import loss_and_grad
from jaxmore.errors import InputError
from jaxmore.layers import Layer
from jaxmore.models import MODELS, model_options
from jaxmore.runs.config import SIZES, TrainConfig
from jaxmore.runs.corpus import Corpus, Reads, Words, read_corpus
from jaxmore.runs.folder import FORMAT
from jaxmore.runs.prepared import Cadence, PreparedRun
from jaxmore.runs.records import Settings, versions
from jaxmore.runs.trained import CUSTOM
from jaxmore.training.loop import Devices, train_chunk
from jaxmore.training.memory import check_calibration, check_memory
from jaxmore.training.optimizers import make_optimizer
from jaxmore.training.precision import loss_and_bfloat16_grad
from jaxmore.training.streaming import AHEAD

MOST_LAYERS = 1_000
"""The layers are traced one by one, a tenth of a second each, before their memory is known."""


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
    record = _run_record(config, settings, options, corpus)
    return PreparedRun(
        settings=settings,
        cadence=Cadence(
            chunk_size=config.chunk_size,
            eval_every=config.eval_every,
            sample_every=config.sample_every,
            patience=config.patience,
            diagnose=config.diagnose,
        ),
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


def resolve_settings(config: TrainConfig, reads: str) -> Settings:
    """Fill in the settings that the flags leave open.

    The defaults are the notebooks' for models that read windows, makemore.py's for models that
    read sequences, and microgpt's own for microgpt.

    Raises:
        InputError: the warm-up is as long as the run, or there is patience but no evaluation.
    """
    makemore = reads == "sequences"
    steps, batch_size, optimizer, schedule = (
        (1_000, 1, "adam", "linear")
        if config.type == "microgpt"
        else (20_000, 32, "adamw", "constant")
        if makemore
        else (200_000, 32, "sgd", "step")
    )
    optimizer = config.optimizer or optimizer
    rate, decay = {
        "sgd": (0.1, 0.0),
        "adam": (0.01, 0.0),
        "adamw": (5e-4, 0.01),
        "muon": (5e-3, 0.1),
    }[optimizer]
    settings = Settings(
        max_steps=config.max_steps or steps,
        batch_size=config.batch_size or batch_size,
        optimizer=optimizer,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        schedule=config.schedule or schedule,
        warmup_steps=config.warmup_steps,
        clip_norm=config.clip_norm,
        on_nan=config.on_nan,
        dtype=config.dtype,
        seed=(3407 if makemore else 2147483647) if config.seed is None else config.seed,
    )
    if settings.warmup_steps >= settings.max_steps:
        raise InputError(
            f"--warmup-steps {settings.warmup_steps} must be below --max-steps {settings.max_steps}"
        )
    if config.patience is not None and not config.eval_every:
        raise InputError("--patience counts evaluations: give --eval-every")
    return settings


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
                        f"--shard-params: {flag} needs whole gradients, which have no fixed order "
                        "of addition: leave one out, or add --no-deterministic"
                    )
        return choose_devices(
            config.mesh,
            settings.batch_size,
            model,
            deterministic=config.deterministic,
            shard_params=config.shard_params,
        )
    if config.shard_params:
        raise InputError("--shard-params needs --mesh")
    if config.cpu_devices is not None:
        raise InputError("--cpu-devices needs --mesh")
    if not config.deterministic:
        raise InputError("--no-deterministic needs --mesh")
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


def _run_record(
    config: TrainConfig, settings: Settings, options: dict[str, Any], corpus: Corpus
) -> dict[str, Any]:
    """Return what ``run.json`` and every checkpoint hold: all that decides the result."""
    flags = asdict(config)
    # The values that were used, since the defaults may be others tomorrow.
    resolved = settings._asdict() | options | {"input_file": corpus.file}
    return {
        "format": FORMAT,
        "flags": flags | {name: value for name, value in resolved.items() if name in flags},
        "data": {"file": corpus.file, "sha256": corpus.sha256},
        "vocabulary": corpus.vocab.characters,
        "versions": versions(),
    }

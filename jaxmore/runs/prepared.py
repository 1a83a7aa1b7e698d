"""A training run, ready to begin: its words, its model and all that decides its steps."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array

from jaxmore.data import IntArray, Vocabulary
from jaxmore.layers import Chain
from jaxmore.models import MODELS, model_options
from jaxmore.runs.config import SIZES, TrainConfig
from jaxmore.runs.corpus import Corpus, build_model, examples, read_corpus
from jaxmore.runs.records import run_record
from jaxmore.runs.settings import Settings, settle
from jaxmore.training.loop import State, fresh_params
from jaxmore.training.memory import check_calibration, check_memory
from jaxmore.training.optimizers import make_optimizer


class Task(NamedTuple):
    """A training run; nothing is on disk yet."""

    config: TrainConfig
    settings: Settings
    corpus: Corpus
    vocab: Vocabulary
    options: dict[str, Any]
    model: Chain
    data: dict[str, tuple[IntArray, IntArray]]
    """X and Y of each split that holds words."""
    optimizer: optax.GradientTransformation
    record: dict[str, Any]
    """What ``run.json`` and every checkpoint hold."""

    @property
    def keys(self) -> Array:
        """Two: of the parameters, and of the batches."""
        return jax.random.split(jax.random.key(self.settings.seed))

    def fresh(self) -> State:
        """The state before the first step."""
        params = fresh_params(self.model, self.keys[0])
        return State(params, self.optimizer.init(params))

    def template(self) -> State:
        """The shapes of :meth:`fresh`, which has a compilation of its own and cannot be traced."""
        params = jax.eval_shape(self.model.init, self.keys[0])
        return State(params, jax.eval_shape(self.optimizer.init, params))


def prepare(config: TrainConfig) -> Task:
    """Read the words and check that the run can be.

    Raises:
        InputError: it cannot; the line names the flag or the file.
    """
    settings = settle(config)
    corpus = read_corpus(config.type, config.input_file, unique=config.unique)
    vocab = corpus.vocab
    options = _options(config, corpus.longest_word)
    block_size = config.block_size or corpus.block_size(options)
    model = build_model(
        config.type, vocab.size, options, batch_size=config.batch_size, block_size=block_size
    )
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
    n_ids = [len(word) + 1 for split in corpus.splits for word in split]
    n_examples = sum(n_ids) if MODELS[config.type].reads == "windows" else len(n_ids)
    check_memory(model, optimizer, n_examples, block_size, config.batch_size)
    data = {
        name: examples(config.type, words, vocab, block_size)
        for name, words in corpus.splits._asdict().items()
        if words
    }
    check_calibration(model, data["train"][0])
    record = run_record(config, settings, options, corpus)
    return Task(config, settings, corpus, vocab, options, model, data, optimizer, record)


def _options(config: TrainConfig, longest_word: int) -> dict[str, Any]:
    asked = {name: size for name in SIZES if (size := getattr(config, name)) is not None}
    if "block_size" not in model_options(config.type):
        asked.pop("block_size", None)  # a length of the sequences alone
    return model_options(config.type, longest_word=longest_word, **asked)

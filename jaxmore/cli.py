"""The ``jaxmore`` command. Thin: each command imports what it needs, JAX included, when it runs."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from jaxmore import __version__
from jaxmore.errors import InputError
from jaxmore.training.config import TrainConfig, check_at_least, check_seed

Words = Annotated[
    str | None,
    arg(
        aliases=["-i"],
        metavar="FILE",
        help_behavior_hint="(default: $JAXMORE_NAMES, else the embedded names)",
    ),
]
WordsOfRun = Annotated[
    str | None,
    arg(aliases=["-i"], metavar="FILE", help_behavior_hint="(default: those it was trained on)"),
]
WorkDir = Annotated[str, arg(aliases=["-o"], metavar="DIR")]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model on a file of words and make more of them.

    The defaults are the seeds' network and training: 12,297 parameters, 200,000 steps.
    """

    def run(self) -> None:
        from jaxmore.training.run import run_training

        run_training(self)


@dataclass(frozen=True)
class Sample:
    """Make more words with a trained model."""

    work_dir: WorkDir = "out"
    """The folder of a trained model."""
    input_file: WordsOfRun = None
    """Words to mark the samples by."""
    n_words: Annotated[int, arg(aliases=["-n"])] = 20
    """How many words."""
    seed: int = 2147483647
    """The same seed, the same words."""
    temperature: float = 1.0
    """Below 1 more likely words, above 1 more surprising ones."""
    top_k: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """Draw among the k likeliest characters only."""
    prompt: str = ""
    """What every word begins with."""

    def run(self) -> None:
        check_at_least("n_words", self.n_words, 1)
        check_seed(self.seed)
        from jaxmore.training.run import run_sampling

        run_sampling(
            self.work_dir,
            self.input_file,
            n_words=self.n_words,
            seed=self.seed,
            temperature=self.temperature,
            top_k=self.top_k,
            prompt=self.prompt,
        )


@dataclass(frozen=True)
class Evaluate:
    """The exact train, dev and test loss of a trained model."""

    work_dir: WorkDir = "out"
    """The folder of a trained model."""
    input_file: WordsOfRun = None
    """Words to evaluate on."""

    def run(self) -> None:
        from jaxmore.training.run import run_evaluation

        run_evaluation(self.work_dir, self.input_file)


@dataclass(frozen=True)
class FindLr:
    """Sweep the learning rate from 0.001 to 1 and suggest one, with a figure."""

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Where the figure goes."""
    type: Literal["mlp-bn", "bengio"] = "mlp-bn"
    """The model."""
    batch_size: Annotated[int, arg(aliases=["-b"])] = 32
    """Examples per step."""
    seed: int = 2147483647
    """Seed of the parameters and the batches."""

    def run(self) -> None:
        check_at_least("batch_size", self.batch_size, 1)
        check_seed(self.seed)
        from jaxmore.training.run import run_find_lr

        run_find_lr(
            self.input_file,
            self.work_dir,
            type=self.type,
            batch_size=self.batch_size,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Data:
    """Tell which words a run would use, or fetch makemore's 32,033 names."""

    input_file: Words = None
    """Words, one per line."""
    download: bool = False
    """Fetch names.txt of the makemore repository into the cache folder and print its path."""

    def run(self) -> None:
        from jaxmore import data

        if self.download:
            print(data.download_names())
            return
        path = data.corpus_path(self.input_file)
        words = data.read_words(path)
        vocab = data.Vocabulary.from_words(words)
        print(f"{path}")
        print(
            f"{len(words):,} words, {len(set(words)):,} distinct, up to {max(map(len, words))} long"
        )
        print(f"{len(vocab.characters)} characters: {vocab.characters}")


@dataclass(frozen=True)
class Trace:
    """Spell out the contexts of words and the character that each predicts."""

    words: Positional[tuple[str, ...]]
    """The words."""
    block_size: int = 3
    """T, the length of the context."""

    def run(self) -> None:
        from jaxmore.data import trace_windows

        for word in self.words:
            print("\n".join(trace_windows(word, self.block_size)))


@dataclass(frozen=True)
class Check:
    """Compare the 26 hand-derived cotangents of the seeds' network with autodiff."""

    input_file: Words = None
    """Words that the batch is drawn from."""
    dump: bool = False
    """Print every intermediate and its cotangent, name, shape and values, instead."""

    def run(self) -> None:
        from jaxmore import data, replay, testing

        words = data.read_words(data.corpus_path(self.input_file))
        params, X, Y = replay.seed_003(words)
        if self.dump:
            print(testing.dump(params, X, Y))
            return
        for dtype in ("float32", "float64"):
            print(f"{dtype}, hand-derived against jax.vjp")
            print(testing.format_table(testing.stepwise_table(params, X, Y, dtype)))


@dataclass(frozen=True)
class Replay:
    """Replay the figures of the five seed notebooks with JAX alone."""

    input_file: Words = None
    """The seeds' names.txt."""

    def run(self) -> None:
        from jaxmore import data, replay

        words = data.read_words(data.corpus_path(self.input_file))
        print(replay.format_figures(replay.replay(words)))


Command = Train | Sample | Evaluate | FindLr | Data | Trace | Check | Replay


def main(args: Sequence[str] | None = None) -> None:
    """Run ``jaxmore``; a user's mistake is one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments == ["--version"]:
        print(f"jaxmore {__version__}")
        return
    try:
        _parse(arguments).run()
    except InputError as error:
        print(f"jaxmore: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `jaxmore check --dump | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("jaxmore: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _parse(args: list[str]) -> Command:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                Command,
                prog="jaxmore",
                description=f"makemore in JAX with hand-derived gradients, version {__version__}",
                args=args,
                config=(tyro.conf.OmitSubcommandPrefixes,),
            )
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_first_paragraph(complaint.getvalue())) from None


def _first_paragraph(box: str) -> str:
    """What tyro says in its box, below the title and up to the next rule, as one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    runs = [
        list(run) for is_rule, run in groupby(lines, lambda x: not x.strip("─-")) if not is_rule
    ]
    return re.sub(r"^Error parsing \w+: ", "", " ".join(runs[0]))

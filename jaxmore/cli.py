"""The ``jaxmore`` command. Thin: each command imports what it needs, JAX included, when it runs."""

import contextlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, Suppress, arg

from jaxmore import __version__
from jaxmore.errors import InputError
from jaxmore.runs.compilation_cache import use_compilation_cache
from jaxmore.runs.config import (
    SEED,
    WORDS,
    Device,
    ModelName,
    Optimizer,
    TrainConfig,
    check_at_least,
    check_seed,
    default,
)
from jaxmore.runs.signals import Stopped

DTYPES = ("float32", "bfloat16", "float16")

Words = Annotated[str | None, default(WORDS, "FILE", "-i")]
WordsOfRun = Annotated[str | None, default("those it was trained on", "FILE", "-i")]
WorkDir = Annotated[str, arg(aliases=["-o"], metavar="DIR")]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model on a file of words and make more of them.

    The defaults are the backprop-ninja notebooks': 12,297 parameters, 200,000 steps.
    """

    def run(self) -> None:
        from jaxmore.runs.run import run_training

        run_training(self)


@dataclass(frozen=True)
class Sample:
    """Make more words with a trained model."""

    work_dir: WorkDir = "out"
    """The folder of a trained model: out is the best of a run, out/last its last."""
    input_file: WordsOfRun = None
    """Words to mark the samples by."""
    n_words: Annotated[int, arg(aliases=["-n"])] = 20
    """How many words."""
    seed: int = 2147483647
    """The same seed, the same words."""
    temperature: float = 1.0
    """Below 1 more likely words, above 1 more surprising ones."""
    top_k: Annotated[int | None, default("all", "INT")] = None
    """Draw among the k likeliest characters only."""
    prompt: str = ""
    """What every word begins with."""
    device: Device = None
    """The platform to sample on."""

    def run(self) -> None:
        check_at_least("n_words", self.n_words, 1)
        check_seed(self.seed)
        from jaxmore.runs.inference import run_sampling

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
    """The folder of a trained model: out is the best of a run, out/last its last."""
    input_file: WordsOfRun = None
    """Words to evaluate on."""
    device: Device = None
    """The platform to evaluate on."""

    def run(self) -> None:
        from jaxmore.runs.inference import run_evaluation

        run_evaluation(self.work_dir, self.input_file)


@dataclass(frozen=True)
class FindLr:
    """Sweep the learning rate of the optimiser that train would use; suggest one, with a figure.

    Plain gradient descent: from 0.001 to 1; AdamW and Muon: from 0.00001 to 0.1.
    """

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Where the figure goes."""
    type: ModelName = "mlp-bn"
    """The model."""
    optimizer: Optimizer = None
    """As in train."""
    batch_size: Annotated[int, arg(aliases=["-b"])] = 32
    """Examples per step."""
    seed: Annotated[int | None, SEED] = None
    """Seed of the parameters and the batches."""
    device: Device = None
    """The platform to train on."""

    def run(self) -> None:
        config = TrainConfig(**asdict(self))
        from jaxmore.training.lr_search import run_find_lr

        run_find_lr(config)


@dataclass(frozen=True)
class Sweep(TrainConfig):
    """Train once for each learning rate, weight decay and seed; a table and a figure of all.

    On a CPU one run after another: interrupted, what is done is kept. On an accelerator all runs at
    once: interrupted, nothing is.
    """

    work_dir: WorkDir = "out"
    """Where the results and the figure go."""
    overwrite: bool = False
    """Replace what the work folder holds."""
    # A list where a run has a number. What a sweep has no use for is no flag of it.
    learning_rate: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        str | None, default("sgd 0.1, adamw 5e-4, muon 5e-3", "LIST", "-l")
    ] = None
    """Learning rates, such as 0.03,0.1,0.3."""
    weight_decay: Annotated[str | None, default("sgd 0, adamw 0.01, muon 0.1", "LIST", "-w")] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Decays of every parameter, with Muon of every matrix, such as 0,0.01."""
    seed: Annotated[str | None, default("2147483647, makemore's types 3407", "LIST")] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Seeds, such as 1,2,3, or 0:8 for 0 to 7."""
    resume: Suppress[bool] = False
    eval_every: Suppress[int] = 0
    sample_every: Suppress[int] = 0
    patience: Suppress[int | None] = None
    save_every: Suppress[float] = 0.0
    debug: Suppress[bool] = False

    def __post_init__(self) -> None:
        """Nothing: each run's own config is checked."""

    def run(self) -> None:
        from jaxmore.training.sweeps import run_sweep

        lists = ("learning_rate", "weight_decay", "seed")
        flags = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in lists}
        run_sweep(
            TrainConfig(**flags),
            learning_rates=self.learning_rate,
            weight_decays=self.weight_decay,
            seeds=self.seed,
        )


@dataclass(frozen=True)
class Ngram:
    """Count bigrams or trigrams: their mean NLL, a heat map and words made of them."""

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Where the figure goes."""
    n: Literal[2, 3] = 2
    """2: a character by the one before. 3: by the two before."""
    smoothing: float = 1.0
    """Added to every count."""
    neural: bool = False
    """Learn the table by gradient descent, too: one linear layer on one-hot vectors."""
    steps: int = 1_000
    """Steps of the neural form, each over all words."""
    learning_rate: Annotated[float, arg(aliases=["-l"])] = 50.0
    """Learning rate of the neural form."""
    penalty: float = 0.01
    """The share of mean(W²) in the neural form's loss; 0 learns what is counted."""
    n_words: int = 20
    """How many words to make."""
    seed: int = 2147483647
    """The same seed, the same words."""

    def run(self) -> None:
        if not 1 <= self.steps < 2**31:
            raise InputError(f"--steps must lie in 1..{2**31 - 1}, got {self.steps}")
        check_at_least("n_words", self.n_words, 1)
        check_seed(self.seed)
        for flag in ("smoothing", "penalty"):
            if not 0 <= getattr(self, flag) <= 1e9:
                raise InputError(f"--{flag} must lie in 0..1e9, got {getattr(self, flag)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate}")
        from jaxmore.commands.ngram import run_ngram

        run_ngram(
            self.input_file,
            self.work_dir,
            n=self.n,
            smoothing=self.smoothing,
            neural=self.neural,
            n_steps=self.steps,
            learning_rate=self.learning_rate,
            penalty=self.penalty,
            n_words=self.n_words,
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
    """Prove gradients: the notebooks' network, the rules and models that ship, what is yours.

    Without a flag: the 26 hand-derived cotangents of the notebooks' network against autodiff.
    """

    spec: Annotated[Positional[str | None], default("none", "MODULE:FWD,BWD | FILE")] = None
    """A rule of yours: two functions of a module, or of a file.py. Or the file of the exercise."""
    args: str = ""
    """Its arguments, such as "f[5,3] f[3] i[5]<7": floats by shape, ids below a bound."""
    rule: Annotated[tuple[str, ...], default("none", "NAME ...")] = ()
    """Rules that ship; "all" for every one."""
    model: Annotated[tuple[str, ...], default("none", "TYPE ...")] = ()
    """Models that ship; "all" for every one."""
    dtype: Annotated[tuple[str, ...], arg(metavar="DTYPE ...")] = DTYPES
    """The narrower dtypes to check in, beside float64."""
    json: Annotated[str | None, default("none", "FILE")] = None
    """Write what was measured to a file, too."""
    input_file: Words = None
    """Words that the notebooks' batch is drawn from."""
    dump: bool = False
    """Print every intermediate of the notebooks' network and its cotangent instead."""
    hint: bool = False
    """Say more about the exercise's first wrong line, or about the next one."""

    def run(self) -> None:
        if self.spec and self.spec.endswith(".py"):
            if self != Check(self.spec, hint=self.hint):
                raise InputError("the exercise's file takes no other flag than --hint")
            self._judge_exercise()
        elif self.hint:
            raise InputError("--hint goes with the exercise's file")
        elif self.spec or self.rule or self.model:
            if self.dump:
                raise InputError("--dump goes without a rule or a model")
            self._prove()
        elif self.args or self.json or self.dtype != DTYPES:
            raise InputError("--args, --dtype and --json go with a rule or a model")
        else:
            self._compare_with_the_notebooks()

    def _judge_exercise(self) -> None:
        from jaxmore import ninja

        report = ninja.check(Path(self.spec or ""), more=self.hint)
        print(report)
        if not report.passed:
            raise SystemExit(1)

    def _prove(self) -> None:
        from jaxmore import testing
        from jaxmore.files import write_atomically

        reports: list[Any] = []
        if self.spec:
            reports.append(testing.check_named_rule(self.spec, self.args, dtypes=self.dtype))
        if self.rule:
            names = () if "all" in self.rule else self.rule
            reports += testing.check_shipped_rules(names, dtypes=self.dtype)
        if self.model:
            types = () if "all" in self.model else self.model
            reports += testing.check_shipped_models(types, dtypes=self.dtype)
        print("\n\n".join(map(str, reports)))
        if self.json:
            content = json.dumps([report.as_dict() for report in reports], indent=1)
            write_atomically(Path(self.json), content.encode())
        if not all(report.passed for report in reports):
            raise SystemExit(1)

    def _compare_with_the_notebooks(self) -> None:
        from jaxmore import data, ninja

        batch = ninja.notebook_003(data.read_words(data.corpus_path(self.input_file)))
        if self.dump:
            print(ninja.dump(*batch))
            return
        for dtype in ("float32", "float64"):
            table = ninja.stepwise_table(*batch, dtype)
            print(f"{dtype}, hand-derived against jax.vjp")
            print(ninja.format_table(table))
            if not all(line.approximate for line in table):
                raise SystemExit(1)


@dataclass(frozen=True)
class Exercise:
    """Write the notebooks' exercise for you to do: the forward lines, and 28 blanks."""

    folder: Annotated[Positional[str], arg(metavar="DIR")]
    """Where my_backward.py and its README go."""

    def run(self) -> None:
        from jaxmore import ninja

        for path in ninja.write(Path(self.folder)):
            print(path)


@dataclass(frozen=True)
class Replay:
    """Replay the figures of the five backprop-ninja notebooks with JAX alone."""

    input_file: Words = None
    """makemore's names.txt, which the notebooks read."""

    def run(self) -> None:
        from jaxmore import data, ninja

        words = data.read_words(data.corpus_path(self.input_file))
        print(ninja.format_figures(ninja.replay(words)))


@dataclass(frozen=True)
class Convert:
    """Turn makemore.py's model.pt into a work folder, or a work folder into a model.pt."""

    source: Annotated[str, arg(name="from", metavar="PATH")]
    """A model.pt of makemore.py, or a work folder."""
    target: Annotated[str, arg(name="to", metavar="PATH")]
    """The other one."""
    input_file: Words = None
    """The words that makemore.py was trained on: model.pt does not hold its characters."""
    n_head: int = 4
    """N of a transformer: model.pt does not tell it."""
    seed: int = 3407
    """makemore.py's --seed, which decides the words held out: model.pt does not tell it."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        from jaxmore.interop import convert

        saved = convert(
            self.source,
            self.target,
            input_file=self.input_file,
            n_head=self.n_head,
            seed=self.seed,
            overwrite=self.overwrite,
        )
        print(f"{self.source} → {self.target}: {saved.type} {saved.options}")


Command = (
    Train
    | Sample
    | Evaluate
    | FindLr
    | Sweep
    | Ngram
    | Data
    | Trace
    | Check
    | Exercise
    | Replay
    | Convert
)


def main(args: Sequence[str] | None = None) -> None:
    """Run ``jaxmore``; a user's mistake is one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments == ["--version"]:
        print(f"jaxmore {__version__}")
        return
    try:
        command = _parse(arguments)
        use_compilation_cache()
        if isinstance(command, Train) and command.resume:
            from jaxmore.runs.folder import stored_config

            command = _parse(arguments, default=stored_config(command))
        if (
            isinstance(command, Train | Sample | Evaluate | FindLr | Sweep)
            and command.device is not None
        ):
            from jaxmore.runs.device import choose_device

            choose_device(command.device)
        command.run()
    except InputError as error:
        print(f"jaxmore: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError as error:
        print(f"jaxmore: more memory is needed than there is: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Stopped as stop:
        with contextlib.suppress(OSError):  # whoever read it may be gone
            print(f"jaxmore: {stop}", file=sys.stderr, flush=True)
        if args is not None:  # called from Python, which goes on
            raise SystemExit(stop.exit_code) from None
        # All is saved. Python would first take JAX apart: seconds, on a busy machine.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(stop.exit_code)
    except BrokenPipeError:  # `jaxmore check --dump | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("jaxmore: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _parse(args: list[str], default: Command | None = None) -> Command:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return _parse_quietly(args, default)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_first_paragraph(complaint.getvalue())) from None


def _parse_quietly(args: list[str], default: Command | None) -> Command:
    # Not default=None: tyro would take it for a command.
    parse = partial(
        tyro.cli,
        Command,
        prog="jaxmore",
        description=f"makemore in JAX with hand-derived gradients, version {__version__}",
        args=args,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    return parse() if default is None else parse(default=default)


def _first_paragraph(box: str) -> str:
    """What tyro says in its box, below the title and up to the next rule, as one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    runs = [
        list(run) for is_rule, run in groupby(lines, lambda x: not x.strip("─-")) if not is_rule
    ]
    return re.sub(r"^Error parsing \w+: ", "", " ".join(runs[0]))

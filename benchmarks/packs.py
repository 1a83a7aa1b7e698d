"""``python -m benchmarks.packs``: packing a large file, and training on the pack.

It writes a file of random words, packs it, and compares the steps of a run that reads the pack with
those of a run whose examples lie in memory. The figures are those of docs/how-to/packs.md.
"""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from jaxmore.data import Pack, PackedExamples, open_pack, write_pack

TYPES, BATCH_SIZE, N_STEPS, N_CHUNKS, ROUNDS = ("mlp-bn", "bengio", "gru"), 32, 1000, 5, 5
IN_MEMORY = 200_000
"""Examples of the run that the pack is compared with: about as many as makemore's names have."""
LETTERS = b"aaaaaaaaeeeeeeiiiiiooouunnnnnrrrrrlllllhhhsssttmmdykcbgvjzfpwxq"


@dataclass(frozen=True)
class Packs:
    """Pack a file of random words, and train on it."""

    gigabytes: float = 2.0
    """The size of the file."""
    folder: Path | None = None
    """Where the file and the pack go; a temporary folder by default."""
    unique: bool = False
    """Drop duplicate words."""

    def run(self) -> None:
        """Print what it took."""
        with TemporaryDirectory(dir=self.folder) as folder:
            words, path = Path(folder) / "words.txt", Path(folder) / "words.pack"
            write_words(words, int(self.gigabytes * 1e9))
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                seconds, peak = process.submit(packing, words, path, self.unique).result()
            began = time.perf_counter()
            pack = open_pack(path)
            opened = time.perf_counter() - began
            n_words = sum(map(len, pack.ends.values()))
            size = sum(file.stat().st_size for file in path.iterdir())
            print(f"{self.gigabytes} GB: a pack of {n_words:,} words, {size / 1e9:.1f} GB")
            print(f"packed in {seconds:.0f} s, peak memory {peak:,.0f} MB")
            print(f"opened, every SHA-256 compared, in {opened:.1f} s")
            for type in TYPES:
                compare(type, pack)
            anonymous, mapped = memory()
            print(
                f"memory of the training process: {anonymous:,.0f} MB, and {mapped:,.0f} MB mapped"
            )


def write_words(path: Path, size: int) -> None:
    """Write random words of 3 to 14 letters."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(LETTERS, np.uint8)
    with open(path, "wb") as file:
        while file.tell() < size:
            words = letters[rng.integers(0, len(letters), (2**19, 15), np.uint8)]
            places, ends = np.arange(15), rng.integers(3, 15, (2**19, 1), np.uint8)
            words[places == ends] = ord("\n")
            file.write(words[places <= ends].tobytes())


def packing(words: Path, path: Path, unique: bool) -> tuple[float, float]:
    """Pack a file; return the seconds, and the peak memory of the process in MB."""
    began = time.perf_counter()
    write_pack(words, path, unique=unique)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return time.perf_counter() - began, peak


def compare(type: str, pack: Pack) -> None:
    """Print the time of a step with the examples in memory and in the pack, in turns."""
    import jax

    from jaxmore.models import MODELS, model_options
    from jaxmore.training.loop import Devices, TrainState, train
    from jaxmore.training.optimizers import make_optimizer
    from jaxmore.training.streaming import train_streamed

    windows = MODELS[type].reads == "windows"
    block_size = 3 if windows else pack.longest_word + 1
    examples = PackedExamples(pack, "train", windows, block_size)
    devices = Devices()
    X, Y = devices.place(examples.spread(IN_MEMORY))
    options = model_options(type, longest_word=pack.longest_word)
    model = MODELS[type].make(pack.vocab.size, **options)
    n_steps = N_STEPS if windows else N_STEPS // 10
    max_steps = n_steps * N_CHUNKS
    optimizer = make_optimizer("sgd", 0.1, 0.0, "constant", max_steps)
    steps = {"batch_size": BATCH_SIZE, "max_steps": max_steps, "chunk_size": n_steps}
    params, key = model.init(jax.random.key(0)), jax.random.key(1)
    times: dict[str, list[float]] = {"in memory": [], "pack": []}
    for round in range(ROUNDS + 1):
        for name, its in times.items():
            state = devices.begin(TrainState(params, optimizer.init(params)))
            began = time.perf_counter()
            if name == "pack":
                chunks = train_streamed(
                    model, optimizer, state, examples, key, **steps, devices=devices
                )
            else:
                chunks = train(model, optimizer, state, X, Y, key, **steps)
            for _ in chunks:
                pass
            if round:  # the first one compiles
                its.append((time.perf_counter() - began) / max_steps * 1e6)
    ratio = median(a / b for a, b in zip(*times.values(), strict=True))
    cells = (f"{median(its):,.0f}" for its in times.values())
    print(f"| {type} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def memory() -> tuple[float, float]:
    """Return the memory of this process in MB: its own, and files that it maps."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(int(fields[name].split()[0]) / 1e3 for name in ("RssAnon", "RssFile"))


if __name__ == "__main__":
    tyro.cli(Packs).run()

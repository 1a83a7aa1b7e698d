"""Mutated files for every loader: a result or InputError, no crash, no hang, no growth.

``corpus`` keeps the small inputs that were answered in a way not seen before, in a folder for each
loader: fuzzing starts from them, and ``tests/training/test_corpus.py`` reads them all again.
"""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.harness import Lab

MINUTES = float(os.environ.get("FUZZ_MINUTES", "5"))
CORPUS = Path(__file__).parent / "corpus"
KEPT_UP_TO = 3_000
"""Bytes of the largest input that is kept."""

Loaders = dict[str, tuple[Path, Callable[[], Any]]]


def run() -> dict[str, Any]:
    """In a process of its own: a crash of tensorstore would end this one."""
    lab = Lab()
    out, _, _ = lab.undisturbed()
    command = [sys.executable, "-m", "tests.faults.fuzz", str(out), str(lab.words), str(MINUTES)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * MINUTES + 300,
        env=lab.environment,
    )
    shutil.rmtree(lab.folder)
    if done.returncode:
        print(done.stderr[-2000:])
        return {"crashes": 1, "exit": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def text_loaders(out: Path, words: Path) -> Loaders:
    """The loaders whose inputs the corpus keeps, each with the file that it reads."""
    from jaxmore.data import read_words
    from jaxmore.interop import read_torch_file, write_torch_file
    from jaxmore.runs.config import TrainConfig
    from jaxmore.runs.folder import stored_config
    from jaxmore.runs.trained import load

    torch_file = out / "model.pt"
    write_torch_file(torch_file, {"a": np.eye(3, dtype=np.float32), "b": np.arange(3)})
    return {
        "config": (out / "config.json", lambda: load(out)),
        "run": (out / "run.json", lambda: stored_config(TrainConfig(work_dir=str(out)))),
        "words": (words, lambda: read_words(words)),
        "torch": (torch_file, lambda: read_torch_file(torch_file)),
    }


def state_loaders(out: Path) -> Loaders:
    """One for each file of a checkpoint, which is sealed anew: a hostile one is sealed as well."""
    import jax

    from jaxmore.models import MODELS
    from jaxmore.runs.checkpoints import MANIFEST, damage, latest_checkpoint, restore, seal
    from jaxmore.runs.trained import load
    from jaxmore.training.loop import TrainState
    from jaxmore.training.optimizers import make_optimizer

    saved = load(out)
    training = saved.record["training"]
    optimizer = make_optimizer(
        "adamw", training["learning_rate"], training["weight_decay"], "step", training["max_steps"]
    )

    def fresh() -> TrainState:
        params = MODELS[saved.type].make(saved.vocab.size, **saved.options).init(jax.random.key(0))
        return TrainState(params, optimizer.init(params))

    template = jax.eval_shape(fresh)
    for old in sorted((out / "checkpoints").glob("step-*"))[:-1]:
        shutil.rmtree(old)
    newest = next((out / "checkpoints").glob("step-*"))

    def sealed() -> None:
        (newest / MANIFEST).unlink()
        seal(newest)
        assert damage(newest) is None
        checkpoint, _ = latest_checkpoint(out)
        if checkpoint is not None:
            restore(checkpoint.path, template)

    files = [path for path in (newest / "state").rglob("*") if path.is_file()]
    return {
        "model.safetensors": (out / "model.safetensors", lambda: load(out)),
        "record.json": (newest / "record.json", sealed),
    } | {str(path.relative_to(newest)): (path, sealed) for path in sorted(files)}


def fuzz(out: Path, words: Path, minutes: float) -> dict[str, Any]:
    from jaxmore.errors import InputError

    kept = text_loaders(out, words)
    loaders = kept | state_loaders(out)
    inputs = {name: [path.read_bytes(), *corpus(name)] for name, (path, _) in loaders.items()}
    answers: set[tuple[str, str]] = set()
    counts = {"tried": 0, "refused": 0, "loaded": 0, "more than a line": 0}
    slowest, memory = 0.0, 0

    def attempt(name: str, content: bytes) -> None:
        nonlocal slowest
        path, load = loaders[name]
        path.write_bytes(content)
        began = time.monotonic()
        answer = ""
        try:
            load()
            counts["loaded"] += 1
        except InputError as error:
            answer = str(error)
            counts["refused"] += 1
            counts["more than a line"] += "\n" in answer
        except BaseException:
            (out.parent / "crash").write_bytes(content)
            print(f"{name}: see {out.parent / 'crash'}", file=sys.stderr)
            raise
        counts["tried"] += 1
        slowest = max(slowest, time.monotonic() - began)
        kind = (name, re.sub(r"""\d+|'[^']*'|"[^"]*"|[^ -~]""", "", answer))
        if name in kept and kind not in answers and len(content) <= KEPT_UP_TO:
            answers.add(kind)
            (CORPUS / name).mkdir(parents=True, exist_ok=True)
            content = content.replace(str(out.parent).encode(), b"/names")
            (CORPUS / name / hashlib.sha256(content).hexdigest()[:12]).write_bytes(content)
            inputs[name].append(content)

    # A fresh seed each time: what mattered before is in the corpus.
    chance = random.Random()
    for name in kept:
        for content in corpus(name):
            attempt(name, content)
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        name = chance.choice(list(loaders))
        attempt(name, mutated(chance.choice(inputs[name]), chance))
        loaders[name][0].write_bytes(inputs[name][0])
        if counts["tried"] == 300:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1e3
    return counts | {
        "kept in the corpus": sum(len(corpus(name)) for name in kept),
        "crashes": 0,
        "slowest in seconds": round(slowest, 2),
        "MB of growth": round(grown),
        "grown": int(grown > 200),
    }


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Flips, cuts, repetitions, numbers replaced by huge ones."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        if not data:
            break
        at = chance.randrange(len(data))
        kind = chance.randrange(5)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.choice([1, 4, 100])]
        elif kind == 2:
            data[at:at] = data[at : at + chance.choice([1, 8, 64])]
        elif kind == 3:
            data[at : at + 8] = chance.choice([b"\xff" * 8, b"\0" * 8, b"99999999"])
        else:
            data[at : at + 1] = bytes([chance.choice(b'"{}[],:\\-0.e')])
    return bytes(data)


if __name__ == "__main__":
    print(json.dumps(fuzz(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))

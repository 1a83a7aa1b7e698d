"""Mutated files for every loader: a result or InputError, no crash, no hang, no growth."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults.harness import Lab

MINUTES = float(os.environ.get("FUZZ_MINUTES", "5"))


def run() -> dict[str, Any]:
    """In a process of its own: a crash of tensorstore would end this one."""
    lab = Lab()
    out, _, _ = lab.undisturbed()
    command = [sys.executable, "-m", "tests.faults.fuzz", str(out), str(lab.words), str(MINUTES)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60 * MINUTES + 300
    )
    shutil.rmtree(lab.folder)
    if done.returncode:
        print(done.stderr[-2000:])
        return {"crashes": 1, "exit": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def fuzz(out: Path, words: Path, minutes: float) -> dict[str, Any]:
    import jax

    from jaxmore.data import read_words
    from jaxmore.errors import InputError
    from jaxmore.models import MODELS
    from jaxmore.training.checkpoints import newest_whole, restore
    from jaxmore.training.loop import State
    from jaxmore.training.manifest import MANIFEST, damage, seal
    from jaxmore.training.optimizers import make_optimizer
    from jaxmore.training.run_folder import read_record
    from jaxmore.training.saved_model import load_model

    saved = load_model(out)
    training = saved.record["training"]
    optimizer = make_optimizer(
        "adamw", training["learning_rate"], training["weight_decay"], "step", training["max_steps"]
    )

    def fresh() -> State:
        params = MODELS[saved.type].make(saved.vocab.size, **saved.options).init(jax.random.key(0))
        return State(params, optimizer.init(params))

    template = jax.eval_shape(fresh)
    for old in sorted((out / "checkpoints").glob("step-*"))[:-1]:
        shutil.rmtree(old)
    newest = next((out / "checkpoints").glob("step-*"))

    def sealed() -> None:
        (newest / MANIFEST).unlink()
        seal(newest)  # a hostile checkpoint is sealed as well as any
        assert damage(newest) is None
        checkpoint, _ = newest_whole(out)
        if checkpoint is not None:
            restore(checkpoint, template)

    state = sorted(path for path in (newest / "state").rglob("*") if path.is_file())
    targets: list[tuple[Path, Any]] = [
        (out / "config.json", lambda: load_model(out)),
        (out / "model.safetensors", lambda: load_model(out)),
        (out / "run.json", lambda: read_record(out)),
        (words, lambda: read_words(words)),
        *((path, sealed) for path in state),
        (newest / "record.json", sealed),
    ]
    chance = random.Random(6)
    counts = {"tried": 0, "refused": 0, "loaded": 0, "more than a line": 0}
    slowest = 0.0
    end = time.monotonic() + 60 * minutes
    memory = 0
    while time.monotonic() < end:
        path, load = chance.choice(targets)
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, chance))
        began = time.monotonic()
        try:
            load()
            counts["loaded"] += 1
        except InputError as error:
            counts["refused"] += 1
            counts["more than a line"] += "\n" in str(error)
        except BaseException:
            (out.parent / "crash").write_bytes(path.read_bytes())
            print(f"{path.name}: see {out.parent / 'crash'}", file=sys.stderr)
            raise
        counts["tried"] += 1
        slowest = max(slowest, time.monotonic() - began)
        path.write_bytes(whole)
        if counts["tried"] == 300:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1e3
    return counts | {
        "crashes": 0,
        "slowest in seconds": round(slowest, 2),
        "MB of growth": round(grown),
        "grown": int(grown > 200),
    }


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

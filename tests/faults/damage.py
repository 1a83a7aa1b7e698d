"""A checkpoint's files cut, flipped, deleted, emptied, swapped: no damage may load silently."""

import random
import shutil
from pathlib import Path
from typing import Any

from jaxmore.runs.checkpoints import latest_checkpoint
from tests.faults.harness import Lab

CUTS, FLIPS = 500, 1000


def run() -> dict[str, Any]:
    lab = Lab()
    out, _, _ = lab.undisturbed()
    other = lab.folder / "other"
    lab.run(*lab.train(other, "--seed", 5))
    newest = max((out / "checkpoints").glob("step-*"))
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    chance = random.Random(6)
    counts = {"cuts": 0, "flips": 0, "deleted": 0, "emptied": 0, "swapped": 0, "silent": 0}

    def tried(kind: str, path: Path, content: bytes | None) -> None:
        whole = path.read_bytes()
        if content == whole:
            return
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        checkpoint, damaged = latest_checkpoint(out)
        fell_back = checkpoint is not None and checkpoint.path != newest and newest in damaged
        counts["silent"] += not fell_back
        counts[kind] += 1
        path.write_bytes(whole)

    while counts["cuts"] < CUTS:
        path = chance.choice(files)
        content = path.read_bytes()
        tried("cuts", path, content[: chance.randrange(max(1, len(content)))])
    while counts["flips"] < FLIPS:
        path = chance.choice(files)
        content = bytearray(path.read_bytes())
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            tried("flips", path, bytes(content))
    theirs = max((other / "checkpoints").glob("step-*"))
    for path in files:
        tried("deleted", path, None)
        tried("emptied", path, b"")
        # Orbax names its data files at random: the other run's in the same place of the order.
        twins = sorted((theirs / path.relative_to(newest)).parent.glob("*"))
        places = sorted(path.parent.glob("*"))
        twin = twins[min(places.index(path), len(twins) - 1)]
        if twin.is_file():
            tried("swapped", path, twin.read_bytes())
    # A whole checkpoint of another run is whole: it is refused by its record.
    shutil.rmtree(newest)
    shutil.copytree(theirs, newest)
    code, _, err = lab.run(*lab.train(out, "--resume"))
    counts["another run's"] = 1
    counts["silent"] += not (code == 2 and "is of another run" in err and err.count("\n") == 1)
    shutil.rmtree(lab.folder)
    return counts

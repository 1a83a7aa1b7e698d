"""A pack of two gigabytes: packing killed, training killed within an epoch, every file damaged."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.packs import write_words
from tests.faults.harness import Lab

GIGABYTES = 2.0
KILLED_WHILE_PACKING, KILLED_WHILE_TRAINING = 3, 5


def run() -> dict[str, Any]:
    lab = Lab()
    words, pack = lab.folder / "large.txt", lab.folder / "large.pack"
    counts: dict[str, Any] = {"GB": GIGABYTES, "differing": 0, "silent": 0}
    try:
        write_words(words, int(GIGABYTES * 1e9))
        packing(lab, words, pack, counts)
        lab.words = pack
        training(lab, counts)
        damage(lab, pack, counts)
    finally:
        shutil.rmtree(lab.folder)
    return counts


def packing(lab: Lab, words: Path, pack: Path, counts: dict[str, Any]) -> None:
    """Kill at random moments, go on, and compare with packing that nothing disturbs."""
    started = time.monotonic()
    whole = lab.folder / "whole.pack"
    code, _, err = lab.run("data", "-i", words, "--pack", whole)
    assert code == 0, err
    seconds, chance = time.monotonic() - started, random.Random(6)
    killed = 0
    for _ in range(KILLED_WHILE_PACKING):  # each goes on from the one before
        process = lab.start("data", "-i", words, "--pack", pack)
        time.sleep(chance.uniform(0, seconds / KILLED_WHILE_PACKING))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    code, _, err = lab.run("data", "-i", words, "--pack", pack)
    assert code == 0, err
    # It holds the SHA-256 of every other file, which a run compares when it begins.
    counts["differing"] += (pack / "pack.json").read_bytes() != (whole / "pack.json").read_bytes()
    shutil.rmtree(whole)
    counts |= {"killed while packing": killed, "packed in seconds": round(seconds)}


def training(lab: Lab, counts: dict[str, Any]) -> None:
    """Kill at random moments, resume, and compare with the undisturbed run."""
    out, expected, seconds = lab.undisturbed()
    chance, killed = random.Random(6), 0
    for i in range(KILLED_WHILE_TRAINING):
        out = lab.folder / f"trial-{i}"
        process = lab.start(*lab.train(out))
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        counts["differing"] += not lab.resumed_is(out, expected)
        shutil.rmtree(out, ignore_errors=True)
    counts["killed while training"] = killed


def damage(lab: Lab, pack: Path, counts: dict[str, Any]) -> None:
    """Cut a byte, flip a bit: the file must be named in one line, and nothing trained."""
    chance, out, named = random.Random(6), lab.folder / "damaged", 0
    files = sorted(pack.iterdir())

    def tried(path: Path, mend: Callable[[], None]) -> int:
        code, printed, err = lab.run(*lab.train(out))
        mend()
        well = code == 2 and err.count("\n") == 1 and path.name in err and not out.exists()
        if not well:
            print(f"{path.name}: exit {code}, {printed[-200:]} {err[-300:]}")
            shutil.rmtree(out, ignore_errors=True)
        return well

    for path in files:
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(size - 1)
            last = file.read()
            file.truncate(size - 1)

        def append(path: Path = path, last: bytes = last) -> None:
            with open(path, "ab") as file:
                file.write(last)

        named += tried(path, append)
        place, bit = chance.randrange(size), 1 << chance.randrange(8)

        def flip(path: Path = path, place: int = place, bit: int = bit) -> None:
            with open(path, "r+b") as file:
                (byte,) = os.pread(file.fileno(), 1, place)
                os.pwrite(file.fileno(), bytes([byte ^ bit]), place)

        flip()
        named += tried(path, flip)
    counts["silent"] += 2 * len(files) - named
    counts |= {"damaged": 2 * len(files), "named in one line": named}

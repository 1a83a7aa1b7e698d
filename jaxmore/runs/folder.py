"""The work folder of a run: whose it is, what began it, and whether another may go on. No JAX.

``run.json`` is the run's record: the flags that decide its result, the vocabulary, the data's
SHA-256, the versions. It is written when the run begins, and each checkpoint holds a copy.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from typeguard import TypeCheckError, check_type

from jaxmore.errors import InputError
from jaxmore.runs.checkpoints import CHECKPOINTS, newest_whole
from jaxmore.runs.config import CADENCE, TrainConfig

FORMAT = 1
Config = TypeVar("Config", bound=TrainConfig)
RUN, CONFIG, TENSORS = "run.json", "config.json", "model.safetensors"
NEW_TENSORS = "model.safetensors.new"
METRICS, LOSS_CURVE, LAST = "metrics.jsonl", "loss.png", "last"
SWEEP, SWEEP_CURVES = "sweep.json", "sweep.png"
_OF_A_RUN = (
    *(RUN, CHECKPOINTS, CONFIG, TENSORS, NEW_TENSORS, METRICS, LOSS_CURVE, LAST),
    *(SWEEP, SWEEP_CURVES),
)


def refuse_surprise(config: TrainConfig) -> None:
    """Refuse to mix two runs in a folder, or to resume where there is nothing to resume."""
    folder = Path(config.work_dir)
    if config.resume and config.overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    held = [name for name in _OF_A_RUN if os.path.lexists(folder / name)]
    if config.resume or config.overwrite or not held:
        return
    known = {SWEEP: "a sweep", CONFIG: "a trained model"}
    known |= dict.fromkeys((RUN, CHECKPOINTS), "an unfinished run")
    what = next((text for name, text in known.items() if name in held), held[0])
    goes_on = ", train --resume goes on with it" if {RUN, CHECKPOINTS} & {*held} else ""
    raise InputError(
        f"{folder} holds {what}: --overwrite replaces it{goes_on}, or name another folder with -o"
    )


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Make the folder where it is missing, and keep every other run out of it.

    The lock is the kernel's, on the folder itself: it ends with the process, however that ends,
    and leaves no file behind.
    """
    descriptor = -1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise InputError(f"another run is at work in {folder}") from error
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Delete what a run leaves, and nothing else."""
    for name in _OF_A_RUN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def as_json(record: dict[str, Any]) -> bytes:
    """A record as the text of a file."""
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the run in a folder; that of its newest whole checkpoint if its own is lost."""
    record: Any
    try:
        record = json.loads((folder / RUN).read_bytes())
    except (OSError, ValueError) as error:
        checkpoint, _ = newest_whole(folder)
        if checkpoint is None:
            if isinstance(error, FileNotFoundError):
                raise InputError(f"{folder} holds no run to resume") from error
            raise InputError(f"{folder / RUN} cannot be read, and no checkpoint is whole") from None
        record = checkpoint.record
    expected = {"format", "flags", "data", "vocabulary", "versions"}
    if not isinstance(record, dict) or not expected <= record.keys() or record["format"] != FORMAT:
        raise InputError(f"{folder / RUN} is not the record of a run of this jaxmore")
    return record


def stored_config(asked: Config) -> Config:
    """The flags that the run in a folder began with: the defaults of those that resume it."""
    record = read_record(Path(asked.work_dir))
    path = Path(asked.work_dir) / RUN
    hints = get_type_hints(TrainConfig)
    try:
        flags: dict[str, Any] = {k: v for k, v in record["flags"].items() if k in hints}
    except AttributeError as error:
        raise InputError(f"{path}: {error}") from error
    for name, value in flags.items():
        try:
            check_type(value, hints[name])
        except TypeCheckError as error:
            raise InputError(f"{path}: {name} cannot be {value!r}") from error
    here = {"work_dir": asked.work_dir, "resume": True, "overwrite": False}
    return replace(asked, **(flags | here))


def check_same_run(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse to go on with another run; the line names the first thing that differs."""
    old, new = theirs["flags"], ours["flags"]
    free = {*CADENCE, *(("max_steps",) if new.get("schedule") == "constant" else ())}
    for name in dict.fromkeys([*new, *old]):
        if name not in free and old.get(name) != new.get(name):
            flag = f"--{name.replace('_', '-')}"
            line = f"{flag} is {new.get(name)}, but the run has {old.get(name)}"
            if name == "max_steps":
                schedule = new.get("schedule")
                line += (
                    f": a {schedule} schedule depends on the length, only a constant one does not"
                )
            raise InputError(line)
    if theirs["vocabulary"] != ours["vocabulary"]:
        raise InputError(
            f"the words have {len(ours['vocabulary'])} characters, "
            f"but those of the run {len(theirs['vocabulary'])}, or others: not the run's words"
        )
    if theirs["data"]["sha256"] != ours["data"]["sha256"]:
        raise InputError(f"{ours['data']['file']} is not the file that the run began with")


def note_other_versions(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Say what differs from where the run began: the last bits depend on it."""
    old, new = theirs["versions"], ours["versions"]
    changed = [
        f"{name} {old.get(name)} → {new[name]}" for name in new if old.get(name) != new[name]
    ]
    if changed:
        line = ", ".join(changed)
        print(f"note: not the same bits as before, this run began under: {line}", file=sys.stderr)

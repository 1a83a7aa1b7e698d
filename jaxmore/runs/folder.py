"""The work folder: its files, its lock, the record of its run, and whether the run can be resumed.

``run.json`` is the record of the run: the flags that decide its result, the vocabulary, the SHA-256
of the data, the versions. It is written when the run begins, and each checkpoint holds a copy.
"""

import json
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from filelock import FileLock, Timeout
from typeguard import TypeCheckError, check_type

from jaxmore.errors import InputError
from jaxmore.files import read_file, reason_of, remove, write_atomically
from jaxmore.runs.checkpoints import CHECKPOINTS, latest_checkpoint
from jaxmore.runs.config import CHANGEABLE, PROCESS, TrainConfig

FORMAT = 1
Config = TypeVar("Config", bound=TrainConfig)
RUN, CONFIG, TENSORS = "run.json", "config.json", "model.safetensors"
NEW_TENSORS = "model.safetensors.new"
METRICS, LOSS_CURVE, LAST = "metrics.jsonl", "loss.png", "last"
TENSORBOARD, INSPECTION = "tensorboard", "inspect"
SWEEP, SWEEP_CURVES = "sweep.json", "sweep.png"
_FILES = (
    *(RUN, CHECKPOINTS, CONFIG, TENSORS, NEW_TENSORS, METRICS, LOSS_CURVE, LAST),
    *(SWEEP, SWEEP_CURVES, TENSORBOARD),
)
_FOLDERS = (CHECKPOINTS, LAST, TENSORBOARD)
_INSPECTED = re.compile(
    r"(activations|gradients|training|embedding|dlogits|attention)-(light|dark)\.(png|svg)"
)


@contextmanager
def open_folder(folder: Path, *, overwrite: bool, resume: bool = False) -> Generator[None]:
    """Make the work folder of a run and keep every other run out of it.

    Args:
        folder: the work folder.
        overwrite: whether the run replaces the one that the folder holds.
        resume: whether it goes on with that one.

    Raises:
        InputError: the folder holds a run that is neither resumed nor replaced, another run
            is at work in it, or it cannot be written to.
    """
    with locked(folder):
        # Check again under the lock: another run may have begun since the first check.
        check_overwrite(folder, overwrite=overwrite, resume=resume)
        if resume:
            _check_kinds(folder)
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {reason_of(error)}") from error


def _check_kinds(folder: Path) -> None:
    """Refuse a folder in the place of one of our files, and a file in the place of a folder."""
    for name in _FILES:
        path, kind = folder / name, "folder" if name in _FOLDERS else "file"
        is_right = path.is_dir() if kind == "folder" else path.is_file() or not path.exists()
        if os.path.lexists(path) and not is_right:
            raise InputError(f"{path} is not a {kind}: move it away to resume the run")


def check_overwrite(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Refuse to mix two runs in a folder: ``overwrite`` or ``resume`` says which one stays.

    Raises:
        InputError: both are true, or neither is and the folder holds a file of a run or a sweep.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    held = [name for name in _FILES if os.path.lexists(folder / name)]
    if resume or overwrite or not held:
        return
    known = {SWEEP: "a sweep", CONFIG: "a trained model"}
    known |= dict.fromkeys((RUN, CHECKPOINTS), "an unfinished run")
    what = next((text for name, text in known.items() if name in held), held[0])
    resumes = ", train --resume goes on with it" if {RUN, CHECKPOINTS} & {*held} else ""
    raise InputError(
        f"{folder} holds {what}: --overwrite replaces it{resumes}, or name another folder with -o"
    )


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Make the folder if it is missing, and lock it. The lock dies with its process.

    Raises:
        InputError: another process holds the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"another run is at work in {folder}") from error
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {reason_of(error)}") from error
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Delete the files of a run, and nothing else."""
    for name in _FILES:
        remove(folder / name)
    figures = folder / INSPECTION  # a name that a folder of the user's may have
    for path in figures.glob("*"):
        if _INSPECTED.fullmatch(path.name):
            remove(path)
    with suppress(OSError):  # it is not there, or holds other files
        figures.rmdir()


def replace_run(folder: Path, name: str, content: bytes) -> None:
    """Write the first file of a run, and delete the files of the run before it.

    Nothing is deleted before the new file is on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    new = folder / f".{name}.new"
    write_atomically(new, content)
    clear(folder)
    os.replace(new, folder / name)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of the run in a folder, or that of its latest intact checkpoint.

    Raises:
        InputError: neither can be read, or the record is not one of this jaxmore.
    """
    record: Any
    try:
        record = json.loads(read_file(folder / RUN))
    except (OSError, ValueError) as error:
        checkpoint, _ = latest_checkpoint(folder)
        if checkpoint is None:
            if isinstance(error, FileNotFoundError):
                raise InputError(f"{folder} holds no run to resume") from error
            raise InputError(
                f"{folder / RUN} cannot be read, and no checkpoint is intact"
            ) from None
        record = checkpoint.record
    expected = {"format", "flags", "data", "vocabulary", "versions"}
    if not isinstance(record, dict) or not expected <= record.keys() or record["format"] != FORMAT:
        raise InputError(f"{folder / RUN} is not the record of a run of this jaxmore")
    return record


def check_types(flags: dict[str, Any]) -> None:
    """Check that each flag has a value of its type. Names that are no flags pass.

    Raises:
        InputError: one has not.
    """
    hints = get_type_hints(TrainConfig)
    for name, value in flags.items():
        try:
            check_type(value, hints.get(name, Any))
        except TypeCheckError as error:
            raise InputError(f"{name} cannot be {value!r}") from error


def stored_config(asked: Config) -> Config:
    """Return the flags that the run in a folder began with, the defaults of resuming it.

    Raises:
        InputError: the folder holds no run, or its flags cannot be read.
    """
    record = read_record(Path(asked.work_dir))
    path = Path(asked.work_dir) / RUN
    names = get_type_hints(TrainConfig)
    try:
        flags: dict[str, Any] = {k: v for k, v in record["flags"].items() if k in names}
    except AttributeError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        check_types(flags)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    here: dict[str, Any] = {"work_dir": asked.work_dir, "resume": True, "overwrite": False}
    here |= {name: getattr(asked, name) for name in PROCESS}
    return replace(asked, **(flags | here))


def check_same_run(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse to resume a run with other flags or words than it began with.

    Raises:
        InputError: names the first difference.
    """
    old, new = asdict(TrainConfig()) | theirs["flags"], ours["flags"]
    if (old["mesh"] is None) != (new["mesh"] is None):
        began, now = ("with", "without") if old["mesh"] else ("without", "with")
        raise InputError(
            f"the run began {began} --mesh, and its bits differ {now} it: resume it {began} --mesh"
        )
    free = {*CHANGEABLE, *(("max_steps",) if new.get("schedule") == "constant" else ())}
    if not new["deterministic"]:
        free -= {"mesh", "shard_params"}
    for name in dict.fromkeys([*new, *old]):
        if name not in free and old.get(name) != new.get(name):
            flag = f"--{name.replace('_', '-')}"
            line = f"{flag} is {new.get(name)}, but the run has {old.get(name)}"
            if name == "max_steps":
                schedule = new.get("schedule")
                line += f": a {schedule} schedule depends on it, a constant one does not"
            raise InputError(line)
    if theirs["vocabulary"] != ours["vocabulary"]:
        raise InputError(
            f"the words have {len(ours['vocabulary'])} distinct characters, which are not the "
            f"{len(theirs['vocabulary'])} of the run: name its words with -i"
        )
    if theirs["data"]["sha256"] != ours["data"]["sha256"]:
        raise InputError(f"{ours['data']['file']} is not the file that the run began with")


def note_other_versions(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Print what differs from where the run began, since the last bits depend on it."""
    old, new = theirs["versions"], ours["versions"]
    changed = [
        f"{name} {old.get(name)} → {new[name]}" for name in new if old.get(name) != new[name]
    ]
    if changed:
        line = ", ".join(changed)
        print(f"note: the last bits may differ, since this has changed: {line}", file=sys.stderr)

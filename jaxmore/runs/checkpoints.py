"""Checkpoints: folders that appear whole or not at all, each sealed by a manifest.

``checkpoints/step-000000030000/`` holds Orbax's ``state/`` (parameters and optimiser state), our
``record.json`` (see records.py) and ``manifest.sha256``, the SHA-256 of every file in the format of
``sha256sum``, so ``sha256sum -c manifest.sha256`` checks a folder as well. No name in a manifest is
followed: the manifest is computed again and compared. Orbax is imported only to write or read the
arrays.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxmore.errors import InputError
from jaxmore.files import as_json, remove, sync

CHECKPOINTS, RECORD, MANIFEST = "checkpoints", "record.json", "manifest.sha256"
KEEP = 3
"""How many checkpoints a run keeps, in case the latest turns out damaged."""
_ONE_SAVE = threading.Lock()
_PARTIAL, _STEP, _DAMAGED = ".partial", "step-", "damaged-"


class Checkpoint(NamedTuple):
    """An intact checkpoint."""

    path: Path
    step: int
    record: dict[str, Any]


def write_checkpoint(work_dir: Path, step: int, state: Any, record: dict[str, Any]) -> None:
    """Save a state and its record; when the call returns they are on the disk.

    Of several processes each calls it, and Orbax writes the shards of each. The first one prepares
    the folder, for which Orbax lets the others wait, and seals it when all have written.

    Args:
        work_dir: the work folder.
        step: the number of steps that the state has done.
        state: a NamedTuple of trees of arrays, on the host or on the devices of all processes.
        record: JSON; the first process's is written.

    Raises:
        OSError: the checkpoint cannot be written. Earlier ones are unchanged.
    """
    import jax

    folder, target = work_dir / CHECKPOINTS, checkpoint_folder(work_dir, step)
    partial = folder / _PARTIAL
    if jax.process_index() == 0:
        if target.exists():
            if damage(target) is None:
                return
            mark_damaged(target)
        remove(partial)
        partial.mkdir(parents=True)
    with (
        _no_leak(),
        _utf8_path(partial) as path,
        _orbax(set(range(jax.process_count()))) as orbax,
    ):
        orbax.save(path / "state", state._asdict())
    if jax.process_index() != 0:
        return
    (partial / RECORD).write_bytes(as_json({"step": step, **record}))
    seal(partial)
    os.rename(partial, target)
    sync(folder)
    sync(work_dir)
    for old in _by_step(folder)[:-KEEP]:
        shutil.rmtree(old)


def checkpoint_folder(work_dir: Path, step: int) -> Path:
    """Return where the checkpoint of a step is, or would be."""
    return work_dir / CHECKPOINTS / f"{_STEP}{step:012d}"


def latest_checkpoint(work_dir: Path) -> tuple[Checkpoint | None, dict[Path, str]]:
    """Find the latest intact checkpoint, and say what is wrong with each later one."""
    damaged: dict[Path, str] = {}
    for path in reversed(_by_step(work_dir / CHECKPOINTS)):
        wrong = damage(path)
        if wrong is None:
            try:
                record = json.loads((path / RECORD).read_bytes())
                return Checkpoint(path, int(record.pop("step")), record), damaged
            except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                wrong = f"{RECORD!r} cannot be read: {error}"
        damaged[path] = wrong
    return None, damaged


def mark_damaged(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it is neither resumed from nor counted."""
    target = path.with_name(f"{_DAMAGED}{path.name}")
    remove(target)
    return path.rename(target)


def restore(folder: Path, template: Any) -> Any:
    """Read the state of a checkpoint, with the structure, shapes and dtypes of ``template``.

    An array lies on one device, or is sharded as the template says: then each process reads its
    own shards, whatever shards were written.

    Nothing larger than the template is allocated, and no code is run: Orbax's arrays are zarr
    chunks.

    Raises:
        InputError: the arrays do not match the template.
    """
    import jax
    import orbax.checkpoint as ocp

    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(
            a.shape, a.dtype, sharding=getattr(a, "sharding", None) or device
        ),
        template._asdict(),
    )
    try:
        with (
            _utf8_path(folder) as path,
            _orbax({jax.process_index()}) as orbax,
        ):
            _check_arrays(path / "state", shapes)
            arguments = ocp.checkpoint_utils.construct_restore_args(shapes)
            trees = orbax.restore(
                path / "state", args=ocp.args.PyTreeRestore(item=shapes, restore_args=arguments)
            )
    except Exception as error:  # tensorstore and Orbax raise many kinds for the same damage
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"{folder} cannot be read: {reason}") from error
    return type(template)(**trees)


def _orbax(processes: set[int]) -> Any:
    """Return a checkpointer whose calls wait for these processes, of which one is this."""
    import jax
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    # Named, they wait through the service of jax.distributed; all unnamed, by collectives, which
    # would mix with those of the steps.
    options = ocp.options.MultiprocessingOptions(
        primary_host=min(processes),
        active_processes=processes,
        barrier_sync_key_prefix="-".join(map(str, sorted(processes))),
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


@contextmanager
def _utf8_path(folder: Path) -> Generator[Path]:
    """Name a folder by an absolute path in UTF-8, which tensorstore needs.

    Elsewhere a path may hold any bytes; under an ASCII locale even an "é" is a lone surrogate.
    """
    folder = folder.resolve()
    if str(folder).encode("utf-8", "ignore") == os.fsencode(folder):
        yield folder
    else:
        with tempfile.TemporaryDirectory() as elsewhere:
            link = Path(elsewhere) / "link"
            link.symlink_to(folder, target_is_directory=True)
            yield link


@contextmanager
def _no_leak() -> Generator[None]:
    """Replace ``KvStore.Spec.to_json`` of tensorstore, which leaks memory, while Orbax saves.

    Orbax calls it once per array. In tensorstore 0.1.71 to 0.1.86 it never frees the strings that
    it returns, and each checkpoint leaks 25 kB.
    """
    from tensorstore import KvStore

    spec_type: Any = KvStore.Spec
    with _ONE_SAVE:  # else one thread could restore the replacement of another
        leaking = vars(spec_type).get("to_json")  # getattr would return a bound method

        def to_json(spec: Any, *options: Any, **named: Any) -> Any:
            if not (options or named) and spec.base is None and spec.url.startswith("file:"):
                return {"driver": "file", "path": spec.path}
            return leaking(spec, *options, **named)

        if leaking is None:  # another tensorstore, not known to leak
            yield
            return
        spec_type.to_json = to_json
        try:
            yield
        finally:
            spec_type.to_json = leaking


def _by_step(folder: Path) -> list[Path]:
    names = sorted(folder.glob(f"{_STEP}*")) if folder.is_dir() else []
    return [path for path in names if path.name.removeprefix(_STEP).isdecimal()]


def _check_arrays(path: Path, shapes: Any) -> None:
    # Checked before anything is read, because a chunk is as large as its header says.
    import jax
    import tensorstore

    files: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/"}).result()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = jax.tree_util.keystr(keys, simple=True, separator=".")
        header = json.loads(files.read(f"{name}/.zarray").result().value or b"{}")
        shape, chunks = header.get("shape"), header.get("chunks") or []
        whole = [max(1, n) for n in leaf.shape]
        shards = len(chunks) == len(whole) and all(
            chunk > 0 and n % chunk == 0 for chunk, n in zip(chunks, whole, strict=True)
        )
        if shape != list(leaf.shape) or not shards:
            raise ValueError(
                f"{name} has shape {shape} in chunks of {chunks}, expected {list(leaf.shape)}"
            )


def seal(folder: Path) -> None:
    """Write the manifest of a finished folder and flush all of it to the disk."""
    (folder / MANIFEST).write_text(_manifest(folder), encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        sync(path)


def damage(folder: Path) -> str | None:
    """Say in a few words what is wrong with a sealed folder; None if it is intact."""
    try:
        sealed = (folder / MANIFEST).read_bytes()
        found = _manifest(folder).encode()
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else str(error)) or "unreadable"
    if sealed == found:
        return None
    differing = set(sealed.splitlines()) ^ set(found.splitlines())
    names = sorted({line.split(b"  ")[-1].decode("utf-8", "replace") for line in differing})
    return f"{names[0]!r} is not as it was sealed" if names else f"{MANIFEST!r} was cut"


def _manifest(folder: Path) -> str:
    lines: list[str] = []
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISREG(mode) and name != MANIFEST:
            with open(path, "rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"{name!r} is neither a file nor a folder")
    return "".join(lines)

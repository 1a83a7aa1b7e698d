"""Checkpoints: what a run needs to go on, in sealed folders that appear whole or not at all.

``checkpoints/step-000000030000/`` holds Orbax's ``state/`` (parameters and optimiser), our
``record.json`` (the run, see run_folder.py) and a manifest. Orbax is imported only to write or
to read the arrays.
"""

import json
import os
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxmore.errors import InputError
from jaxmore.runs.manifest import damage, seal, sync

CHECKPOINTS, RECORD = "checkpoints", "record.json"
KEEP = 3
"""Checkpoints that a run leaves: should the newest turn out damaged, there is one before it."""
_ONE_SAVE = threading.Lock()
_PARTIAL, _STEP, _DAMAGED = ".partial", "step-", "damaged-"


class Checkpoint(NamedTuple):
    """A checkpoint whose files are as they were sealed."""

    path: Path
    step: int
    record: dict[str, Any]


def write_checkpoint(work_dir: Path, step: int, state: Any, record: dict[str, Any]) -> None:
    """Save a state (a NamedTuple of trees of arrays on the host); afterwards it is on the disk."""
    import orbax.checkpoint as ocp

    folder = work_dir / CHECKPOINTS
    target = folder / f"{_STEP}{step:012d}"
    if target.exists():
        if damage(target) is None:
            return
        set_aside(target)
    partial = folder / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with _no_leak(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
        orbax.save(partial.resolve() / "state", state._asdict())
    (partial / RECORD).write_text(json.dumps({"step": step, **record}, ensure_ascii=False))
    seal(partial)
    os.rename(partial, target)
    sync(folder)
    sync(work_dir)
    for path in _by_step(folder)[:-KEEP]:
        shutil.rmtree(path)


def newest_whole(work_dir: Path) -> tuple[Checkpoint | None, dict[Path, str]]:
    """The newest checkpoint that is whole, and what is wrong with each newer one."""
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


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it is neither resumed from nor counted."""
    target = path.with_name(f"{_DAMAGED}{path.name}")
    shutil.rmtree(target, ignore_errors=True)
    return path.rename(target)


def restore(checkpoint: Checkpoint, template: Any) -> Any:
    """The saved state, in the trees and with exactly the shapes and dtypes of ``template``.

    Raises:
        InputError: the arrays are not those of the template. Nothing larger than the template
            is allocated, and no code is run: Orbax's arrays are zarr chunks.
    """
    import jax
    import orbax.checkpoint as ocp

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), template._asdict()
    )
    path = checkpoint.path.resolve() / "state"
    try:
        _check_arrays(path, shapes)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
            arguments = ocp.checkpoint_utils.construct_restore_args(shapes)
            trees = orbax.restore(
                path, args=ocp.args.PyTreeRestore(item=shapes, restore_args=arguments)
            )
    except Exception as error:  # tensorstore and Orbax raise a dozen kinds for the same thing
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"{checkpoint.path} cannot be read: {reason}") from error
    return type(template)(**trees)


@contextmanager
def _no_leak() -> Generator[None]:
    """Have Orbax, which asks for the JSON of a file's name with every array, get it from us.

    tensorstore's own (0.1.71 to 0.1.86 at least) never frees the keys and values that it returns:
    small strings, but they pin what lies around them, 25 kB of memory with each checkpoint.
    """
    from tensorstore import KvStore

    spec_type: Any = KvStore.Spec
    with _ONE_SAVE:  # lest one thread take the other's for tensorstore's
        leaking = vars(spec_type).get("to_json")  # as an attribute it would not be bound again

        def to_json(spec: Any, *options: Any, **named: Any) -> Any:
            if not (options or named) and spec.base is None and spec.url.startswith("file:"):
                return {"driver": "file", "path": spec.path}
            return leaking(spec, *options, **named)

        if leaking is None:  # another tensorstore, whose leak is not known
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
    # Before anything is read: a chunk may be as large as its header says, whatever is asked for.
    import jax
    import tensorstore

    files: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/"}).result()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = jax.tree_util.keystr(keys, simple=True, separator=".")
        header = json.loads(files.read(f"{name}/.zarray").result().value or b"{}")
        expected = [max(1, n) for n in leaf.shape]
        if header.get("shape") != list(leaf.shape) or header.get("chunks") != expected:
            raise ValueError(f"{name} has shape {header.get('shape')}, expected {leaf.shape}")

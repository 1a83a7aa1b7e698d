"""Several processes of one run, through ``jax.distributed``: joining, agreeing, ending together.

Every process computes the same steps on its share of each batch, and the same evaluations. The
first one alone prints, and writes all but the arrays of a checkpoint, of which each process writes
and reads its own shards. It tells the others where a run begins, when to save and when to stop.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmore.errors import InputError
from jaxmore.files import as_json
from jaxmore.runs.checkpoints import checkpoint_folder, restore
from jaxmore.runs.config import PROCESS, TrainConfig, check_at_least
from jaxmore.runs.folder import RUN
from jaxmore.runs.prepared import PreparedRun
from jaxmore.runs.saver import Saver
from jaxmore.runs.signals import SIGNALS, Stopped
from jaxmore.runs.trained import Trained
from jaxmore.runs.trainer import BestLoss, RunState, Trainer

PATIENCE = 60
"""Seconds that the processes wait for each other when they begin."""
READER = """
import sys
said = False
for line in sys.stdin.buffer:
    ours = line.startswith(b"jaxmore: ")
    if not said and (ours or b"Terminating process" in line or b"terminate called" in line):
        print(line.decode().rstrip() if ours else sys.argv[1], file=sys.stderr, flush=True)
        said = True
"""
HEARTBEAT = 20
"""Seconds after which a silent process counts as gone."""
OWN = ("input_file", "work_dir", "overwrite", "resume", "save_every", "tensorboard", *PROCESS)
"""Flags that the processes of a run need not share."""


def join(config: TrainConfig) -> None:
    """Join the processes that the flags name.

    Raises:
        InputError: the flags do not go together, or the processes do not find each other.
    """
    if config.mesh is None:
        raise InputError(
            "--coordinator, --num-processes and --process-id need --mesh, such as --mesh data=2"
        )
    if config.coordinator == "auto":  # SLURM, Kubernetes, Open MPI: what JAX detects
        address, number, index = None, None, None
    elif config.coordinator is None or config.num_processes is None or config.process_id is None:
        raise InputError("--coordinator, --num-processes and --process-id need each other")
    else:
        address, number, index = config.coordinator, config.num_processes, config.process_id
        check_at_least("num_processes", number, 1)
        if not 0 <= index < number:
            raise InputError(f"--process-id must lie in 0..{number - 1}, got {index}")
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal()):
            raise InputError(f"--coordinator {address} must be HOST:PORT")
        if index:
            _find(host, int(port))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Two programs at once would take each other's messages.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    _translate_streams("" if config.process_id is None else f" {config.process_id}")
    # When its own time is up, JAX ends the process without an exception.
    giving_up = threading.Timer(PATIENCE, _give_up)
    giving_up.daemon = True
    giving_up.start()
    try:
        jax.distributed.initialize(
            address,
            number,
            index,
            initialization_timeout=2 * PATIENCE,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "").partition(" Additional GRPC")[0]
        raise InputError(f"the processes do not find each other: {reason}") from error
    finally:
        giving_up.cancel()


def _give_up() -> None:
    line = f"the processes do not find each other within {PATIENCE} s: is one missing?"
    print(f"jaxmore: {line}", file=sys.stderr, flush=True)
    os._exit(2)


def _translate_streams(which: str) -> None:
    """Keep what XLA and Gloo print in C++ from the user, but for the news that a process is gone.

    XLA ends a process that has lost the first one at once, after lines about its services: a
    process beside ours reads them, and says it in one.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    line = f"jaxmore: process{which}: another process is gone, or cannot be reached"
    reader = subprocess.Popen(
        [sys.executable, "-S", "-c", READER, line], stdin=subprocess.PIPE, start_new_session=True
    )
    if reader.stdin is not None:
        os.dup2(reader.stdin.fileno(), 1)
        os.dup2(reader.stdin.fileno(), 2)
        reader.stdin.close()


def _find(host: str, port: int) -> None:
    """Wait until the first process listens, which JAX would make a crash of."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection((host, port), timeout=PATIENCE):
                return
        except (OSError, OverflowError) as error:
            if time.monotonic() > until:
                raise InputError(
                    f"--coordinator {host}:{port} cannot be reached: {error}"
                ) from error
            time.sleep(0.2)


def is_first() -> bool:
    """Tell whether this process prints; a single one does."""
    return jax.process_index() == 0


def ignore_signals() -> None:
    """Ignore the signals that stop a run: the first process gets them, and tells the others."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def follow(run: PreparedRun, work_dir: Path, save_every: float) -> Trained:
    """Train as a process that is not the first."""
    agree(run)
    agree_on_folder(work_dir)
    start = told(run, work_dir, None)
    with Saver(work_dir, save_every, saved=start.step or None) as saver:
        trainer = Trainer(run, start, None, saver, of_first=of_first, quiet=True, progress=False)
        best = trainer.best_model.update(trainer.train())
    wait_for_all()
    return best


def agree(run: PreparedRun) -> None:
    """Check that all processes have the same flags, words, model and versions.

    Raises:
        InputError: in every process: one has others than the first, or there is patience, which
            each would count by losses of its own.
    """
    if run.cadence.patience is not None:
        raise InputError("--patience needs a run of one process")
    record = run.record
    flags = {name: value for name, value in record["flags"].items() if name not in OWN}
    versions = {name: record["versions"][name] for name in ("jaxmore", "jax", "jaxlib")}
    parts = [flags, record["data"]["sha256"], repr(run.model), versions]
    _check_same(as_json(parts), "other flags or words than process 0, or another version or model")


def agree_on_folder(work_dir: Path, *, seconds: int = 0) -> None:
    """Check that all processes see the same run in the work folder, or none.

    Args:
        work_dir: the work folder.
        seconds: how long it may take until they do.

    Raises:
        InputError: in every process: one sees another.
    """
    record = work_dir / RUN
    what = f"another folder than process 0 at {work_dir}, where each writes its shards"
    for _ in range(seconds):
        with suppress(InputError):  # raised in all processes or in none, so that all try again
            return _check_same(_content(record), what)
        time.sleep(1)
    return _check_same(_content(record), what)


def _content(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def told(run: PreparedRun, work_dir: Path, start: RunState | None) -> RunState:
    """Return where the first process begins; it has prepared the folder.

    ``start`` is None in the others.

    Raises:
        InputError: in every process: one does not see that folder.
    """
    numbers = [start.step, *start.best] if start else [0] * 4
    step, best_step, loss, since = tell(np.array(numbers, np.float64)).tolist()
    # A network file system may take a while to show the others what the first one wrote.
    agree_on_folder(work_dir, seconds=PATIENCE)
    if step == 0:  # equal already, on equal processors
        state = run.devices.begin(tell(run.first_state()))
    elif start:
        state = start.state
    else:
        # The first process has found it intact.
        folder = checkpoint_folder(work_dir, int(step))
        state = restore(folder, run.devices.add_shardings(run.state_shapes()))
    return RunState(int(step), state, BestLoss(int(best_step), loss, int(since)))


def _check_same(content: bytes, what: str) -> None:
    from jax.experimental import multihost_utils

    digest = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
    theirs = np.asarray(multihost_utils.process_allgather(digest))
    others = np.flatnonzero((theirs != theirs[0]).any(axis=1))
    if others.size:
        raise InputError(f"process {others[0]} has {what}")


def of_first(number: int) -> int:
    """Return the number that the first process has."""
    return int(tell(np.array(number, np.int32)))


def wait_for_all() -> None:
    """Wait until every process has come here: the first still writes when the others are done."""
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("done")


def tell(tree: Any) -> Any:
    """Return the arrays that the first process has, equal in shape and dtype to ours.

    They travel as one array of bytes: Gloo mixes up messages of one program that no data orders.
    """
    from jax.experimental import multihost_utils

    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    content = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    told = np.asarray(multihost_utils.broadcast_one_to_all(content)).astype(np.uint8).tobytes()
    ends = np.cumsum([0, *(leaf.nbytes for leaf in leaves)])
    arrays = [
        np.frombuffer(told[a:b], leaf.dtype).reshape(leaf.shape)
        for leaf, a, b in zip(leaves, ends[:-1], ends[1:], strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)


@contextmanager
def ending_together() -> Generator[None]:
    """End this process with one line on any error, without waiting for processes that are gone."""
    try:
        yield
    except BaseException as error:
        code, line, stream = 2, str(error), sys.stderr
        if isinstance(error, Stopped | KeyboardInterrupt):
            code, line = getattr(error, "exit_code", 130), line or "interrupted"
        elif isinstance(error, jax.errors.JaxRuntimeError | ConnectionError) or "Gloo" in line:
            # Reading a result that another process never sent raises Gloo's text as a ValueError.
            first = next(iter(line.splitlines()), type(error).__name__)
            # XLA may notice it too: of its lines and ours, the reader passes on the first.
            stream = os.fdopen(2, "w", encoding="utf-8", errors="replace", closefd=False)
            line = f"another process is gone, or cannot be reached: {first[:120]}"
        elif not isinstance(error, InputError):
            code, line = 1, traceback.format_exc()
        print(f"jaxmore: process {jax.process_index()}: {line}", file=stream, flush=True)
        if isinstance(error, InputError | Stopped) and is_first():
            # The others end in the same way; without this process, XLA would end them first.
            time.sleep(2)
        os._exit(code)

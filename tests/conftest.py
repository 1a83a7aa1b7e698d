"""What the whole suite shares: checked shapes, dtypes, the seeds' names and the oracle."""

import gc
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

# What one worker or subprocess compiles the others load, from a folder of this run of pytest: the
# user's cache is neither read nor filled, and every run compiles anew.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = TemporaryDirectory(prefix="jaxmore-compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see jaxmore/runs/compilation_cache.py

import jax
import pytest
from jaxtyping import install_import_hook

from tests.tolerance import TOLERANCE

# What is compiled lives as long as the run, and every collection would walk it all.
gc.set_threshold(200_000, 50, 50)

# Every shape and dtype in these signatures is checked at each call (under jit: at each trace).
# The hook rewrites a module while it is imported, so it must come before the first jaxmore.
CHECKED = [
    "rules",
    "layers",
    "models",
    "backprop",
    "drop_in",
    "ninja.attention",
    "ninja.closed_forms",
    "ninja.gru",
    "ninja.stepwise",
    "training",
    "runs",
]
if find_spec("beartype"):
    install_import_hook([f"jaxmore.{module}" for module in CHECKED], "beartype.beartype")

# The same draws every time, and no deadline: the first draw compiles.
if find_spec("hypothesis"):
    from hypothesis import settings

    settings.register_profile("suite", deadline=None, derandomize=True, database=None)
    settings.load_profile("suite")


def refuse_the_network(event: str, args: tuple[Any, ...]) -> None:
    """Refuse this process a connection to another machine. A subprocess has no such hook."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(
        args[1], tuple
    ):
        host = args[1][0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        raise RuntimeError(f"{event} {host}: no test may connect to another machine")


sys.addaudithook(refuse_the_network)

# Searched for doctests like every module, and they need torch.
collect_ignore = [] if find_spec("torch") else ["oracle.py", "mutants", "prove/mutants.py"]


# Slow tests in these folders spend most of their time compiling, and pass at any level of XLA's
# optimisation.
GRADIENTS = {"rules", "layers", "models", "testing", "prove"}
# They take minutes: they come first, so that no worker has one to itself at the end.
LONGEST = {"test_on_eight_devices", "test_the_parts_run_where_there_is_no_gpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the tests in a browser, and the cases that ``@pytest.mark.quick`` leaves out.

    Mark the slow tests of gradients, and put the longest tests first. The doctests of hijax
    primitives are skipped where the installed jax has none.
    """
    from jaxmore.drop_in import HiPrim  # after the import hook

    for item in items:
        if isinstance(item, pytest.Function):
            quick = item.get_closest_marker("quick")
            if quick:
                case = item.callspec.id
                slow = not {case, *case.split("-")} & set(quick.args)
            else:
                slow = "browser" in item.fixturenames
            if slow:
                item.add_marker(pytest.mark.slow)
            if item.path.parent.name in GRADIENTS and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.gradients)
        elif "hiprim" in item.name and HiPrim is None:
            item.add_marker(pytest.mark.skip(reason="hijax primitives came with jax 0.9"))
    items.sort(key=lambda item: item.name not in LONGEST)


def pytest_collection_finish() -> None:
    """What is imported stays: no collection need walk it."""
    gc.collect()
    gc.freeze()


MODULES = itertools.count(1)


@pytest.fixture(autouse=True, scope="module")
def _forget_what_is_compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Free the compiled programs, which would take gigabytes at the end.

    In a run of all tests after each module. The quick ones are few and small, and share programs.
    """
    yield
    quick = request.config.option.markexpr == "not slow"
    if not quick or next(MODULES) % 10 == 0:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """No silent mixing of dtypes. For rules, layers and models only: optax needs the mixing."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 in this test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """This test twice: in float32, and in float64 with x64 on."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def tolerance(dtype: str) -> float:
    """What a gradient may be off, in units of its condition scale (tests/oracle.py)."""
    return TOLERANCE[dtype]


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """PyTorch's autograd (tests/oracle.py); skips the tests that ask for it where torch is not."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    torch.set_num_threads(1)  # each xdist worker has a core, and the tensors are small
    from tests import oracle

    return oracle


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of words to train on, in a folder of its own."""
    from tests.command_line import WORDS  # after the import hook

    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def seed_names() -> list[str]:
    """The seeds' 32,033 names in file order; skips where their file is not."""
    from jaxmore.data import NAMES_SHA256, read_words

    path = Path(os.environ.get("JAXMORE_NAMES", ""))
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == NAMES_SHA256:
        return read_words(path)
    pytest.skip("needs the seeds' names.txt: jaxmore data --download, then set JAXMORE_NAMES")

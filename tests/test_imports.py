"""The rooms: no module hides behind a function, and nothing POSIX-only is needed."""

import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import jaxmore

PACKAGES = ["rules", "layers", "models", "data", "training", "runs", "ninja", "interop", "testing"]

HIDE = """
import sys, warnings
warnings.simplefilter("ignore")  # filelock says that its lock is a soft one
hidden = ("fcntl", "grp", "pwd", "syslog", "termios", "tty", "uvloop")
for name in hidden:
    sys.modules[name] = None
"""
IMPORT_ALL = """
import importlib, pkgutil, jaxmore
for module in pkgutil.walk_packages(jaxmore.__path__, "jaxmore."):
    if not module.name.endswith(("__main__", "strategies")):
        importlib.import_module(module.name)
"""
TRAIN = """
from jaxmore import cli
cli.main(["train", "-i", "words.txt", "-o", "out", "--max-steps", "6", "-b", "4"])
cli.main(["train", "--resume", "-o", "out"])
cli.main(["sample", "-o", "out", "-n", "2"])
"""


def python(program: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_module_is_what_its_name_imports() -> None:
    for package in PACKAGES:
        root = import_module(f"jaxmore.{package}")
        for found in pkgutil.iter_modules(root.__path__):
            if found.name not in ("pytest_plugin", "strategies"):
                import_module(f"jaxmore.{package}.{found.name}")
                module = getattr(root, found.name)
                assert isinstance(module, ModuleType), f"{package}.{found.name} is {module!r}"


def test_no_folder_and_no_file_is_too_long() -> None:
    root = Path(jaxmore.__file__).parent
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        modules = list(folder.glob("*.py"))
        assert len(modules) <= 20, folder
        for path in modules:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 315, path


def test_commands_import_no_jax_until_they_run(tmp_path: Path) -> None:
    program = "import sys, jaxmore.cli, jaxmore.data, jaxmore.runs.config, jaxmore.runs.folder"
    heavy = python(f"{program}\nprint({{'jax', 'matplotlib'}} & {{*sys.modules}})", tmp_path)
    assert heavy == "set()\n"


@pytest.mark.slow
def test_it_trains_without_posix_modules(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(
        "\n".join(["ava", "mia", "zoe", "lea"] * 5), encoding="utf-8"
    )
    said = python(HIDE + IMPORT_ALL + TRAIN, tmp_path)
    assert "6 steps" in said
    assert (tmp_path / "out" / "model.safetensors").exists()

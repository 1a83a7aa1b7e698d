"""The wheel, the sdist, an installation elsewhere, and the bans that ruff enforces."""

import ast
import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import jaxmore

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Return what a command prints, and show it where the command fails."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("JAXMORE_NAMES", "PYTHONPATH")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


# The builds --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and from the sdist the wheel, without the network."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in an empty environment that sees this one's other packages."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file comes last, and the .pth files in there (the checkout's) do not count.
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "this_environment.pth").write_text("\n".join(sorted(here)) + "\n", "utf-8")
    return folder


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"jaxmore", f"jaxmore-{jaxmore.__version__}.dist-info"}
    sources = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.pyi", "py.typed", "colours.css", "network.json")
        for path in (ROOT / "jaxmore").rglob(pattern)
    }
    page = (ROOT / "jaxmore" / "explore" / "page").iterdir()
    sources |= {path.relative_to(ROOT).as_posix() for path in page}
    assert {"jaxmore/py.typed", "jaxmore/explore/page/index.html"} <= sources
    assert {n for n in names if n.startswith("jaxmore/")} == sources | {"jaxmore/data/names.txt"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_from_the_checkout_equals_the_wheel_from_the_sdist(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    (direct,) = tmp_path.glob("*.whl")

    def contents(path: Path) -> dict[str, int]:
        return {info.filename: info.CRC for info in zipfile.ZipFile(path).infolist()}

    assert contents(direct) == contents(wheel)


def test_sdist_holds_the_corpus_and_the_tests(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"data/names.txt", "jaxmore/py.typed", "tests/test_packaging.py", "Makefile"} <= names


def test_metadata(wheel: Path) -> None:
    text = zipfile.ZipFile(wheel).read(f"jaxmore-{jaxmore.__version__}.dist-info/METADATA")
    metadata = email.message_from_bytes(text)
    assert metadata["Version"] == jaxmore.__version__
    assert metadata["License-Expression"] == "MIT"
    always = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert len(always) == len(PYPROJECT["project"]["dependencies"])
    assert not [r for r in always if r.startswith("torch")], "torch never is a runtime dependency"


@pytest.mark.slow
def test_installed_command_runs_from_another_folder(elsewhere: Path, tmp_path: Path) -> None:
    command = elsewhere / "bin" / "jaxmore"
    assert jaxmore.__version__ in run(command, "--version", cwd=tmp_path)
    assert "train" in run(command, "--help", cwd=tmp_path)
    assert "train" in run(elsewhere / "bin" / "python", "-m", "jaxmore", "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_installed_package_finds_its_corpus(elsewhere: Path, tmp_path: Path) -> None:
    program = """
import jaxmore, json
from jaxmore.data import embedded_corpus, read_words
path = embedded_corpus()
print(json.dumps([jaxmore.__file__, str(path), list(read_words(path))]))
"""
    module, path, words = json.loads(
        run(elsewhere / "bin" / "python", "-c", program, cwd=tmp_path).splitlines()[-1]
    )
    assert Path(module).is_relative_to(elsewhere)
    assert Path(path).is_relative_to(elsewhere)
    assert words == (ROOT / "data" / "names.txt").read_text("utf-8").split()


def test_help_does_not_wait_for_jax(elsewhere: Path, tmp_path: Path) -> None:
    shown = run(
        *(elsewhere / "bin" / "python", "-X", "importtime", "-m", "jaxmore", "--help"),
        cwd=tmp_path,
    )
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", shown, re.MULTILINE))
    assert "jaxmore.cli" in imported
    assert not imported & {"jax", "jaxlib", "matplotlib", "numpy", "optax", "pooch", "torch"}


# The bans ----------------------------------------------------------------------------------------


def banned_in(path: str, code: str | None = None, *options: str) -> list[str]:
    """Return the messages of TID251 for a file, or for `code` as if it stood there."""
    pytest.importorskip("ruff")
    source = [path] if code is None else ["--stdin-filename", path, "-"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ruff", "check", "--no-cache"),
            *("--output-format=json", "--select=TID251", *options, *source),
        ],
        cwd=ROOT,
        input=code or "",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert all(f["code"] == "TID251" for f in found), found
    return [f["message"] for f in found]


AUTODIFF = [
    "import jax\n\njax.grad(abs)\n",
    "import jax as j\n\nj.value_and_grad(abs)\n",
    "from jax import vjp\n",
    "from jax import jvp as forward\n",
    "import jax\n\n\ndef f():\n    return jax.linearize, jax.jacrev, jax.jacfwd\n",
    "import jax\n\njax.hessian(abs)\n",
    "import jax\n\njax.linear_transpose(abs)\n",
    "import jax\n\njax.custom_jvp(abs)\n",
    "import jax\n\njax.custom_vjp(abs)\n",
    "import jax\n\njax.fwd_and_bwd(abs)\n",
    "from jax.test_util import check_grads\n",
    "from jax._src.api import vjp\n",
    "def f():\n    import torch\n",
    "from torch.nn import functional\n",
    "import reference\n",
]


@pytest.mark.parametrize("code", AUTODIFF)
def test_ruff_bans_autodiff_and_torch_in_the_package(code: str) -> None:
    assert banned_in("jaxmore/rules/x.py", code)
    assert banned_in("jaxmore/layers.py", code)


@pytest.mark.parametrize("path", ["jaxmore/testing/oracles.py", "tests/x.py", "reference/x.py"])
def test_ruff_lets_the_oracles_be(path: str) -> None:
    assert banned_in(path, "".join(AUTODIFF)) == []


def test_ruff_finds_nothing_in_plain_jax() -> None:
    code = "import jax\nimport jax.numpy as jnp\n\njax.jit(jax.vmap(jnp.tanh))\njax.lax.scan\n"
    assert banned_in("jaxmore/rules/x.py", code) == []


def test_the_exempt_files_use_no_more_than_they_need() -> None:
    everything = ("--config", "lint.per-file-ignores = {}")
    bridge = banned_in("jaxmore/drop_in.py", None, *everything)
    assert bridge
    # linear_transpose differentiates nothing: hiprim's docstring says why it is right.
    used = ("`jax.custom_vjp`", "`jax.linear_transpose`")
    assert all(any(name in message for name in used) for message in bridge), bridge
    oracles = banned_in("jaxmore/testing", None, *everything)
    assert oracles
    assert all("`jax." in message for message in oracles), oracles


def test_no_comment_lifts_the_ban() -> None:
    for path in (ROOT / "jaxmore").rglob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            assert not re.search(r"#\s*(ruff:\s*)?noqa(?!:)|noqa:.*TID251", line), (path, line)


def test_nothing_in_the_package_imports_torch() -> None:
    for path in (ROOT / "jaxmore").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("torch", "reference")], path


def test_text_files_are_read_and_written_in_utf8() -> None:
    """Ruff's PLW1514 sees it where it knows that the object is a path: not in fixtures."""
    places = [f"{room}/**/*.py" for room in ("jaxmore", "tests", "benchmarks", "website")]
    for path in (path for place in places for path in ROOT.glob(place)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                before = {"read_text": 0, "write_text": 1}.get(node.func.attr)
                named = len(node.args) > (before or 0) or {k.arg for k in node.keywords}
                assert before is None or named, f"{path}, line {node.lineno}: no encoding"


# The pins ----------------------------------------------------------------------------------------


def test_constraints_pin_every_dependency() -> None:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {normal(name) for name in pins}
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = [*PYPROJECT["project"]["dependencies"], *(r for extra in extras for r in extra)]
    names = {normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in wanted}
    assert names - {"jaxmore"} <= pinned
    assert pins["torch"] == "2.13.0"

"""Real processes in shells as they come: readers that go away, full disks, locales, terminals."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="such shells are POSIX's"),
]
ROOT = Path(__file__).resolve().parents[2]
WORDS = ["éva", "zoé", "mia", "ava", "lea", "léa", "rené", "uno"] * 3
SMALL = ["--type", "bengio", "--n-embd2", "9", "--max-steps", "20", "-b", "5"]
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": ""}
RULE = """
def é_fwd(x, gain):
    return x * gain, (x, gain)


def é_bwd(res, dy):
    x, gain = res
    return dy * gain, (x * dy).sum(0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words, and a model that was trained on them."""
    path = tmp_path_factory.mktemp("shells")
    (path / "words").write_text("\n".join(WORDS), encoding="utf-8")
    code, _, err = done("train", "-i", "words", *SMALL, "-o", "out", cwd=path)
    assert (code, err) == (0, "")
    return path


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def start(
    *args: str, env: dict[str, str] | None = None, first: str = "", **how: Any
) -> subprocess.Popen[str]:
    """Start jaxmore in a shell, which does something ``first``."""
    shell = ["/bin/sh", "-c", f'{first}\nexec "$@"', "sh"]
    command = [*shell, sys.executable, "-m", "jaxmore", *args]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (env or {})
    return subprocess.Popen(command, env=environment, encoding="utf-8", **(streams | how))


def done(*args: str, **how: Any) -> tuple[int, str, str]:
    process = start(*args, **how)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def one_line(code: int, err: str) -> str:
    assert code == 2, err
    assert err.startswith("jaxmore: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err


def test_a_full_disk_is_one_line_whatever_the_libraries_log() -> None:
    flags = ["--type", "transformer", "--n-layer", "1", "--n-embd", "32"]
    flags += ["--max-steps", "5", "-b", "5"]
    code, _, err = done("train", "-i", "words", *flags, "-o", "full", first="ulimit -f 60")
    assert "cannot save the checkpoint of step 5: " in one_line(code, err)


@pytest.mark.parametrize(
    "args",
    [
        ["ngram", "-i", "words", "-o", "full-ngram"],
        ["explore", "éva", "-o", "out", "--page", "full.html"],
        ["sweep", "-i", "words", *SMALL, "--seed", "0:2", "-o", "full-sweep"],
        ["exercise", "full-exercise"],
    ],
    ids=lambda args: args[0],
)
def test_a_full_disk_is_one_line_in_every_command_that_writes(args) -> None:
    code, _, err = done(*args, first="ulimit -f 0")
    assert "File too large" in one_line(code, err)


def until_nobody_reads(*args: str, lines: int) -> int:
    """Read some lines of what jaxmore prints, and return its exit code; it says nothing of that."""
    with start(*args) as process:
        assert process.stdout and process.stderr
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        return process.wait(300)


def test_a_reader_that_goes_away_does_not_stop_a_run() -> None:
    args = ["train", "-i", "words", *SMALL, "--max-steps", "600", "--sample-every", "100"]
    assert until_nobody_reads(*args, "-o", "piped", lines=1) == 0
    assert Path("piped/model.safetensors").exists()


@pytest.mark.parametrize(
    ("args", "file"),
    [
        (["ngram", "-i", "words", "-o", "piped", "--n-words", "300"], "piped/bigrams.png"),
        (["check", "--rule", "tanh", "--json", "piped.json"], "piped.json"),
        (["find-lr", "-i", "words", "-o", "piped"], "piped/find-lr.png"),
    ],
    ids=["ngram", "check", "find-lr"],
)
def test_a_reader_that_goes_away_costs_no_file(args, file) -> None:
    assert until_nobody_reads(*args, lines=0) in (0, 141)
    assert Path(file).exists()


@pytest.mark.parametrize(
    "args",
    [["sample", "-o", "out", "-n", "3000"], ["trace", "ab" * 5000], ["check", "--dump"]],
    ids=lambda args: args[0],
)
def test_a_reader_that_goes_away_hears_no_complaint(args) -> None:
    assert until_nobody_reads(*args, lines=0) in (0, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("args", [["sample", "-o", "out"], ["train", "-i", "words", *SMALL]])
def test_output_that_cannot_be_written_is_one_line_after_the_work(args) -> None:
    args = args if args[0] == "sample" else [*args, "-o", "dev-full"]
    with open("/dev/full", "wb") as full:
        code, _, err = done(*args, stdout=full)
    line = "jaxmore: cannot write to standard output: No space left on device\n"
    assert one_line(code, err) == line
    assert Path(args[-1], "model.safetensors").exists()


def test_a_closed_standard_output_is_one_line_before_the_work() -> None:
    code, _, err = done("train", "-i", "words", *SMALL, "-o", "no", first="exec >&-")
    assert one_line(code, err) == "jaxmore: standard output is closed\n"
    assert not Path("no").exists()


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    code, out, err = done("sample", "-o", "out", "-n", "3", "--prompt", "é", env=ascii_only)
    assert (code, err) == (0, "")
    assert all(line.startswith(r"\xe9") for line in out.splitlines())
    code, out, _ = done("train", "-i", "words", *SMALL, "-o", "ascii", env=ASCII)
    assert code == 0
    assert "12 characters" in out
    assert Path("ascii/model.safetensors").exists()


def test_a_rule_whose_path_and_names_the_locale_does_not_know() -> None:
    Path("dé").mkdir()
    Path("dé/mine.py").write_text(RULE, encoding="utf-8")
    for spec, cwd in ("dé/mine.py:é_fwd,é_bwd", "."), ("mine:é", "dé"):
        code, out, err = done("check", spec, "--args", "f[5,3] f[3]", env=ASCII, cwd=cwd)
        assert (code, err) == (0, "")
        assert out.startswith(r"\xe9")


def test_a_page_of_a_folder_that_is_not_utf8() -> None:
    folder = os.fsdecode(b"d\xe9")
    Path("out").rename(folder)
    try:
        code, _, err = done("explore", "éva", "-o", folder, env=ASCII)
        assert (code, err) == (0, "")
        assert "éva" in Path(folder, "explore.html").read_text("utf-8")
    finally:
        Path(folder).rename("out")


def test_a_platform_that_jax_does_not_find_is_one_line() -> None:
    code, _, err = done("sample", "-o", "out", env={"JAX_PLATFORMS": "nope"})
    assert "JAX_PLATFORMS=nope: Unable to initialize backend 'nope'" in one_line(code, err)


def test_figures_do_not_depend_on_the_settings_for_windows() -> None:
    odd = {"MPLBACKEND": "nope", "MPLCONFIGDIR": "/dev/null"}
    code, _, err = done("ngram", "-i", "words", "-o", "odd", env=odd)
    assert (code, err) == (0, "")
    assert Path("odd/bigrams.png").exists()


def test_the_progress_bar_says_what_is_being_done() -> None:
    """On a terminal: the steps so far, then "compiling …" with seconds, then a loss that is one."""
    screen, terminal = pty.openpty()
    args = ["-i", "words", *SMALL, "--max-steps", "3000", "-o", "terminal"]
    shown = b""
    with start("train", *args, stderr=terminal, env={"TERM": "xterm", "COLUMNS": "100"}) as process:
        os.close(terminal)
        while part := _read(screen):
            shown += part
    os.close(screen)
    text = shown.decode()
    assert process.returncode == 0
    assert "compiling … 0 s" in text
    assert "3,000 of 3,000 steps" in text and "steps/s" in text
    assert "nan" not in text
    assert text.index("compiling") < text.index("loss")


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # on Linux: the other end is closed
        return b""

"""Every page of the site: its code runs, its transcripts hold, and no placeholder is left."""

import contextlib
import doctest
import io
import re
import shlex
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from jaxmore import cli
from jaxmore.drop_in import HiPrim

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FIGURES = tomllib.loads((DOCS / "figures.toml").read_text("utf-8"))
PAGES = sorted(
    [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
)
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.M | re.S)
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = {
    target for line in re.findall(r"^([\w -]+):(?!=)", MAKEFILE, re.M) for target in line.split()
}
PLACEHOLDER = re.compile(r"\b(BUDGET|TODO|TBD|FIXME|XXX|PLACEHOLDER|lorem ipsum)\b|\?\?\?")
TOLERANCE = 0.05
"""Of a number with a decimal point: losses differ a little from machine to machine."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return FENCE.findall(page.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_nothing_is_left_to_be_filled_in(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))
    assert not PLACEHOLDER.findall(prose)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name)
def test_the_page_is_in_the_navigation(page: Path) -> None:
    assert f"{page.relative_to(DOCS).as_posix()}\n" in (ROOT / "mkdocs.yml").read_text("utf-8")


def test_a_placeholder_is_found() -> None:
    assert PLACEHOLDER.search("code.\n\nBUDGET\n\nOn makemore.py's split")


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_relative_to(DOCS)], ids=name)
def test_the_page_says_when_its_figures_were_made(page: Path) -> None:
    uri = page.relative_to(DOCS).as_posix()
    made = next(entry["made"] for pattern, entry in FIGURES.items() if fnmatch(uri, pattern))
    assert "`" in made or made.startswith("no measured figures"), made
    for target in re.findall(r"`make ([\w-]+)`", made):
        assert target in TARGETS, target
    for module in re.findall(r"`python -m ([\w.]+)", made):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


WITH_CODE = [
    page
    for page in PAGES
    if page.parent != DOCS / "rules"  # pytest's own doctest collection runs these
    and any(language in ("python", "pycon", "console") for language, _, _ in blocks(page))
]


@pytest.mark.slow  # some pages train for thousands of steps
@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_the_code_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the blocks of a page in order, in one namespace and one folder."""
    if page.stem == "hijax" and HiPrim is None:
        pytest.skip("hijax primitives came with jax 0.9")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXMORE_NAMES", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "names.txt").write_bytes((ROOT / "data" / "names.txt").read_bytes())
    names: dict[str, object] = {"__name__": "page"}
    for language, options, text in blocks(page):
        if title := re.search(r'title="(.+?)"', options):
            (tmp_path / title[1]).write_text(text, "utf-8")
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, f"{name(page)}: {text.splitlines()[0]}", "exec"), names)
        elif language == "pycon":
            test = doctest.DocTestParser().get_doctest(text, names, name(page), None, 0)
            flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
            assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0
        elif language == "console":
            for command, expected in transcript(text):
                assert_alike(expected, run(command))
    for module in ("mine", "test_mine"):
        sys.modules.pop(module, None)


def transcript(text: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it prints."""
    parts = re.split(r"^\$ (.+)\n", text, flags=re.M)
    assert not parts[0].strip(), "a transcript begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(command: str) -> str:
    """What `jaxmore ...` prints on both streams, run in this process."""
    program, *args = shlex.split(command)
    assert program == "jaxmore", command
    shown = io.StringIO()
    with (
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(shown),
        contextlib.suppress(SystemExit),
    ):
        cli.main(args)
    return shown.getvalue()


def assert_alike(expected: str, shown: str) -> None:
    """Compare, where "..." stands for anything, a time for any time, and a loss for a near one."""
    number = r"\d+\.\d+(?!\d)"
    pattern, wanted = "", list[float]()
    for part in re.split(rf"(\.\.\.|{number}(?: s\b)?)", expected.rstrip()):
        if part == "...":
            pattern += r"[\s\S]*?"
        elif re.fullmatch(rf"{number} s", part):
            pattern += rf"{number} s"
        elif re.fullmatch(number, part):
            pattern += rf"({number})"
            wanted.append(float(part))
        else:
            pattern += r"\s+".join(map(re.escape, re.split(r"\s+", part)))
    found = re.fullmatch(rf"{pattern}\s*", shown)
    assert found, f"the page has\n{expected}\nand the command prints\n{shown}"
    for ours, theirs in zip(found.groups(), wanted, strict=True):
        assert float(ours) == pytest.approx(theirs, rel=TOLERANCE), (expected, shown)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_not_run_are_there(page: Path) -> None:
    lines = [line for _, _, text in blocks(page) for line in text.splitlines()]
    for line in lines:
        if line.startswith(" "):  # of what a command prints
            continue
        words = line.removeprefix("$ ").partition("  #")[0].split()
        if words[:1] == ["make"]:
            assert words[1] in TARGETS, line
        elif words[:1] == ["jaxmore"] and "\n" not in line and not line.startswith("jaxmore: "):
            cli._parse(shlex.split(" ".join(words))[1:])

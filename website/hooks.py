"""What mkdocs runs: generated pages, links to the source, equations, and each page's last line."""

import os
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from website import equations, notebooks, pages  # noqa: E402

SOURCE = "https://github.com/jaxmore/jaxmore/blob/main/"
FIGURES: dict[str, dict[str, str]] = tomllib.loads((ROOT / "docs/figures.toml").read_text("utf-8"))
"""For each page, or pattern of pages, when its figures were made and by which command."""
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the code, and those that stand in the root."""
    made = {f"reference/{page}.md": pages.reference for page in pages.MODULES}
    try:
        contents = {uri: make(Path(uri).stem) for uri, make in made.items()}
    except ValueError as error:
        raise PluginError(f"reference: {error}") from error
    contents["reference/index.md"] = pages.reference_index()
    for path in notebooks.EXAMPLES.glob("[0-9]*.ipynb"):
        contents[f"notebooks/{path.stem}.md"] = notebooks.page(path)
    for name in ("CONTRIBUTING", "CHANGELOG"):
        text = (ROOT / f"{name}.md").read_text("utf-8")
        contents[f"{name.lower()}.md"] = _from_root(text)
    for uri, content in contents.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Add what is measured of a rule, and turn links that leave docs/ into links to the source."""
    uri = page.file.src_uri
    if uri.startswith("rules/") and not uri.endswith(("README.md", "collectives.md")):
        markdown += pages.measured(Path(uri).stem)
    return _LINK.sub(lambda link: _outside(link, uri, files), markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Render the equations, and end the page with when and how its figures were made."""
    try:
        html = equations.render(html)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error
    return html + f'<p class="figures">{figures(page.file.src_uri)}</p>'


def figures(uri: str) -> str:
    """The last line of a page.

    Raises:
        PluginError: docs/figures.toml does not say it.
    """
    for pattern, made in FIGURES.items():
        if fnmatch(uri, pattern):
            return "Figures: " + re.sub(r"`(.+?)`", r"<code>\1</code>", made["made"])
    raise PluginError(f"docs/figures.toml does not say when the figures of {uri} were made")


def _outside(link: re.Match[str], uri: str, files: Any) -> str:
    """A link to a file of the repository that is not a page; it must be there."""
    target = link[2]
    if re.match(r"[a-z]+:", target):
        return link[0]
    path = os.path.normpath(os.path.join("docs", os.path.dirname(uri), target))
    inside = os.path.relpath(path, "docs")
    if not inside.startswith("..") and files.get_file_from_path(inside):
        return link[0]
    if not (ROOT / path).exists():
        return link[0]  # mkdocs reports it
    return f"{link[1]}{SOURCE}{path}{link[3] or ''}{link[4]}"


def _from_root(text: str) -> str:
    """The text of a page in the root, with its links as seen from docs/."""

    def move(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", link[2]):
            return link[0]
        target = link[2].removeprefix("docs/") if link[2].startswith("docs/") else f"../{link[2]}"
        return f"{link[1]}{target}{link[3] or ''}{link[4]}"

    return _LINK.sub(move, text)

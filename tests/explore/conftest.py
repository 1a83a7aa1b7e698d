"""The page in a real browser; these tests skip, with the reason, where there is none."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxmore import data, explore
from tests.explore.node import absent


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, Debian's where it is installed, else Playwright's own."""
    try:
        from playwright import sync_api as playwright
    except ImportError:
        absent("needs Playwright: pip install playwright")
    system = shutil.which("chromium")
    with playwright.sync_playwright() as driver:
        try:
            running = driver.chromium.launch(
                executable_path=system, args=["--no-sandbox", "--disable-gpu"]
            )
        except playwright.Error as error:
            absent(f"needs a browser: {str(error).splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the embedded names, as a file."""
    words = data.read_words(data.embedded_corpus())
    path = tmp_path_factory.mktemp("explore") / "explore.html"
    html = explore.page(words, data.Vocabulary.from_words(words))
    assert len(html) < 5e6
    path.write_text(html, "utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Any]:
    """Opens the page past its first visit; the test fails on any console error or request."""
    contexts, complaints = [], []

    def opened(
        address: str = "", welcome: bool = False, page_url: str = url, **options: Any
    ) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # two busy cores may need long to load it
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(page_url + address)
        page.wait_for_function("window.explorer")
        if not welcome:
            page.click("#welcome .skip")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [c for c in complaints if not c.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source, from the package that carries it."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        absent("needs axe-core: pip install axe-playwright-python")
    return (Path(str(found.origin)).parent / "axe.min.js").read_text("utf-8")

"""Pictures of the page for the README: ``python -m tests.explore.pictures PAGE FOLDER``."""

import shutil
import sys
from pathlib import Path

STEPS = 400


def draw(page_file: Path, folder: Path) -> None:
    """explorer-light.png and explorer-dark.png: hprebn open, after some training."""
    from playwright.sync_api import sync_playwright  # not there where pytest collects without it

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for scheme in ("light", "dark"):
            size = {"width": 1280, "height": 1250}
            page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1.5)
            page.goto(f"{page_file.resolve().as_uri()}#place=hprebn&step={STEPS}")
            page.wait_for_function("window.explorer")
            page.click("#welcome .skip")
            page.mouse.move(0, 0)
            page.screenshot(path=folder / f"explorer-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))

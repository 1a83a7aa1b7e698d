"""One HTML file from a page's markup, the modules, the style and the data."""

import base64
import json
from importlib import resources
from typing import Any

from jaxmore.notebook import colours

FOLDER = resources.files("jaxmore.explore") / "page"


def read(name: str) -> str:
    """Return a file of the page."""
    return (FOLDER / name).read_text("utf-8")


def html(name: str, data: dict[str, Any]) -> str:
    """Put the style, the modules and the data into a page, so that it needs no other file."""
    modules = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".js"))
    imports = {
        f"#page/{module}": "data:text/javascript;charset=utf-8;base64,"
        + base64.b64encode(read(module).encode()).decode()
        for module in modules
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (
        read(name)
        .replace("/* style.css */", colours() + read("style.css"))
        .replace("{/* imports */}", json.dumps({"imports": imports}))
        .replace("{/* data */}", text.replace("</", r"<\/"))
    )

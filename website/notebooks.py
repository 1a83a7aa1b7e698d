"""The notebooks of ``examples/``: run them, keep their outputs, and make pages of them.

``python -m website.notebooks`` runs every notebook, each in a folder of its own, and fails where a
cell fails. With ``--write`` it stores the outputs in the ``.ipynb`` beside each ``.py``. A name,
such as ``3_ladder``, runs that notebook alone.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SOLVED, BLANK = EXAMPLES / "1_backprop_ninja_solved.py", EXAMPLES / "1_backprop_ninja.py"
SITE = "https://jaxmore.github.io/jaxmore/"
LIMIT = 120
"""Seconds that a notebook may take on two cores."""


def notebooks() -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted(EXAMPLES.glob("[0-9]*.py"))


def with_blanks(solved: str) -> str:
    """The exercise: the solved notebook with ``...`` in the place of every answer."""
    blank = re.sub(r"^(total = .+\n)?(d\w+) = .+\n(?=check\()", r"\2 = ...\n", solved, flags=re.M)
    return blank.replace(": the solution\n", "\n")


def read(path: Path) -> Any:
    """Read the notebook of a ``.py`` in jupytext's percent format."""
    import jupytext

    notebook = jupytext.read(path)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def run(path: Path) -> Any:
    """Run a notebook in an empty folder, but for the cell that installs jaxmore."""
    from nbclient import NotebookClient

    notebook = read(path)
    install = [cell for cell in notebook.cells if "install" in cell.metadata.get("tags", [])]
    for cell in install:
        cell["source"], source = "", cell["source"]
        cell.metadata["kept"] = source
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=4 * LIMIT, resources={"metadata": {"path": folder}}
        )
        client.execute()
    for cell in notebook.cells:
        cell["source"] = cell.metadata.pop("kept", cell["source"])
        cell.metadata.pop("execution", None)  # the times of the run: other ones every time
    return notebook


def page(path: Path) -> str:
    """The notebook with its outputs as a page in Markdown, which stands in notebooks/."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source = re.sub(rf"{SITE}([\w/-]+)\.html", r"../\1.md", source)
            parts.append(re.sub(r"\$\$(.+?)\$\$", _block, source, flags=re.S))
        else:
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    title, _, rest = "\n\n".join(parts).partition("\n")
    notebook = f"[{path.name}](../../examples/{path.name})"
    return f"{title}\n\nThis page is a notebook, {notebook}, with what it printed.\n{rest}\n"


def _block(equation: re.Match[str]) -> str:
    return f"\n```math\n{equation[1].strip()}\n```\n"


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = {kind: "".join(content) for kind, content in output["data"].items()}
    if "image/png" in data:
        png = data["image/png"].strip()
        return f'<img class="notebook-output" alt="a figure" src="data:image/png;base64,{png}">'
    if "text/html" in data:
        return f'<div class="notebook-output" markdown="0">{data["text/html"].strip()}</div>'
    return f"```text\n{data['text/plain']}\n```"


def main() -> None:
    """Run the notebooks that the command line names, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m website.notebooks")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", action="store_true", help="store the outputs")
    args = parser.parse_args()
    names = [path.stem for path in notebooks()]
    if unknown := set(args.names) - set(names):
        parser.error(f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if args.write:
        BLANK.write_text(with_blanks(SOLVED.read_text("utf-8")), "utf-8")
    for path in notebooks():
        if args.names and path.stem not in args.names:
            continue
        began = time.perf_counter()
        notebook = run(path)
        seconds = time.perf_counter() - began
        print(f"{path.stem}: {seconds:.0f} s", flush=True)
        if seconds > 2 * LIMIT:  # a busy machine takes longer
            raise SystemExit(f"{path.stem}: on two quiet cores it may take {LIMIT} s")
        if args.write:
            import nbformat

            path.with_suffix(".ipynb").write_text(nbformat.writes(notebook) + "\n", "utf-8")


if __name__ == "__main__":
    main()

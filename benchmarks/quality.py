"""Losses of every type after its training, beside makemore.py's own: the README's ladder table.

``python -m benchmarks.quality`` trains makemore.py's types for 2,000 steps at its defaults, each by
``jaxmore train`` as a user would, and writes docs/ladder.md. ``--long`` adds the notebooks' types
at their own 200,000 steps. The words are those of $JAXMORE_NAMES, which must be makemore's
names.txt for the figures to be comparable.
"""

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

from jaxmore import cli
from jaxmore.data import NAMES_SHA256
from jaxmore.layers import count_parameters
from jaxmore.training.saved_model import load_model

MAKEMORE = {
    "bigram": (2.7535, 2.7443),
    "mlp": (2.1585, 2.1433),
    "bow": (2.2613, 2.2560),
    "rnn": (2.1992, 2.1710),
    "gru": (2.1600, 2.1473),
    "lstm": None,
    "transformer": (2.0858, 2.0846),
}
"""makemore.py's train and test loss at step 2,000; it has no lstm."""
NOTEBOOKS = ("bengio", "mlp-bn", "deep-mlp-bn", "wavenet")
TABLE = Path(__file__).parent.parent / "docs" / "ladder.md"


def row(type: str, *flags: str) -> str:
    """Train one type; its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            cli.main(["train", "--type", type, "-o", folder, *flags])
        seconds = time.perf_counter() - started
        saved = load_model(Path(folder))
    if saved.record["data"]["sha256"] != NAMES_SHA256:
        raise SystemExit("set JAXMORE_NAMES to makemore's names.txt (jaxmore data --download)")
    losses = saved.record["losses"]
    theirs = MAKEMORE.get(type)
    cells = [
        f"`{type}`",
        f"{count_parameters(saved.model):,}",
        f"{saved.record['training']['max_steps']:,}",
        *(f"{losses[name]:.4f}" if name in losses else "" for name in ("train", "dev", "test")),
        f"{theirs[0]:.4f} / {theirs[1]:.4f}" if theirs else "",
        f"{seconds:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="the notebooks' types too")
    with_notebooks = parser.parse_args().long
    lines = [
        "| type | parameters | steps | train | dev | test | makemore.py train / test | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for type in MAKEMORE:
        lines.append(row(type, "--max-steps", "2000"))
        print(lines[-1], flush=True)
    for type in NOTEBOOKS if with_notebooks else ():
        lines.append(row(type))
        print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

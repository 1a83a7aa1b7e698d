"""The loss of every type after training, beside makemore.py's: the table of docs/ladder.md.

``python -m benchmarks.quality`` trains makemore.py's types for 2,000 steps at its defaults, the
transformer also by Muon until its test loss is below 1.92, and the notebooks' types for their own
200,000 steps: each by ``jaxmore train`` as a user would. It writes the table into
docs/ladder.md. The words are those of $JAXMORE_NAMES, which must be makemore's names.txt for the
figures to be comparable.
"""

import contextlib
import io
import re
import tempfile
import time
from pathlib import Path

from benchmarks.data import require_names
from jaxmore import cli
from jaxmore.layers import count_parameters
from jaxmore.runs.trained import load

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
MUON = "--optimizer muon --schedule cosine --warmup-steps 200 --max-steps 7000"
NOTEBOOKS = ("bengio", "mlp-bn", "deep-mlp-bn", "wavenet")
PAGE = Path(__file__).parent.parent / "docs" / "ladder.md"
HEAD = """\
| type | parameters | steps | train | dev | test | makemore.py train / test | time |
|---|---|---|---|---|---|---|---|
"""


def row(type: str, flags: str = "", theirs: tuple[float, float] | None = None) -> str:
    """Train one type and return its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            cli.main(["train", "--type", type, "-o", folder, *flags.split()])
        seconds = time.perf_counter() - started
        saved = load(Path(folder))
    losses, training = saved.record["losses"], saved.record["training"]
    cells = [
        f"`{type}`" + (", Muon" if training["optimizer"] == "muon" else ""),
        f"{count_parameters(saved.model):,}",
        f"{training['max_steps']:,}",
        *(f"{losses[name]:.4f}" if name in losses else "" for name in ("train", "dev", "test")),
        f"{theirs[0]:.4f} / {theirs[1]:.4f}" if theirs else "",
        f"{seconds:.0f} s",
    ]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Train every type and write the table."""
    require_names()
    table = HEAD
    for type, flags, theirs in (
        *((type, "--max-steps 2000", theirs) for type, theirs in MAKEMORE.items()),
        ("transformer", MUON, None),
        *((type, "", None) for type in NOTEBOOKS),
    ):
        table += row(type, flags, theirs)
        print(table.splitlines()[-1], flush=True)
    PAGE.write_text(write_into_page(PAGE.read_text("utf-8"), table), "utf-8")


def write_into_page(page: str, table: str) -> str:
    """Replace the page's table that has the same head."""
    page, found = re.subn(re.escape(HEAD) + r"(\|.*\n)+", lambda _: table, page)
    if found != 1:
        raise SystemExit(f"docs/ladder.md has {found} tables of the ladder")
    return page


if __name__ == "__main__":
    main()

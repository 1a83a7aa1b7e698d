"""``python -m benchmarks.exactness``: measure every cotangent and write docs/exactness.md.

Four minutes. It needs torch. ``--seeds`` takes more or fewer draws of every family.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.exactness import rules, stepwise
from benchmarks.exactness.page import write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "exactness.md"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=rules.SEEDS, help="draws of each family")
    seeds = parser.parse_args().seeds
    # On more, its layer norm adds up the rows in as many partial sums: the page would depend on
    # the machine's cores.
    torch.set_num_threads(1)
    rows = list(rules.measure_all(seeds))
    steps = stepwise.measure()
    PAGE.write_text(write(rows, steps, seeds), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()

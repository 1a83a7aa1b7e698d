"""``make faults``: the long fault injections, one after the other; their counts in docs/.

python -m tests.faults [kills stops damage disk inputs packs fuzz processes soak]
"""

import json
import sys
import time
from importlib import import_module
from typing import Any

from tests.faults.harness import ROOT

DEFAULT = (
    "damage",
    "disk",
    "inputs",
    "packs",
    "fuzz",
    "kills",
    "stops",
    "processes",
)  # soak: ten minutes, when asked for
COUNTS = ROOT / "docs" / "faults.json"


def main(names: list[str]) -> None:
    counts: dict[str, dict[str, Any]] = {}
    for name in names or DEFAULT:
        started = time.monotonic()
        count = import_module(f"tests.faults.{name}").run()
        count["seconds"] = round(time.monotonic() - started)
        print(name, count, flush=True)
        # read only now: the soak may run beside others
        counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else {}
        counts[name] = count
        COUNTS.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    bad = ("differing", "more than a line", "silent", "lost", "crashes", "tracebacks", "grown")
    bad += ("later than promised", "resumed differing", "mutants alive")
    if any(count.get(key) for count in counts.values() for key in bad):
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

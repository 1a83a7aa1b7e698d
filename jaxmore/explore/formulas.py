"""Turn the formulas of ``places`` into MathML: ``python -m jaxmore.explore.formulas``.

It needs latex2mathml, which the package does not: what it writes is in the package.
"""

import importlib
import json
from pathlib import Path
from typing import Any

from jaxmore.explore.places import PLACES

FILE = Path(__file__).parent / "page" / "formulas.json"


def formulas() -> dict[str, str]:
    """The MathML of each place's formula, by latex2mathml."""
    converter: Any = importlib.import_module("latex2mathml.converter")
    return {
        name: converter.convert(place.formula).replace("<math ", '<math displaystyle="true" ', 1)
        for name, place in PLACES.items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(formulas(), indent=1, ensure_ascii=False) + "\n", "utf-8")

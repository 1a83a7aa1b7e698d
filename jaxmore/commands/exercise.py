"""``jaxmore exercise``: the notebooks' exercise, with blanks to fill in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Exercise:
    """Write the notebooks' exercise for you to do: the forward lines, and 28 blanks."""

    folder: Annotated[Positional[str], arg(metavar="DIR")]
    """Where my_backward.py and its README go."""

    def run(self) -> None:
        from jaxmore import ninja

        for path in ninja.write(Path(self.folder)):
            print(path)

"""``jaxmore exercise``: backpropagation by hand, with blanks to fill in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Exercise:
    """Write an exercise: the forward lines of a network, and a blank for each cotangent."""

    folder: Annotated[Positional[str], arg(metavar="DIR")]
    """Folder for my_backward.py and its README."""
    of: Literal["backprop", "attention", "gru"] = "backprop"
    """The network: the notebooks', a transformer's attention, or a GRU through time."""

    def run(self) -> None:
        from jaxmore import ninja

        for path in ninja.write(Path(self.folder), ninja.EXERCISES[self.of]):
            print(path)

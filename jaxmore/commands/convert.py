"""``jaxmore convert``: makemore.py's model.pt to a work folder, and back."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from jaxmore.commands.flags import Words


@dataclass(frozen=True)
class Convert:
    """Turn makemore.py's model.pt into a work folder, or a work folder into a model.pt."""

    source: Annotated[str, arg(name="from", metavar="PATH")]
    """A model.pt of makemore.py, or a work folder."""
    target: Annotated[str, arg(name="to", metavar="PATH")]
    """The work folder or model.pt to write."""
    input_file: Words = None
    """The words that the model was trained on; model.pt does not contain its characters."""
    n_head: int = 4
    """N, the number of attention heads of a transformer; model.pt does not contain it."""
    seed: int = 3407
    """makemore.py's --seed, which selects the held-out words; model.pt does not contain it."""
    overwrite: bool = False
    """Replace an existing target."""

    def run(self) -> None:
        from jaxmore.interop import convert

        saved = convert(
            self.source,
            self.target,
            input_file=self.input_file,
            n_head=self.n_head,
            seed=self.seed,
            overwrite=self.overwrite,
        )
        print(f"{self.source} → {self.target}: {saved.type} {saved.options}")

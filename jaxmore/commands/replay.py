"""``jaxmore replay``: recompute the figures that the notebooks and microgpt print."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from jaxmore.commands.flags import Words


@dataclass(frozen=True)
class Replay:
    """Recompute with JAX alone what the five backprop-ninja notebooks, or microgpt, print."""

    of: Positional[Literal["notebooks", "microgpt"]] = "notebooks"
    """What to replay."""
    input_file: Words = None
    """makemore's names.txt, which both read."""

    def run(self) -> None:
        """Print each figure beside the value computed here."""
        from jaxmore import data, ninja

        words = data.read_words(data.corpus_path(self.input_file))
        replay = ninja.replay if self.of == "notebooks" else ninja.replay_microgpt
        print(ninja.format_figures(replay(words)))

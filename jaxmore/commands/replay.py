"""``jaxmore replay``: the figures of the notebooks, and of microgpt."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from jaxmore.commands.flags import Words


@dataclass(frozen=True)
class Replay:
    """Replay what the five backprop-ninja notebooks, or microgpt, print: with JAX alone."""

    of: Positional[Literal["notebooks", "microgpt"]] = "notebooks"
    """What to replay."""
    input_file: Words = None
    """makemore's names.txt, which both read."""

    def run(self) -> None:
        """Print each figure as it was printed, and as it is computed here."""
        from jaxmore import data, ninja

        words = data.read_words(data.corpus_path(self.input_file))
        replay = ninja.replay if self.of == "notebooks" else ninja.replay_microgpt
        print(ninja.format_figures(replay(words)))

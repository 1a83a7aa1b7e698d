"""``jaxmore replay``: the figures of the notebooks."""

from dataclasses import dataclass

from jaxmore.commands.flags import Words


@dataclass(frozen=True)
class Replay:
    """Replay the figures of the five backprop-ninja notebooks with JAX alone."""

    input_file: Words = None
    """makemore's names.txt, which the notebooks read."""

    def run(self) -> None:
        from jaxmore import data, ninja

        words = data.read_words(data.corpus_path(self.input_file))
        print(ninja.format_figures(ninja.replay(words)))

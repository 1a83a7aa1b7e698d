"""``jaxmore trace``: the contexts of words, and the character that each predicts."""

from dataclasses import dataclass

from tyro.conf import Positional


@dataclass(frozen=True)
class Trace:
    """Spell out the contexts of words and the character that each predicts."""

    words: Positional[tuple[str, ...]]
    """The words."""
    block_size: int = 3
    """T, the length of the context."""

    def run(self) -> None:
        from jaxmore.data import trace_windows

        for word in self.words:
            print("\n".join(trace_windows(word, self.block_size)))

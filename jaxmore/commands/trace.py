"""``jaxmore trace``: the contexts of words, and the character that each predicts."""

from dataclasses import dataclass

from tyro.conf import Positional

from jaxmore.commands.flags import as_text
from jaxmore.errors import InputError

LARGEST = 10**8
"""The most characters to print for one word."""


@dataclass(frozen=True)
class Trace:
    """Print the contexts of words and the character that each predicts."""

    words: Positional[tuple[str, ...]]
    """The words."""
    block_size: int = 3
    """T, the length of the context."""

    def run(self) -> None:
        from jaxmore.data import trace_windows

        size = max((len(word) for word in self.words), default=0) * self.block_size
        if size > LARGEST:
            raise InputError(f"--block-size {self.block_size}: {size:,} characters are too many")
        for word in map(as_text, self.words):
            print("\n".join(trace_windows(word, self.block_size)))

"""A mistake: another line for a blank, and the sentence that answers it."""

from typing import NamedTuple

CHAIN = "a slope is multiplied by the cotangent of what the line makes"
BROADCAST = "what was broadcast along an axis collects the sum over it"
TWICE = "what is used twice collects both cotangents"
BATCH = "every example uses it, and the cotangents of all uses add up"
SHAPE = "a cotangent has the shape of its variable"


class Mistake(NamedTuple):
    """A line that someone might write. Its value is computed when it is needed, on any batch."""

    name: str
    """What the address bar of the page calls it; empty for a generated one."""
    code: str
    """An expression, in what Python and the page's expressions have in common."""
    you: str
    """What one does who writes it: "forget the slope of tanh"."""
    because: str = ""
    """What is true instead, as a clause."""

    @property
    def answer(self) -> str:
        """The sentence for whoever gets this value, however it was written."""
        because = f": {self.because}" if self.because else ""
        return f"This is what you get when you {self.you}{because}."

    @property
    def title(self) -> str:
        """What a menu calls it."""
        return self.you[0].upper() + self.you[1:]

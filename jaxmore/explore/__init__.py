"""The explorer: one HTML file in which the notebooks' network trains by the rules proven here."""

from jaxmore.explore.assemble import Trained, page
from jaxmore.explore.word_page import page_of_word

__all__ = ["Trained", "page", "page_of_word"]

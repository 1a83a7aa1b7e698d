"""The explorer: one HTML file in which the notebooks' network trains by the rules proven here."""

from jaxmore.explore.assemble import Trained, page, write_page

__all__ = ["Trained", "page", "write_page"]

"""The explorer: one HTML file in which the notebooks' network trains by the rules of this package."""

"""Other people's files: makemore's ``model.pt``."""

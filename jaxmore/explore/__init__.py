"""The explorer: a page that runs, shows and trains the notebooks' network in a browser."""

"""Training: the jitted loop, evaluation, saved models, sampling, and the runs made of them."""

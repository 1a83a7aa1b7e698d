"""``jaxmore train``: train a model on a file of words."""

from dataclasses import dataclass

from jaxmore.runs.config import TrainConfig


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model on a file of words and make more of them.

    The defaults are the backprop-ninja notebooks': 12,297 parameters, 200,000 steps.
    """

    def run(self) -> None:
        """Train in the work folder, print losses and samples."""
        from jaxmore.data import corpus_path
        from jaxmore.runs.training_run import train_in_folder

        train_in_folder(self, corpus_path(self.input_file), quiet=False)

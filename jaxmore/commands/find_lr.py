"""``jaxmore find-lr``: the learning-rate range test, with a figure."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from jaxmore.commands.flags import Words, WorkDir
from jaxmore.runs.config import BATCH_SIZE, SEED, Device, ModelName, Optimizer, TrainConfig

FIGURE = "find-lr.png"


@dataclass(frozen=True)
class FindLr:
    """Sweep the learning rate of the optimiser that train would use, and suggest one.

    The range is 0.001 to 1 for plain gradient descent, and 0.00001 to 0.1 for Adam, AdamW and Muon.
    """

    input_file: Words = None
    """Words, one per line."""
    work_dir: WorkDir = "out"
    """Folder for the figure."""
    type: ModelName = "mlp-bn"
    """The model."""
    optimizer: Optimizer = None
    """The optimiser, as in train."""
    batch_size: Annotated[int | None, BATCH_SIZE] = None
    """Examples per step."""
    seed: Annotated[int | None, SEED] = None
    """Seed for the parameters and the batches."""
    device: Device = None
    """The platform to train on."""

    def run(self) -> None:
        """Run the range test, write its figure and print the suggested rate."""
        config = TrainConfig(**asdict(self))
        import jax.numpy as jnp

        from jaxmore import plots
        from jaxmore.data import corpus_path
        from jaxmore.files import check_output, writing_to
        from jaxmore.runs.preparation import prepare
        from jaxmore.training.lr_search import EXPONENTS, find_learning_rate

        run = prepare(config, corpus_path(self.input_file), packs=False)
        folder = Path(self.work_dir)
        with writing_to(folder):
            check_output(folder / FIGURE)  # before all the work
        optimizer = run.settings.optimizer
        test = find_learning_rate(
            run.model,
            *(jnp.array(a) for a in run.data["train"]),
            seed=run.settings.seed,
            optimizer=optimizer,
            weight_decay=run.settings.weight_decay,
            batch_size=run.settings.batch_size,
            exponents=EXPONENTS[optimizer],
        )
        figure = plots.learning_rate_curve(test.rates, test.losses, test.smoothed, test.suggested)
        with writing_to(folder):
            plots.save(figure, folder / FIGURE)
        print(
            f"suggested learning rate for --optimizer {optimizer}: {test.suggested:.2g}  "
            f"({folder / FIGURE})"
        )

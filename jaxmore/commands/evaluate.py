"""``jaxmore evaluate``: the losses of a trained model."""

from dataclasses import dataclass

from jaxmore.commands.flags import (
    Json,
    WordsOfRun,
    WorkDir,
    note_last,
    try_json,
    words_path,
    write_json,
)
from jaxmore.runs.config import Device


@dataclass(frozen=True)
class Evaluate:
    """Compute the train, dev and test loss of a trained model."""

    work_dir: WorkDir = "out"
    """The folder of a trained model: out is a run's best, out/last, with --eval-every, its last."""
    input_file: WordsOfRun = None
    """Words to evaluate on."""
    device: Device = None
    """The platform to evaluate on."""
    json: Json = None
    """Write the losses to a file; without FILE, print them as JSON."""

    def run(self) -> None:
        """Print the loss of each split and the number of characters that it averages over."""
        try_json(self.json)
        from jaxmore.runs.inference import split_losses
        from jaxmore.runs.trained import load

        trained = load(self.work_dir)
        note_last(self.work_dir)
        losses = split_losses(trained, words_path(self.input_file))
        if self.json != "-":
            for name, (loss, n_characters) in losses.items():
                print(f"{name:5s} {loss:.4f}  ({n_characters:,} characters)")
        write_json(
            self.json,
            {
                "work_dir": self.work_dir,
                "type": trained.type,
                "step": trained.record["training"].get("step"),
                "splits": {
                    name: {"loss": loss, "characters": n} for name, (loss, n) in losses.items()
                },
            },
        )

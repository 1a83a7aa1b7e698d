"""``jaxmore inspect``: plot activations, cotangents and ratios of a trained model on a batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from jaxmore.commands.flags import (
    Json,
    WordsOfRun,
    WorkDir,
    note_last,
    try_json,
    words_path,
    write_json,
)
from jaxmore.errors import InputError
from jaxmore.runs.config import Device, check_seed, default

if TYPE_CHECKING:  # JAX and matplotlib are imported when the command runs
    from jaxmore.plots import Picture, Theme
    from jaxmore.runs.inspection import Found
    from jaxmore.runs.trained import Trained

FIGURES = ("activations", "gradients", "training", "embedding", "dlogits", "attention")
SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class Inspect:
    """Plot activations, cotangents, ratios and attention of a trained model on one batch.

    The figures go to inspect/ in the work folder, as PNG and SVG, light and dark.
    """

    work_dir: WorkDir = "out"
    """The folder of a trained model: out is a run's best, out/last, with --eval-every, its last."""
    input_file: WordsOfRun = None
    """Words to draw the batch from; only their train split is used."""
    seed: Annotated[int | None, default("the run's", "INT")] = None
    """Seed for the batch."""
    overwrite: bool = False
    """Replace existing figures."""
    device: Device = None
    """The platform to compute on."""
    json: Json = None
    """Write the numbers of the table to a file; without FILE, print them as JSON."""

    def run(self) -> None:
        """Print a table of the layers and of the parameters, and write the figures."""
        if self.seed is not None:
            check_seed(self.seed)
        try_json(self.json)
        try:
            from jaxmore import plots
        except ImportError as error:
            raise InputError(f"figures need matplotlib: {error}") from error
        from jaxmore.files import writing_to
        from jaxmore.runs.folder import INSPECTION
        from jaxmore.runs.inspection import inspect_run
        from jaxmore.runs.trained import load

        trained = load(self.work_dir)
        note_last(self.work_dir)
        folder = Path(self.work_dir) / INSPECTION
        names = [f"{n}-{theme}{s}" for n in FIGURES for theme in plots.THEMES for s in SUFFIXES]
        there = [name for name in names if (folder / name).exists()]
        if there and not self.overwrite:
            raise InputError(f"{folder / there[0]} exists already: --overwrite replaces it")
        found = inspect_run(trained, Path(self.work_dir), words_path(self.input_file), self.seed)
        if self.json != "-":
            print(_report(trained, found))
        drawn = list[str]()
        with writing_to(folder):
            for theme in plots.THEMES:
                with plots.theme(theme):
                    for name, figure in _figures(trained, found, theme):
                        drawn.append(name)
                        for suffix in SUFFIXES:
                            plots.save(figure, folder / f"{name}-{theme}{suffix}")
        if self.json != "-":
            print(f"{folder}: {', '.join(dict.fromkeys(drawn))}, light and dark, PNG and SVG")
        write_json(self.json, _as_json(self.work_dir, trained, found))


def _title(trained: "Trained") -> str:
    from jaxmore.layers import count_parameters

    return f"{trained.type}, {count_parameters(trained.model):,} parameters"


def _report(trained: "Trained", found: "Found") -> str:
    from jaxmore.data import printable
    from jaxmore.terminal import table, width

    its = found.inspection
    what = "contexts" if found.y.ndim == 1 else "words"
    layers = [["layer", "std", "std of cotangent", "saturated", "dead"]]
    layers += [
        [path, f"{value.std():.3g}", f"{dy.std():.2e}", _percent(saturated), _percent(dead)]
        for path, (value, dy, saturated, dead) in its.layers.items()
    ]
    params = [["parameter", "std", "gradient : data", "update : data"]]
    params += [
        [path, f"{its.params[path].std():.3g}", f"{ratio:.2f}", f"{update:.2f}"]
        for path, ratio in its.gradient_to_data.items()
        for update in [found.ratios.get(path, math.nan)]
    ]
    uniform = math.log(len(found.characters))
    return "\n".join(
        [
            f"{_title(trained)}, step {trained.record['training']['step']:,}: "
            f"{len(found.x)} {what} of {printable(found.file)}, seed {found.seed}",
            f"loss {its.loss:.4f}; at initialisation {its.first_loss:.4f}, of equal "
            f"probabilities −log 1/{len(found.characters)} = {uniform:.4f}",
            f"dlogits: the largest sum of a row is {its.largest_row_sum:.1e}",
            "",
            table(layers, "<>>>>", width()),
            "",
            table(params, "<>>>", width()),
            "ratios: log10 of std / std of the parameter",
        ]
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _as_json(work_dir: str, trained: "Trained", found: "Found") -> dict[str, Any]:
    its = found.inspection
    return {
        "work_dir": work_dir,
        "type": trained.type,
        "step": trained.record["training"]["step"],
        "seed": found.seed,
        "examples": len(found.x),
        "loss": its.loss,
        "first_loss": its.first_loss,
        "uniform_loss": math.log(len(found.characters)),
        "largest_row_sum": its.largest_row_sum,
        "layers": [
            {
                "path": path,
                "std": float(value.std()),
                "cotangent_std": float(dy.std()),
                "saturated": saturated,
                "dead": dead,
            }
            for path, (value, dy, saturated, dead) in its.layers.items()
        ],
        "parameters": [
            {
                "path": path,
                "std": float(its.params[path].std()),
                "gradient_to_data": ratio,
                "update_to_data": found.ratios.get(path),
            }
            for path, ratio in its.gradient_to_data.items()
        ],
    }


def _figures(trained: "Trained", found: "Found", theme: "Theme") -> Iterator[tuple[str, "Picture"]]:
    """Yield each figure that the model has, with its name."""
    from jaxmore import plots
    from jaxmore.data import printable
    from jaxmore.runs.inspection import longest, predictions
    from jaxmore.training.inspection import in_the_plane

    its, characters, of_run = found.inspection, found.characters, _title(trained)
    title = f"{of_run}, step {trained.record['training']['step']:,}"
    notes = {
        path: "\n".join(
            f"{share:.1%} {name}"
            for name, share in (("saturated", layer.saturated), ("dead", layer.dead))
            if share is not None
        )
        for path, layer in its.layers.items()
    }
    arrays = {path: (layer.activations, layer.cotangents) for path, layer in its.layers.items()}
    yield "activations", plots.histograms(arrays, notes, title)
    yield "gradients", plots.gradient_sizes(its.gradient_to_data, found.ratios, title)
    steps, losses, updates, gradients, results = found.history
    yield (
        "training",
        plots.over_time(
            steps,
            losses,
            updates,
            gradients,
            its.first_loss,
            math.log(len(characters)),
            results,
            f"{of_run}, on {printable(Path(found.file).name)}",
        ),
    )
    for path, rows in its.embeddings.items():
        names = [*characters, "BLANK"][: len(rows)]
        if len(names) == len(rows):
            points, shares = in_the_plane(rows)
            figure = plots.embedding_scatter(points, shares, names, f"{path}: {title}")
            yield "embedding", figure
    dlogits, labels = predictions(found)
    yield "dlogits", plots.cotangent_image(dlogits, labels, characters, title, theme)
    if its.attention:
        place = longest(found)
        read = [characters[i] for i in found.x[place]][: int((found.y[place] != -1).sum())]
        n = len(read)
        maps = {path: weights[place, :, :n, :n] for path, weights in its.attention.items()}
        yield "attention", plots.attention_maps(maps, read, title)

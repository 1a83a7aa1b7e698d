"""``python -m benchmarks``: run the sections named, or all of them, and write the page."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from tyro.conf import Positional, arg

Section = Literal[
    "training",
    "evaluation",
    "sampling",
    "startup",
    "ladder",
    "microgpt",
    "memory",
    "growth",
    "forms",
    "speedrun",
    "budget",
]
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ALL: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Benchmarks:
    """Run jaxmore beside its peers; write docs/benchmarks.md, .json and figures.

    Run it on a machine with nothing else to do. Sections that are not run keep their last results.
    """

    sections: Annotated[Positional[tuple[Section, ...]], arg(metavar="SECTION")] = ALL
    """training, evaluation, sampling, startup, ladder, microgpt, memory, growth, forms, speedrun,
    budget; all by default."""
    quick: bool = False
    """Fewer rounds; training alone by default."""

    def run(self) -> None:
        from benchmarks import (
            budget,
            forms,
            growth,
            inference,
            ladder,
            memory,
            microgpt,
            speedrun,
            startup,
            training,
        )
        from benchmarks.data import require_names
        from benchmarks.figure import growth_figure, training_figure
        from benchmarks.machine import describe_machine
        from benchmarks.report import TABLES, write_report
        from jaxmore.plots import save

        require_names()
        runners = {
            "training": training.run,
            "evaluation": inference.run_evaluation,
            "sampling": inference.run_sampling,
            "startup": startup.run,
            "ladder": ladder.run,
            "microgpt": microgpt.run,
            "memory": memory.run,
            "growth": growth.run,
            "forms": forms.run,
            "speedrun": speedrun.run,
            "budget": budget.run,
        }
        json_file = DOCS / "benchmarks.json"
        results: dict[str, Any] = (
            json.loads(json_file.read_text("utf-8")) if json_file.exists() else {}
        )
        sections = ("training",) if self.quick and self.sections == ALL else self.sections
        machine = describe_machine() | {"rounds": "quick run" if self.quick else "full run"}
        for name in sections:
            results[name] = {"machine": machine, "rows": runners[name](self.quick)}
            results = {name: results[name] for name in TABLES if name in results}
            json_file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        (DOCS / "benchmarks.md").write_text(write_report(results), "utf-8")
        if "training" in results:
            figure = training_figure(results["training"]["rows"])
            save(figure, DOCS / "images" / "benchmarks.png")
        if "growth" in results:
            ceiling = results["growth"]["machine"]["matmul_ceiling_gflops"]
            figure = growth_figure(results["growth"]["rows"], ceiling)
            save(figure, DOCS / "images" / "growth.png")
        print("docs/benchmarks.md, docs/benchmarks.json, docs/images")


if __name__ == "__main__":
    tyro.cli(Benchmarks).run()

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

    Run it on a machine with nothing else to do. Each run is a column of the page: this jax, these
    vectors, these cores. ``XLA_FLAGS=--xla_cpu_max_isa=AVX2`` and ``taskset -c 0`` make others.
    Other columns, and sections that are not run, keep their last results.
    """

    sections: Annotated[Positional[tuple[Section, ...]], arg(metavar="SECTION")] = ALL
    """training, evaluation, sampling, startup, ladder, microgpt, memory, growth, forms, speedrun,
    budget (more than an hour); all by default."""
    quick: bool = False
    """Fewer rounds; training alone by default."""
    page_only: bool = False
    """Measure nothing; write the page anew, with a note where the code has changed since."""

    def run(self) -> None:
        from benchmarks import (
            forms,
            growth,
            inference,
            ladder,
            memory,
            microgpt,
            startup,
            training,
        )
        from benchmarks.columns import put
        from benchmarks.data import require_names
        from benchmarks.figure import growth_figure, training_figure
        from benchmarks.machine import describe_machine
        from benchmarks.records import verify
        from benchmarks.report import write_report
        from jaxmore.plots import save

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
            "speedrun": verify.run_speedrun,
            "budget": verify.run_budget,
        }
        json_file = DOCS / "benchmarks.json"
        results: dict[str, list[dict[str, Any]]] = json.loads(json_file.read_text("utf-8"))
        sections = ("training",) if self.quick and self.sections == ALL else self.sections
        if self.page_only:
            sections = ()
        else:
            require_names()
        machine = describe_machine() | {"rounds": "quick run" if self.quick else "full run"}
        for name in sections:
            section = {"machine": machine, "rows": runners[name](self.quick)}
            results[name] = put(results.get(name, []), section)
            results = {name: results[name] for name in ALL if name in results}
            json_file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        (DOCS / "benchmarks.md").write_text(write_report(results), "utf-8")
        figure = training_figure(results["training"])
        save(figure, DOCS / "images" / "benchmarks.png")
        figure = growth_figure(results["growth"])
        save(figure, DOCS / "images" / "growth.png")
        print("docs/benchmarks.md, docs/benchmarks.json, docs/images")


if __name__ == "__main__":
    tyro.cli(Benchmarks).run()

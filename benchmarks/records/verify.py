"""Runs an entry and its baseline in turns, and decides."""

import json
import os
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from scipy import stats

from benchmarks.records.tracks import TRACKS, Track, load
from benchmarks.tables import table

P_VALUE = 0.01


class Turn(NamedTuple):
    """A run of the entry and one of its baseline with the same seed."""

    seed: int
    entry: dict[str, float]
    baseline: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.baseline["seconds"] / self.entry["seconds"]


def run(entry: str, seed: int) -> dict[str, float]:
    """Run an entry in a new process without a compilation cache."""
    no_cache = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment = os.environ | getattr(load(entry), "ENVIRONMENT", {}) | no_cache
    command = [sys.executable, "-m", "benchmarks.records.tracks", entry, str(seed)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:  # what it wrote to stderr is on the screen
        raise SystemExit(f"{entry} failed with seed {seed}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(entry: str, n_seeds: int) -> list[Turn]:
    """Run both, seed by seed."""
    baseline = load(entry).BASELINE
    turns: list[Turn] = []
    for seed in range(n_seeds):
        print(f"seed {seed}: {entry}, then {baseline}", file=sys.stderr, flush=True)
        turns.append(Turn(seed, run(entry, seed), run(baseline, seed)))
    return turns


def rows(track: str, n_seeds: int) -> list[dict[str, Any]]:
    """Return rows for docs/benchmarks.json: the record of a track, and its baseline."""
    entry = TRACKS[track].record
    turns = take_turns(entry, n_seeds)
    runs = {
        entry: ([turn.entry for turn in turns], 1.0),
        load(entry).BASELINE: (
            [turn.baseline for turn in turns],
            statistics.median(turn.ratio for turn in turns),
        ),
    }
    return [
        {
            "track": track,
            "run": name,
            "seconds": statistics.median(run["seconds"] for run in its),
            "ratio": ratio,
            "dev": [run["dev"] for run in its],
        }
        for name, (its, ratio) in runs.items()
    ]


def run_speedrun(quick: bool) -> list[dict[str, Any]]:
    """Run the record of the speed track and its baseline."""
    return rows("speed", 3 if quick else TRACKS["speed"].n_seeds)


def run_budget(quick: bool) -> list[dict[str, Any]]:
    """Run the records of the budgets and their baselines; only the minute's if ``quick``."""
    if quick:
        return rows("minute", 1)
    return [row for t in ("minute", "ten_minutes") for row in rows(t, TRACKS[t].n_seeds)]


def p_value(track: Track, turns: list[Turn]) -> float:
    """Return the p-value of "the mean dev loss is not below what it has to beat".

    One-sided t-tests: of one sample against the target; Welch's against the baseline's runs.
    """
    ours = [turn.entry["dev"] for turn in turns]
    if track.target is not None:
        return float(stats.ttest_1samp(ours, track.target, alternative="less").pvalue)
    theirs = [turn.baseline["dev"] for turn in turns]
    return float(stats.ttest_ind(ours, theirs, equal_var=False, alternative="less").pvalue)


def objections(track: Track, turns: list[Turn], p: float) -> list[str]:
    """Say what speaks against the entry: nothing if it is verified."""
    found: list[str] = []
    if len(turns) < track.n_seeds:
        found.append(f"{len(turns)} of {track.n_seeds} seeds")
    slowest = max(turn.entry["seconds"] for turn in turns)
    if slowest > track.limit:
        found.append(f"a run took {slowest:.1f} s of {track.limit:.0f}")
    if not p < P_VALUE:
        found.append(f"p is not below {P_VALUE}")
    if track.target is not None and statistics.median(turn.ratio for turn in turns) <= 1:
        found.append("not faster than its baseline")
    return found


def report(entry: str, turns: list[Turn]) -> tuple[str, bool]:
    """Return the table of all runs with the verdict below it, and whether it is favourable."""
    module = load(entry)
    track = TRACKS[module.TRACK]

    def row(name: str, runs: tuple[dict[str, float], dict[str, float]], ratio: float) -> list[str]:
        figures = (f(run) for run in runs for f in (_seconds, _dev))
        return [name, *figures, f"×{ratio:.1f}"]

    lines = [row(str(turn.seed), (turn.entry, turn.baseline), turn.ratio) for turn in turns]
    lines.append(
        row(
            "median s, mean dev",
            (_summary([t.entry for t in turns]), _summary([t.baseline for t in turns])),
            statistics.median(turn.ratio for turn in turns),
        )
    )
    head = ["seed", entry, "dev", module.BASELINE, "dev", "ratio of times"]
    p = p_value(track, turns) if len(turns) > 1 else 1.0
    target = "the baseline" if track.target is None else f"{track.target}"
    found = objections(track, turns, p)
    if track.record not in (entry, module.BASELINE):
        found.append(f"the entry to beat is {track.record}")
    verdict = f"not verified: {', '.join(found)}" if found else "verified"
    return f"{table(head, lines)}\nmean dev below {target}: p = {p:.0e}; {verdict}", not found


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    return {
        "seconds": statistics.median(run["seconds"] for run in runs),
        "dev": statistics.mean(run["dev"] for run in runs),
    }


def _seconds(run: dict[str, Any]) -> str:
    return f"{run['seconds']:.2f} s"


def _dev(run: dict[str, Any]) -> str:
    return f"{run['dev']:.4f}"

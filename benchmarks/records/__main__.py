"""``python -m benchmarks.records``: list the entries, or verify one."""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional, arg


@dataclass(frozen=True)
class List:
    """List the entries of each track."""

    def run(self) -> int:
        from benchmarks.records.tracks import ENTRIES, load

        for entry in ENTRIES:
            print(f"{entry}: {(load(entry).__doc__ or '').splitlines()[0]}")
        return 0


@dataclass(frozen=True)
class Verify:
    """Run an entry and its baseline in turns; print every run and the verdict.

    Run it on a machine with nothing else to do. It exits with 1 if the entry is not verified.
    """

    entry: Annotated[Positional[str], arg(metavar="ENTRY")]
    """A file in benchmarks/records/entries, without its .py."""
    seeds: int | None = None
    """Runs of each; as many as the track asks for by default."""

    def run(self) -> int:
        from benchmarks.data import require_names
        from benchmarks.records.tracks import ENTRIES, TRACKS, load
        from benchmarks.records.verify import report, take_turns

        if self.entry not in ENTRIES:
            return refuse(f"no entry {self.entry!r}; there are {', '.join(ENTRIES)}")
        entry = load(self.entry)
        track, baseline = entry.TRACK, entry.BASELINE
        if track not in TRACKS:
            return refuse(f"no track {track!r}; there are {', '.join(TRACKS)}")
        if baseline not in ENTRIES or track != load(baseline).TRACK:
            return refuse(f"the baseline {baseline!r} is no entry of the track {track!r}")
        n_seeds = TRACKS[track].n_seeds if self.seeds is None else self.seeds
        if n_seeds < 1:
            return refuse(f"--seeds must be at least 1, got {n_seeds}")
        require_names()
        text, verified = report(self.entry, take_turns(self.entry, n_seeds))
        print(text)
        return 0 if verified else 1


def refuse(reason: str) -> int:
    """Say what is wrong with the command."""
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(tyro.cli(List | Verify).run())

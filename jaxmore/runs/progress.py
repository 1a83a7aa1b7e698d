"""The progress bar of a training run; quiet where stderr is not a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxmore.training.loop import Chunk


def with_progress(chunks: Iterable[Chunk], first_step: int, max_steps: int) -> Iterator[Chunk]:
    """The same chunks, each shown as it comes."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} steps/s"),
        TimeRemainingColumn(),
    )
    # rich prints what comes on stdout above the bar, on stderr: not what goes to a file.
    here = sys.stdout.isatty()
    with Progress(
        *columns, console=console, disable=not console.is_terminal, redirect_stdout=here
    ) as bar:
        task = bar.add_task(
            "training", total=max_steps, completed=first_step, loss=float("nan"), rate=0.0
        )
        last = time.perf_counter()
        for chunk in chunks:
            now = time.perf_counter()
            rate = len(chunk.losses) / (now - last)
            last = now
            bar.update(task, completed=chunk.step, loss=chunk.losses.mean(), rate=rate)
            yield chunk

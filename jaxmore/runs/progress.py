"""The progress bar of a training: in a terminal by rich, in a notebook as a line of HTML."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jaxmore.training.loop import Chunk


def with_progress(chunks: Iterable[Chunk], first_step: int, max_steps: int) -> Iterator[Chunk]:
    """Show each chunk in a progress bar, in a notebook or where stderr is a terminal."""
    if _in_notebook():
        return _in_html(chunks, first_step, max_steps)
    return _in_terminal(chunks, first_step, max_steps)


def status(loss: float, rate: float) -> str:
    """Format the loss and the speed.

    >>> status(2.5, 1234.0)
    'loss 2.5000  1,234 steps/s'
    """
    return f"loss {loss:.4f}  {rate:,.0f} steps/s"


class Status(ProgressColumn):
    """What the run is doing: compiling until the first chunk is done, then its loss and speed."""

    max_refresh = 0.1

    def render(self, task: Task) -> Text:
        """Format the fields "loss" and "rate" of the task."""
        if task.fields["loss"] is None:
            return Text(f"compiling … {task.elapsed or 0:.0f} s")
        return Text(status(task.fields["loss"], task.fields["rate"]))


def _in_terminal(chunks: Iterable[Chunk], first_step: int, max_steps: int) -> Iterator[Chunk]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        BarColumn(),
        Status(),
        TimeRemainingColumn(),
    )
    # rich prints redirected stdout above the bar, on stderr: wrong if stdout goes to a file.
    redirect = sys.stdout.isatty()
    with Progress(
        *columns, console=console, disable=not console.is_terminal, redirect_stdout=redirect
    ) as bar:
        task = bar.add_task("training", total=max_steps, completed=first_step, loss=None)
        for chunk, rate in _timed(chunks):
            bar.update(task, completed=chunk.step, loss=chunk.losses.mean(), rate=rate)
            yield chunk


def _in_html(chunks: Iterable[Chunk], first_step: int, max_steps: int) -> Iterator[Chunk]:
    """Update one output of the cell: it needs no widgets, so every notebook shows it."""
    display: Any = sys.modules["IPython"].display
    began = time.perf_counter()
    shown = display.display(
        display.HTML(_bar(first_step, max_steps, "compiling …")), display_id=True
    )
    for chunk, rate in _timed(chunks):
        left = max_steps - chunk.step
        seconds = time.perf_counter() - began
        end = f"{left / rate:.0f} s left" if left else f"{seconds:.1f} s, compilation included"
        text = f"{status(float(chunk.losses.mean()), rate)}  {end}"
        shown.update(display.HTML(_bar(chunk.step, max_steps, text)))
        yield chunk


def _bar(step: int, max_steps: int, text: str) -> str:
    return (
        f'<progress value="{step}" max="{max_steps}"></progress> '
        f"{step:,} of {max_steps:,} steps  {text}"
    )


def _timed(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, float]]:
    """Yield each chunk with the steps a second since the one before."""
    last = time.perf_counter()
    for chunk in chunks:
        now = time.perf_counter()
        yield chunk, len(chunk.losses) / (now - last)
        last = now


def _in_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")

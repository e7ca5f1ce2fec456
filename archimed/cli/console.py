"""Progress on stderr: a live bar with the time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from archimed.experiment.pace import Pace

PLAIN_LINE_SECONDS = 15.0


class Console:
    """Shows stages and progress; a context manager, so that a live bar is closed however the run ends."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.started = time.monotonic()
        self.pace = Pace()
        self.last_line = 0.0
        self.name = ""
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self.bar = live_bar()
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self.name, self.pace, self.last_line = name, Pace(), 0.0
        if self.bar is not None:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.bar.console.print(f"[bold]{name}[/bold]", highlight=False)
            self.task = self.bar.add_task(name, total=None, note="", left="")
        else:
            self.print(name)

    def progress(self, done: float, total: float, note: str) -> None:
        """Tell how far the present stage is."""
        self.pace.add(done, time.monotonic())
        seconds = self.pace.left(total)
        left = "" if seconds is None else f"{duration(seconds)} left"
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, note=note, left=left)
        elif done >= total or time.monotonic() - self.last_line >= PLAIN_LINE_SECONDS:
            self.last_line = time.monotonic()
            self.print(f"  {done:g}/{total:g}  {note}  {left}".rstrip())

    def say(self, sentence: str) -> None:
        """Tell something a person should know."""
        if self.bar is not None:
            self.bar.console.print(f"  {sentence}", highlight=False, markup=False)
        else:
            self.print(f"  {sentence}")

    def print(self, line: str) -> None:
        """A plain line on stderr."""
        if not self.quiet:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def live_bar() -> Any:
    """A Rich progress bar on stderr."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="bold"),
        console=RichConsole(stderr=True),
        transient=True,
    )


def duration(seconds: float) -> str:
    """A time span in words: 45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

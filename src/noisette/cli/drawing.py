"""What a person sees while images are drawn."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from noisette.cli.progress import LINE_SECONDS, duration


class Drawing:
    """How far a drawing has come: a bar on a terminal, else a line every LINE_SECONDS; both on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.console, self.before = console, 0.0
        self.begun, self.begun_at, self.said_at = 0.0, 0.0, 0.0

    def __enter__(self) -> "Drawing":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar."""
        self._clear()
        print(line, flush=True)

    def show(self, done: float, images: int) -> None:
        """`done` of `images` are drawn; the rate is that since the first call of a drawing."""
        now = time.monotonic()
        if done <= self.before or not self.bar.tasks:
            self._clear()
            self.bar.add_task("", total=images)
            self.begun, self.begun_at, self.said_at = done, now, now
            self.bar.start()
        self.before = done
        rate = (done - self.begun) / (now - self.begun_at) if now > self.begun_at else 0.0
        told = f"{rate:,.1f} images/s" if rate else ""
        self.bar.update(self.bar.tasks[0].id, completed=done, description=told)
        if not self.console.is_terminal and rate and now - self.said_at >= LINE_SECONDS:
            self.said_at = now
            self.console.print(f"{done:,.0f} of {images:,} images  {told}  {duration((images - done) / rate)} left")
        if done >= images:
            self._clear()

    def _clear(self) -> None:
        self.bar.stop()
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.before = 0.0

"""What a person sees of a training run, and how Ctrl-C or SIGTERM end one."""

import contextlib
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from noisette.base.progress import Progress as Told
from noisette.report.pictures import save_curves
from noisette.training.log import read_log
from noisette.training.loop import Event, Finished, Stepped, Validated
from noisette.workflows.train import Run, Stopped

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal."""


class Stop:
    """Whether a signal has asked to stop: hand it to `Run.events`."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Within, the first Ctrl-C or SIGTERM only asks to stop; a second does what it always does."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore()
        os.write(2, b"\nnoisette: stopping after this step; once more to stop at once, unsaved\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield stop
    finally:
        restore()


def follow(run: Run) -> int:
    """Train a run to its end and show it: the plan, the progress, how it ended, the curves.

    Returns the exit code: 0 when finished, 128 + the number of the signal that stopped it.
    """
    print("\n".join(plan_lines(run)), flush=True)
    with stopped_by_signals() as stop:
        with _Display(run) as display:
            for event in run.events(stop):
                display.show(event)
        curves = run.out / "curves.png"
        if run.processes.is_first:
            save_curves(read_log(run.out / "metrics.jsonl"), curves, str(run.out))
    if isinstance(event, Stopped):
        print(f"stopped at {event.images_seen:,} images, saved; to go on: {run.command}")
        return 128 + (stop.signal or signal.SIGTERM)  # without a signal of its own, another process was sent one
    assert isinstance(event, Finished)
    print(f"finished, {event.reason}: {event.images_seen:,} images; {display.best()}; curves: {curves}")
    return 0


def plan_lines(run: Run) -> list[str]:
    """What is about to happen, a line each."""
    plan, report = run.plan, run.plan.report
    assert report.contents is not None
    train, held_out = report.contents.train.images, report.contents.validation.images
    classes = {0: "of no class", 1: "of one class"}.get(len(report.classes), f"of {len(report.classes):,} classes")
    verdict = "sound" if not report.warnings else "usable: " + "; ".join(report.warnings)
    begun = f"from image {plan.images_seen:,} on, " if plan.images_seen else ""
    left = "no horizon" if plan.seconds_left is None else f"about {duration(plan.seconds_left)}"
    many = f"processes: {plan.processes}, " if plan.processes > 1 else ""
    machine = f"{plan.device}, {many}threads: {plan.threads}, {plan.precision}"
    gone_on = f"resumed  {plan.damage}: going on from the checkpoint before it, at {plan.images_seen:,} images"
    changed = f"resumed  on {plan.processes}, not {plan.begun_on}, processes: as the unbroken run, but to rounding only"
    return [
        f"data     {report.name}: {train:,} images {classes} to train on, {held_out:,} to validate on; {verdict}",
        *(f"         {note}" for note in report.notes),
        f"network  {plan.parameters:,} parameters, {plan.multiply_adds / 1e6:,.1f} million multiply-adds an image",
        f"machine  {machine}; {plan.rate:,.0f} images/s when timed",
        f"time     {begun}{left}, validations besides",
        *([gone_on] if plan.damage else []),
        *([changed] if plan.begun_on else []),
    ]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, at most what a timedelta holds."""
    return str(timedelta(seconds=round(min(seconds, timedelta.max.total_seconds() - 1))))


@contextlib.contextmanager
def progress_bar() -> Iterator[Told]:
    """What is being done, how far it is, the time left: a bar on a terminal, else a line every LINE_SECONDS; both on
    stderr."""
    console = Console(stderr=True)
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(20), TaskProgressColumn(), TimeRemainingColumn())
    said_at = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading the data", total=None)

        def progress(what: str, done: float, total: float) -> None:
            nonlocal said_at
            if what != bar.tasks[0].description:
                bar.reset(task, description=what)
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - said_at >= LINE_SECONDS:
                said_at = time.monotonic()
                print(f"{what}: {done:,.0f} of {total:,.0f}", file=sys.stderr, flush=True)

        yield progress


class _Display:
    """A live bar on a terminal, else a line every LINE_SECONDS; both on stderr."""

    def __init__(self, run: Run) -> None:
        self.run, self.progress = run, run.state.progress
        console = Console(stderr=True)
        self.live = console.is_terminal
        text = TextColumn("{task.description}", markup=False)
        self.bar = Progress(BarColumn(20), text, console=console, refresh_per_second=4, disable=not self.live)
        self.task = self.bar.add_task("", total=1.0)
        self.begun = (self.progress.seconds, self._share())
        self.said_at = time.monotonic()
        self.moments: deque[tuple[float, int]] = deque(maxlen=500)
        self.losses: deque[float] = deque(maxlen=100)
        self.learning_rate = self.validation = math.nan

    def __enter__(self) -> "_Display":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, event: Event | Stopped) -> None:
        """Take in an event and bring the display up to date."""
        if isinstance(event, Stepped):
            self.moments.append((self.progress.seconds, event.images_seen))
            self.losses.append(event.loss)
            self.learning_rate = event.learning_rate
        elif isinstance(event, Validated):
            self.validation = event.loss
        if self.live:
            self.bar.update(self.task, completed=self._share(), description=self._line())
        elif time.monotonic() - self.said_at >= LINE_SECONDS:
            print(self._line(), file=sys.stderr, flush=True)
            self.said_at = time.monotonic()

    def best(self) -> str:
        """The best validation so far."""
        if not math.isfinite(self.progress.best_loss):
            return "never validated"
        return f"best validation loss {self.progress.best_loss:.4f} at {self.progress.best_images_seen:,} images"

    def _share(self) -> float:
        return self.run.config.training.share_done(self.progress.images_seen, self.progress.seconds)

    def _line(self) -> str:
        parts = [f"{self.progress.images_seen:,} images"]
        if len(self.moments) > 1:
            (since, first), (now, last) = self.moments[0], self.moments[-1]
            parts.append(f"{(last - first) / (now - since):,.0f}/s")
        if self.losses:
            parts += [f"loss {sum(self.losses) / len(self.losses):.4f}", f"learning rate {self.learning_rate:.2g}"]
        if not math.isnan(self.validation):
            parts.append(f"validation {self.validation:.4f}")
        seconds, share = self.begun
        if (gained := self._share() - share) > 0:
            left = (self.progress.seconds - seconds) * (1 - self._share()) / gained
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

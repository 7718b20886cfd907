"""`noisette perceive`: a classifier, or with --text a small CLIP model."""

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, subject
from noisette.cli.progress import LINE_SECONDS
from noisette.data.form import Form
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.contrast import ContrastConfig
from noisette.perception.fit import FitConfig, Fitted
from noisette.workflows.perceive import perceive
from noisette.workflows.perceive_text import perceive_text

PROG = "noisette perceive DATA"


@dataclass(frozen=True)
class Options:
    """Train a small classifier of a data set, to measure generated images with; with --text a small CLIP model, which
    knows its classes and how clear images are (`--text --help`: other flags)."""

    text: bool = False
    """Train a CLIP model instead."""
    config: Annotated[ClassifierConfig, arg(name="")] = ClassifierConfig()
    fitting: Annotated[FitConfig, arg(name="")] = FitConfig()
    form: Form = Form()
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(required)")] = None
    """The classifier's file, .safetensors."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class TextOptions:
    """Train a small CLIP model on images whose captions name their class and how clear they are."""

    config: Annotated[ContrastConfig, arg(name="")] = ContrastConfig()
    form: Form = Form()
    text: bool = True
    """What makes it a CLIP model."""
    caption: Annotated[tuple[str, ...], arg(metavar="TEMPLATE,TEMPLATE,...")] = ()
    """More captions, such as 'a photo of a {label}', besides those that are always used."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """The model's folder, in the form of the Hugging Face hub."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


def run(args: list[str]) -> int:
    """Train and measure as the flags say; the exit code."""
    name, flags = subject(args)
    if "--text" in flags:
        return _run_text(name, flags, shlex.join(["noisette", "perceive", *args]))
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal(f"no data set: expected its name first, as in {PROG} --out FILE")
    if options.out is None:
        raise Refusal("no --out: expected the .safetensors file to write")
    with _Display() as display:
        file = perceive(
            name,
            options.out,
            options.config,
            options.fitting,
            options.data_dir,
            options.device,
            shlex.join(["noisette", "perceive", *args]),
            display.show,
            options.form,
            display.reading,
        )
    card = file.card
    print(
        f"{card['accuracy']:.2%} right on {card['measured_images']:,} images ({card['measured_on']} part), trained in "
        f"{card['training_seconds']:.1f} s: {options.out}\ndigest {file.digest}"
    )
    return 0


def _run_text(name: str | None, flags: list[str], command: str) -> int:
    prog = f"{PROG} --text"
    options = parse(TextOptions, flags, prog)
    if name is None:
        raise Refusal(f"no data set: expected its name first, as in {prog} --out FOLDER")
    if options.out is None:
        raise Refusal("no --out: expected the folder to write")
    with _Display() as display:
        card = perceive_text(
            name,
            options.out,
            options.config,
            options.caption,
            options.data_dir,
            options.device,
            command,
            display.show,
            options.form,
            display.reading,
        )
    left_out = card["left_out"]
    print(
        f"{card['accuracy']:.2%} right on {card['measured_images']:,} images ({card['measured_on']} part), in "
        f"phrasings it never met {card['unseen_accuracy']:.2%}\n"
        f"clear above spoilt in {card['trained_clear']:.2%} of the pairs, above "
        f"{left_out}, which it never met, in {card[f'clear_not_{left_out}']:.2%}\n"
        f"trained in {card['training_seconds']:.1f} s: {options.out}\ndigest {card['digest']}"
    )
    return 0


class _Display:
    """A live bar on a terminal, else a line every LINE_SECONDS; both on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.live = console.is_terminal
        columns = (BarColumn(20), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console, disable=not self.live, transient=True)
        self.task = self.bar.add_task("reading the data", total=None)
        self.said_at = time.monotonic()

    def __enter__(self) -> "_Display":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def reading(self, what: str, done: float, total: float) -> None:
        """Take in how far the reading of the data has come."""
        self._say(done, total, f"{what}: {done:,.0f} of {total:,.0f}")

    def show(self, fitted: Fitted) -> None:
        """Take in an epoch and bring the display up to date."""
        left = fitted.seconds * (fitted.epochs - fitted.epoch) / fitted.epoch
        line = f"epoch {fitted.epoch} of {fitted.epochs}  loss {fitted.loss:.4f}  about {left:.0f} s left"
        self._say(fitted.epoch, fitted.epochs, line)

    def _say(self, done: float, total: float, line: str) -> None:
        if self.live:
            self.bar.update(self.task, completed=done, total=total, description=line)
        elif time.monotonic() - self.said_at >= LINE_SECONDS:
            print(line, file=sys.stderr, flush=True)
            self.said_at = time.monotonic()

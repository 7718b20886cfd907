"""From nothing to a report in minutes: draw with the weights that ship, then train a small model, draw with it, measure
it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noisette.data.datasets import load_data
from noisette.report.pictures import Pixels, grid_picture, save_curves, save_picture
from noisette.training.log import read_log
from noisette.workflows.model import Model, load
from noisette.workflows.recipes import load_recipe
from noisette.workflows.report import write_report
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_request import SampleRequest
from noisette.workflows.train import Run

ROWS = 10
MEASURED = 1000
"""Samples held against as many digits that were held out."""


def run_demo(
    out: Path, minutes: float, command: str, follow: Callable[[Run], bool], say: Callable[[str], None]
) -> list[Path]:
    """Make the demonstration in `out`; returns what was written: pictures, and last the report where it came so far.

    follow trains a run to its end, showing progress, and returns False when it was interrupted. say prints a line.
    A second demonstration in the same folder goes on with the training that is there.
    """
    say(f"1/4  drawing {ROWS} of each digit with the weights that ship")
    written = draw(load("mnist"), out, "shipped")

    say(f"2/4  training a small model from scratch on the digits that ship, for {minutes:g} minutes")
    config = load_recipe("demo")
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, minutes=minutes))
    run = Run(config, out / "run", command=command)
    if not follow(run):
        return written

    say(f"3/4  drawing {ROWS} of each digit with what was just trained")
    written += draw(load(run.out), out, "trained")
    losses, real = out / "trained-losses.png", out / "real-grid.png"
    save_curves(read_log(run.out / "metrics.jsonl"), losses, f"{config.dataset.data}, {minutes:g} minutes of training")
    save_picture(grid_picture(real_images(config.dataset.data), len(run.spec.classes)), real)
    say(f"4/4  measuring {MEASURED:,} samples and writing the report")
    return [*written, losses, real, write_report(run.out, count=MEASURED)]


def draw(model: Model, out: Path, name: str) -> list[Path]:
    """A grid with one column a class, and the film of its denoising."""
    grid, film = out / f"{name}-grid.png", out / f"{name}-film.gif"
    sample_to(model, SampleRequest(model.sampling, per_class=ROWS, out=grid, film=film))
    return [grid, film]


def real_images(name: str) -> Pixels:
    """The first images of each class, in the order of a grid with one column a class, to compare with."""
    data = load_data(name)
    rows = [np.flatnonzero(data.labels == label)[:ROWS] for label in range(len(data.classes))]
    return data.images[np.stack(rows, axis=1).ravel()]

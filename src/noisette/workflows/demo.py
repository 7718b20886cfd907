"""From nothing to pictures in a few minutes: draw with the weights that ship, then train a small model and draw with it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from noisette.data.datasets import load_data
from noisette.data.images import to_uint8
from noisette.diffusion.noise import unit_variance
from noisette.diffusion.sample import Snapshot
from noisette.report.pictures import (
    Pixels,
    film_moments,
    grid_picture,
    save_curves,
    save_film,
    save_picture,
)
from noisette.training.log import read_log
from noisette.workflows.model import Model, load
from noisette.workflows.recipes import load_recipe
from noisette.workflows.train import Run

ROWS = 10


def run_demo(
    out: Path, minutes: float, command: str, follow: Callable[[Run], bool], say: Callable[[str], None]
) -> list[Path]:
    """Make the demonstration in `out`; returns the pictures that were written.

    follow trains a run to its end, showing progress, and returns False when it was interrupted. say prints a line.
    A second demonstration in the same folder goes on with the training that is there.
    """
    say("1/3  drawing 100 digits with the weights that ship")
    written = draw(load("mnist"), out, "shipped")

    say(f"2/3  training a small model from scratch on 4,000 real digits, for about {minutes:g} minutes")
    config = load_recipe("demo")
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, minutes=minutes))
    trained = out / "run"
    run = Run(config, trained, command=command)
    if not follow(run):
        return written

    say("3/3  drawing 100 digits with what was just trained")
    written += draw(load(trained), out, "trained")
    written.append(out / "trained-losses.png")
    save_curves(read_log(trained / "metrics.jsonl"), written[-1], f"{config.dataset.data}, recipe demo, {minutes:g} minutes")
    written.append(out / "real-grid.png")
    save_picture(grid_picture(real_digits(), 10), written[-1])
    return written


def draw(model: Model, out: Path, name: str) -> list[Path]:
    """A grid with one column a class, and the film of its denoising: noisy on the left, the estimate on the right."""
    classes = len(model.classes)
    labels = [number % classes for number in range(ROWS * classes)]
    frames: list[Image.Image] = []
    moments = film_moments(model.sampling.steps)
    for snapshot in model.snapshots(labels, seed=0):
        if snapshot.step in moments:
            frames.append(film_frame(snapshot, classes))
    grid, film = out / f"{name}-grid.png", out / f"{name}-film.gif"
    save_picture(grid_picture(to_uint8(snapshot.denoised.cpu()), classes), grid)
    save_film(frames, film)
    return [grid, film]


def film_frame(snapshot: Snapshot, columns: int) -> Image.Image:
    """What a film shows of a snapshot: the noisy images as the discrete chain has them, beside the estimates."""
    halves: Sequence[torch.Tensor] = (unit_variance(snapshot.noisy, snapshot.noise_level), snapshot.denoised)
    left, right = (grid_picture(to_uint8(half.cpu()), columns, zoom=1) for half in halves)
    frame = Image.new(left.mode, (left.width + right.width, left.height))
    frame.paste(left, (0, 0))
    frame.paste(right, (left.width, 0))
    return frame.resize((2 * frame.width, 2 * frame.height), Image.Resampling.NEAREST)


def real_digits() -> Pixels:
    """Ten real digits of each class, for comparison, in the order of the grid's columns."""
    data = load_data("mnist-5k")
    rows = [np.flatnonzero(data.labels == number)[:ROWS] for number in range(len(data.classes))]
    return data.images[np.stack(rows, axis=1).ravel()]

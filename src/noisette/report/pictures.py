"""Grids, films and curves: what a person would rather see than read."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisette.base.errors import unknown
from noisette.base.files import whole_file

Pixels = npt.NDArray[np.uint8]
"""Images [N, H, W, C], C = 1 or 3."""

FILM_SUFFIXES = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}
GAP = 2  # pixels between the images of a grid


def grid_picture(images: Pixels, columns: int, zoom: int | None = None) -> Image.Image:
    """Images in rows of `columns`, in reading order, enlarged `zoom` times (left out: so that it is easy to see)."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    zoom = zoom or max(1, min(4, 1200 // (columns * (width + GAP))))
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 40, np.uint8)
    for number, image in enumerate(images):
        top, left = (
            GAP + place * size for place, size in zip(divmod(number, columns), (height + GAP, width + GAP), strict=True)
        )
        sheet[top : top + height, left : left + width] = image
    picture = as_picture(sheet)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def as_picture(image: Pixels) -> Image.Image:
    """One image [H, W, C] for Pillow."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def columns_for(count: int, classes: int) -> int:
    """Columns of a grid of images whose classes come in turns: about a square, and each column of one class where the
    classes fill whole rows and are not too many."""
    side = min(count, math.ceil(math.sqrt(count)))
    if not 1 < classes <= 40 or count % classes:
        return side
    return max(times for times in range(classes, max(classes, side) + 1, classes) if count % times == 0)


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PNG whole or not at all."""
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG")


def check_film_name(path: Path) -> None:
    """Refuse a film whose suffix names no format."""
    if path.suffix.lower() not in FILM_SUFFIXES:
        raise unknown("film format", path.suffix, FILM_SUFFIXES)


def save_film(frames: Sequence[Image.Image], path: Path, seconds: float = 4.0) -> None:
    """Write an animation (.gif, .png/.apng, .webp) that plays in about `seconds`, rests on its last frame and
    repeats."""
    check_film_name(path)
    each = max(20, round(1000 * seconds / len(frames)))
    durations = [each] * (len(frames) - 1) + [1500]
    with whole_file(path) as temporary:
        frames[0].save(
            temporary,
            format=FILM_SUFFIXES[path.suffix.lower()],
            save_all=True,
            append_images=list(frames[1:]),
            duration=durations,
            loop=0,
        )


def film_moments(steps: int, most: int = 60) -> set[int]:
    """The step numbers to film: all, or at most `most` of them evenly spread, the last always among them."""
    return {math.ceil(number * steps / min(steps, most)) for number in range(1, min(steps, most) + 1)}


def save_curves(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw a run's log: training and validation loss, validation by noise level, the learning rate; against images
    seen."""
    from matplotlib.figure import Figure  # slow to import, and only needed here

    steps = [record for record in records if record["event"] == "step"]
    validations = [record for record in records if record["event"] == "validation"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    losses, buckets, rates = figure.subplots(1, 3)
    figure.suptitle(title)

    seen = [record["images_seen"] for record in steps]
    values = [record["loss"] for record in steps]
    losses.plot(seen, values, color="0.85", linewidth=0.6, label="training, each batch")
    losses.plot(seen, list(_smoothed(values, max(1, len(values) // 50))), color="tab:blue", label="training, smoothed")
    at = [record["images_seen"] for record in validations]
    losses.plot(
        at,
        [record["loss"] for record in validations],
        "o-",
        color="tab:red",
        markersize=3,
        label="validation (EMA)",
    )
    if best := [record for record in validations if record["is_best"]]:
        losses.plot(best[-1]["images_seen"], best[-1]["loss"], "*", color="tab:red", markersize=12, label="best")
    low, high = np.percentile(values, [1, 95]) if values else (0.0, 1.0)
    losses.set(xlabel="images seen", ylabel="loss", ylim=(max(0.0, 0.8 * low), 1.2 * high))
    losses.legend(fontsize=8)

    edges = validations[-1]["bucket_edges"] if validations else []
    for number, (lower, upper) in enumerate(itertools.pairwise(edges)):
        colour = f"C{number}"
        label = f"{lower:.2g} to {upper:.2g}"
        buckets.plot(at, [r["bucket_losses"][number] for r in validations], ".-", color=colour, label=label)
    buckets.set(xlabel="images seen", ylabel="validation loss", title="by noise level")
    if edges:
        buckets.legend(fontsize=7, title="noise level", title_fontsize=7, bbox_to_anchor=(1, 1), loc="upper left")

    rates.plot(seen, [record["learning_rate"] for record in steps], color="tab:green")
    rates.set(xlabel="images seen", ylabel="learning rate", ylim=(0, None))
    for record in validations:
        if record["rate_dropped"]:
            rates.axvline(record["images_seen"], color="0.7", linestyle=":")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.lstrip("."))


def _smoothed(values: Sequence[float], window: int) -> Iterator[float]:
    """Running mean over the last `window` values."""
    total = 0.0
    for number, value in enumerate(values):
        total += value - (values[number - window] if number >= window else 0.0)
        yield total / min(number + 1, window)

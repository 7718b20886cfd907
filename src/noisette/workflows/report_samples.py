"""What a report tells of the samples: grids, the film, when they are recognised, and how good they are.

A section raises NoisetteError when it has nothing to show; the page then tells the error in its place.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisette.base.config import from_plain, require
from noisette.base.errors import NoisetteError, Refusal, one_line, shortened
from noisette.base.shapes import NO_CLASS
from noisette.data.images import to_uint8
from noisette.diffusion.noise import unit_variance
from noisette.evaluation.recognition import recognised_at
from noisette.report import figures
from noisette.report.page import Part, Row, Table, chart, film, pixels
from noisette.report.pictures import Pixels, columns_for, film_moments, grid_picture
from noisette.report.words import listed, number, percent
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import last
from noisette.workflows.perceive import load_perception
from noisette.workflows.run_folder import RunFolder
from noisette.workflows.studies.recognition import courses

ROWS, MOST = 10, 200
"""Samples shown: so many of each class, at most so many in all."""
STRIP = 8
"""Moments of the film shown side by side."""
LINES = 16
"""Classes that have a curve each, at most."""


def samples(run: RunFolder, folder: Path) -> Part:
    """A grid by class, and real images in the same order."""
    model = run.model()
    classes = len(model.classes)
    labels = labels_for(classes, ROWS, MOST)
    columns = columns_for(len(labels), classes)
    drawn = to_uint8(model.sample(labels, seed=0))
    zoom = max(1, round(600 / (columns * drawn.shape[2])))  # sharp on the page, and small in its file
    order = f" Columns: {listed(model.classes)}." if 1 < classes <= 20 else ""
    caption = f"{len(labels)} samples drawn with {run.weights}, seed 0.{order}"
    grid = grid_picture(drawn, columns, zoom)
    pictures = [pixels(grid, folder / "samples", caption, "Samples, one column a class.")]
    try:
        real = grid_picture(real_images(run, labels), columns, zoom)
        told = "Real training images in the same order."
        pictures.append(pixels(real, folder / "real", told, "Real images, one column a class."))
    except NoisetteError as error:
        return Part(pictures, missing=[f"Real images to compare with: {one_line(error)}."])
    return Part(pictures)


def labels_for(classes: int, rows: int, most: int) -> list[int]:
    """Labels of samples to show: the classes in turns, `rows` of each but at most `most` in all; or no class."""
    if classes == 0:
        return [NO_CLASS] * min(most, 10 * rows)
    rows = max(1, min(rows, most // classes))
    return [number % classes for number in range(min(most, rows * classes))]


def real_images(run: RunFolder, labels: Sequence[int]) -> Pixels:
    """Training images of these labels, the first ones of each class. Raises Refusal where a class has too few."""
    data, kept = run.data(), run.split()[0]
    unused = {label: list(kept[data.labels[kept] == label]) for label in set(labels)} | {NO_CLASS: list(kept)}
    rows = [unused[label].pop(0) for label in labels if unused[label]]
    if len(rows) < len(labels):
        raise Refusal("a class has fewer training images than samples are shown")
    return data.images[rows]


def denoising(run: RunFolder, folder: Path) -> Part:
    """The film, and one sample of it step by step."""
    model = run.model()
    labels = labels_for(len(model.classes), 2, 20)
    columns = columns_for(len(labels), len(model.classes))
    shown: dict[int, tuple[Pixels, Pixels]] = {}  # of the film's moments, by step
    for snapshot in model.snapshots(labels, seed=0):
        if snapshot.step in film_moments(snapshot.steps):
            noisy = unit_variance(snapshot.noisy, snapshot.noise_level)
            shown[snapshot.step] = to_uint8(noisy), to_uint8(snapshot.denoised)
    frames = [stacked([grid_picture(side, columns, 2) for side in sides]) for sides in shown.values()]
    steps = [step for place, step in enumerate(shown, start=1) if place in film_moments(len(shown), STRIP)]
    one = np.stack([shown[step][side][-1] for side in (0, 1) for step in steps])
    told = f"After {listed(steps)} of {snapshot.steps} steps: above with its noise, below the guess of the clean image."
    caption = f"{len(labels)} samples, {snapshot.steps} steps."
    return Part(
        [
            film(frames, folder / "film", caption, "Noise becoming images."),
            pixels(grid_picture(one, len(steps), 3), folder / "film-strip", told, "One sample at several steps."),
        ]
    )


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Two pictures of one size, one below the other."""
    upper, lower = pictures
    sheet = Image.new(upper.mode, (upper.width, upper.height + lower.height))
    sheet.paste(upper, (0, 0))
    sheet.paste(lower, (0, upper.height))
    return sheet


# Measured ---------------------------------------------------------------------------------------------------------

WATCHED, WATCHED_LONG, LONG = 200, 50, 100
"""Samples that are watched while they are drawn, and how many with at least LONG steps."""

Record = Mapping[str, Any]
"""What `noisette evaluate` found, read from JSON."""


def recognition(run: RunFolder, folder: Path, classifier: str) -> Part:
    """Accuracy and confidence of the classifier along the steps, on the noisy image and on the guess; the guess by
    class."""
    model = run.model()
    classes = model.classes
    require(len(classes) > 0, "a model without classes", "classes, which can be recognised")
    perception = load_perception(classifier, str(model.device))
    require(
        perception.spec.classes == classes,
        f"classifier {classifier} of the classes {shortened(perception.spec.classes)}",
        f"one of {shortened(classes)}: `noisette perceive` trains it, --classifier names its file",
    )
    steps = len(model.file.spec.sampling_grid(model.sampling)) - 1
    labels = labels_for(len(classes), MOST, WATCHED if steps < LONG else WATCHED_LONG)
    count = len(labels)
    moments, _, found = courses(model, perception.network, labels)
    done = [moment / steps for moment in moments]
    curves = {
        f"{name}: {what}": getattr(found[course], what)
        for course, name in (("noisy", "noisy"), ("clean", "guess"))
        for what in ("accuracy", "confidence")
    }
    caption, mark = f"{count} samples.", None
    if len(done) > 1:
        mark, guess = (recognised_at(done, found[course].accuracy) for course in ("noisy", "clean"))
        caption += (
            f" Nine tenths of the final accuracy are reached after {100 * mark:.0f} % of the steps on the noisy "
            f"image, and after {100 * guess:.0f} % on the guess."
        )
    figure = figures.recognition(done, curves, mark)
    alt = "Accuracy and confidence against the share of reverse steps done."
    pictures = [chart(figure, folder / "recognition", caption, alt)]
    if len(classes) <= LINES:
        by_class = dict(zip(classes, zip(*found["clean"].by_class, strict=True), strict=True))
        told = "Accuracy on the guess of the clean image, class by class."
        figure = figures.recognition_by_class(done, by_class)
        pictures.append(chart(figure, folder / "recognition-by-class", told, told))
    return Part(pictures)


def measured(record: Record) -> Part:
    """Every metric with its interval and what real images score."""
    source, data, classifier = record["source"], record["data"], record["classifier"]
    against = f"the {data['part']} part of {data['name']}"
    read = "–" if classifier["accuracy"] is None else percent(classifier["accuracy"])
    facts = [
        ("measured", f"{source['count']:,} samples, seed {source['seed']}, {data['priors']} class counts"),
        ("against", f"{data['reference_count']:,} real images, {against}"),
        (
            "classifier",
            f"{classifier['name']}, {classifier['features']} features; trained on {classifier['trained_on']}",
        ),
        ("it reads", f"{read} of {against}"),
        ("sampling", sampling_told(source)),
    ]
    names = [*METRICS, *(name for name in record["metrics"] if name not in METRICS)]
    rows = [row for name in names if name in record["metrics"] for row in _rows(name, record["metrics"][name])]
    return Part(facts=facts, table=Table(("", "samples", "90 % interval", "real images", "better"), rows))


def thousandfold(value: float) -> str:
    """A small number, times 1000."""
    return number(1000 * value)


METRICS: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "label_accuracy": ("Label accuracy", "samples that the classifier reads as what was asked for", percent),
    "frechet": ("Fréchet distance", "between the means and covariances of features", number),
    "kernel": (
        "Kernel distance × 1000",
        "between all moments of features; equal class counts push it below 0",
        thousandfold,
    ),
    "coverage": ("Coverage", "real images with a sample in their neighbourhood", percent),
    "density": ("Density", "how many neighbourhoods of real images hold a sample; 1 for equals", number),
    "precision": ("Precision", "samples in the neighbourhood of a real image", percent),
    "recall": ("Recall", "real images in the neighbourhood of a sample", percent),
    "diversity": ("Diversity", "mean distance between two samples of one class", number),
    "memorised_feature": (
        "Too close, in features",
        "samples closer to a training image than 99 % of unseen real images are",
        percent,
    ),
    "memorised_pixel": ("Too close, in pixels", "the same, pixel by pixel", percent),
    "usefulness": ("Usefulness", "real images read rightly by a classifier that learned from samples alone", percent),
}
"""How each metric of a record is told: its name, what it says, how its numbers are written."""

ARROWS = {"up": "higher", "down": "lower", "near": "near real"}


def _rows(name: str, found: Mapping[str, Any]) -> list[Row]:
    """The row of a metric, and of the Fréchet distance a second one in floors."""
    title, note, write = METRICS.get(name, (name, "", number))
    value, low, high, real = (write(found[key]) for key in ("value", "low", "high", "real"))
    if found.get("real_spread") is not None:
        real += f" ± {_spread(found['real_spread'], write)}"
    rows = [Row(title, note, (value, f"{low} to {high}", real, ARROWS[found["better"]]))]
    if name == "frechet" and found.get("floors"):
        floor = found["real"]
        value, low, high = (number(found[key] / floor) for key in ("value", "low", "high"))
        cells = (value, f"{low} to {high}", "1", ARROWS[found["better"]])
        rows.append(Row("… in floors", "in units of the same distance of as many real training images", cells))
    return rows


def _spread(value: float, write: Callable[[float], str]) -> str:
    """A spread, of which two digits are enough."""
    return write(value) if write is percent else number(1000 * value if write is thousandfold else value, 2)


def sampling_told(source: Mapping[str, Any]) -> str:
    """How samples were drawn, in a line."""
    sampling = source.get("sampling") or {}
    told = [f"{sampling.get('sampler', '?')}, {sampling.get('steps', '?')} steps"]
    if sampling.get("guidance_scale", 1) != 1:
        told.append(f"guidance {sampling['guidance_scale']:g}")
    return ", ".join([*told, f"{source['evaluations']:g} evaluations an image", str(source["dtype"])])


def confused(record: Record, folder: Path) -> Part:
    """The confusion matrix, and its commonest mistakes."""
    matrix, classes = np.array(record["confusion"]), record["classes"]
    require(int(matrix.sum()) > 0, "samples of no class in particular", "classes asked for, to be confused")
    wrong = matrix - np.diag(np.diag(matrix))
    order = [divmod(int(place), len(classes)) for place in np.argsort(-wrong, axis=None, kind="stable")[:5]]
    mistakes = [
        f"{classes[row]} as {classes[column]} ({wrong[row, column]})" for row, column in order if wrong[row, column]
    ]
    told = f"{wrong.sum():,} of {matrix.sum():,} are read as another class"
    told += f", most often {listed(mistakes)}." if mistakes else "."
    if len(classes) > figures.MOST_CONFUSED:
        return Part(facts=[("mistakes", told)])
    return Part([chart(figures.confusion(matrix.tolist(), classes), folder / "confusion", told, "Confusion matrix.")])


def closest(run: RunFolder, record: Record, folder: Path) -> Part:
    """The samples closest to a training image, each above it."""
    model, near, source = run.model(), record["nearest"], record["source"]
    classes = len(model.classes)
    require(
        classes == 0 or record["data"]["priors"] == "equal",
        "samples with the data's own class counts",
        "equal ones, to draw the closest again",
    )
    require(max(near["training"]) < len(run.data().images), "an evaluation of more images", f"those of {run.folder}")
    labels = [number % classes if classes else NO_CLASS for number in near["samples"]]
    sampling = from_plain(SamplingConfig, source["sampling"], "sampling of the evaluation", base=SamplingConfig())
    drawn = [last(batch).denoised for batch in model.batches(labels, source["seed"], near["samples"], sampling)]
    images = np.concatenate([to_uint8(torch.cat(drawn)), run.data().images[near["training"]]])
    apart = ", ".join(number(distance) for distance in near["distances"])
    threshold = number(near["feature"]["threshold"])
    caption = f"Distances in features: {apart}. 99 % of unseen real images are farther than {threshold}."
    grid = grid_picture(images, len(labels), max(1, round(600 / (len(labels) * images.shape[2]))))
    alt = "Ten samples above, below each the training image nearest to it."
    return Part([pixels(grid, folder / "nearest", caption, alt)])

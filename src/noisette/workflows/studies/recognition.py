"""Recognition: after which share of the reverse steps can a digit be told?

The laboratory said "recognisable after 70 to 80 % of the steps". Here the classifier reads each digit at every step,
twice: the noisy image as it is shown, `noisy / sqrt(1 + sigma^2)`, and the predicted clean one. The point is where
accuracy reaches 90 % of its final value for good. A chain is drawn by all its steps of ddpm, any other model by its
defaults. The classifier never learned from noisy images: on those a person
sees sooner than it does, and its point is a late one. The share of steps depends on the grid: only a model of the
laboratory's diffusion (`noisette study recognition RUN`) is held against the laboratory's claim.

No training. Time on two cores: 1,000 digits at 18 steps, or 400 along a chain of 500, take 1 to 2 minutes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisette.data.images import to_uint8
from noisette.diffusion.noise import unit_variance
from noisette.evaluation.recognition import recognised_at
from noisette.perception.classifier import Classifier
from noisette.perception.read import read
from noisette.report.comparisons import Chart, Curve, charts, grids
from noisette.report.pictures import film_moments, grid_picture
from noisette.weights.model_file import TRAINED, SamplingConfig
from noisette.workflows.model import Model
from noisette.workflows.studies.bench import SEED, Bench
from noisette.workflows.studies.finding import Drawn, Finding, Table

MOMENTS = 50
"""Steps at which the images are read, at most."""
CLAIMED = (0.7, 0.8)
"""The laboratory's share of the steps after which a digit can be recognised."""
WORDS = {"noisy": "noisy image", "clean": "predicted clean image"}
SURE = 0.3
"""Confidence above accuracy that is worth a word."""
LOST = 0.03
"""Accuracy lost on the way that is worth a word."""
LONG = 100
"""Steps from which on fewer digits are drawn."""
FILMED = (0.2, 0.4, 0.6, 0.7, 0.8, 1.0)
"""Shares of the steps that the figure shows."""


@dataclass
class Course:
    """What the classifier reads along the way. accuracy, confidence: [moments]; by_class: accuracies [moments, K].

    confidence is the probability of the likeliest class, right or wrong.
    """

    accuracy: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    by_class: list[list[float]] = field(default_factory=list)


def courses(
    model: Model,
    classifier: Classifier,
    labels: Sequence[int],
    seed: int = SEED,
    sampling: SamplingConfig | None = None,
    progress: Callable[[float, int], None] = lambda done, images: None,
) -> tuple[list[int], list[float], dict[str, Course]]:
    """Draw, with the model's defaults unless told otherwise, one image a label: (steps done, noise levels, courses of
    `noisy` and `clean`). progress is told how many are drawn, and how many there are."""
    sampling = sampling or model.sampling
    steps = len(model.file.spec.sampling_grid(sampling)) - 1
    moments = sorted(film_moments(steps, MOMENTS))
    levels: dict[int, float] = {}
    read_so_far: dict[tuple[str, int], list[Tensor]] = {}
    drawn = 0
    for batch in model.batches(labels, seed, range(len(labels)), sampling):
        for snapshot in batch:
            progress(drawn + len(snapshot.noisy) * snapshot.step / steps, len(labels))
            if snapshot.step in moments:
                levels[snapshot.step] = snapshot.noise_level
                shown = {"noisy": unit_variance(snapshot.noisy, snapshot.noise_level), "clean": snapshot.denoised}
                for what, images in shown.items():
                    found = read(classifier, images.float()).probabilities
                    read_so_far.setdefault((what, snapshot.step), []).append(found)
        drawn += len(snapshot.noisy)
    asked = torch.tensor(list(labels))
    found_courses = {"noisy": Course(), "clean": Course()}
    for (what, _), parts in sorted(read_so_far.items(), key=lambda item: item[0][1]):
        probabilities = torch.cat(parts)
        sure, guesses = probabilities.max(1)
        right = (guesses == asked).double()
        course = found_courses[what]
        course.accuracy.append(float(right.mean()))
        course.confidence.append(float(sure.mean()))
        course.by_class.append([float(right[asked == label].mean()) for label in range(len(model.classes))])
    return moments, [levels[moment] for moment in moments], found_courses


def whole_way(model: Model) -> SamplingConfig:
    """How the study draws: a chain by all its steps of ddpm, as the laboratory did, any other model by its defaults."""
    diffusion = model.file.spec.diffusion
    if not diffusion.is_chain():
        return model.sampling
    return dataclasses.replace(model.sampling, sampler="ddpm", eta=None, steps=diffusion.table_steps, grid=TRAINED)


def study(bench: Bench) -> Finding:
    """Draw with the model, and read at every moment."""
    model = bench.given
    assert model is not None, "the catalogue gives a model"
    bench.plan(1)
    cell = bench.cell("course", lambda: _measured(bench, model))
    return Finding(
        f"Recognition: when a digit can be told, {model.name}",
        paragraph(cell, bench.classes),
        [_table(cell, bench.classes)],
        {
            "recognition": Drawn(_curves(cell), "Overall: the noisy image and the predicted clean one."),
            "classes": Drawn(_class_curves(cell, bench.classes), "Class by class."),
            "film": Drawn(_film(bench, model), "Noisy images as they are shown, and the clean ones predicted then."),
        },
    )


def _measured(bench: Bench, model: Model) -> Mapping[str, Any]:
    sampling = whole_way(model)
    steps = len(model.file.spec.sampling_grid(sampling)) - 1
    labels = bench.even_labels(bench.effort.chain_digits if steps >= LONG else bench.effort.digits)
    moments, levels, found = courses(model, bench.judge.classifier, labels, sampling=sampling, progress=bench.progress)
    shares = [moment / steps for moment in moments]
    return {
        "count": len(labels),
        "steps": steps,
        "sampler": sampling.sampler,
        "chain": model.file.spec.diffusion.is_chain(),
        "shares": shares,
        "noise_levels": levels,
        **{
            what: {
                "accuracy": course.accuracy,
                "confidence": course.confidence,
                "by_class": course.by_class,
                "recognised_at": recognised_at(shares, course.accuracy),
                "class_recognised_at": [recognised_at(shares, own) for own in zip(*course.by_class, strict=True)],
            }
            for what, course in found.items()
        },
    }


def paragraph(cell: Mapping[str, Any], classes: Sequence[str]) -> str:
    """What the numbers say."""
    noisy, clean = cell["noisy"], cell["clean"]
    at = {what: cell[what]["recognised_at"] for what in WORDS}
    where = {what: _level(cell, share) for what, share in at.items()}
    said = [
        f"Of {cell['count']:,} digits drawn with {cell['steps']} steps of {cell['sampler']}, the classifier tells "
        f"{noisy['accuracy'][-1]:.1%} at the end as what was asked for. On the noisy image nine tenths of that are "
        f"reached after {at['noisy']:.0%} of the steps, at noise level {where['noisy']:.2g}; on the predicted clean "
        f"image after {at['clean']:.0%}, at {where['clean']:.2g}."
    ]
    if at["clean"] < at["noisy"]:
        said.append(
            "The network knows what it draws before the classifier can tell it from the noisy image (on noise it was "
            "never trained: a person sees sooner)."
        )
    best = int(np.argmax(clean["accuracy"]))
    if clean["accuracy"][best] > clean["accuracy"][-1] + LOST:
        said.append(
            f"The predicted clean image is told best on the way, {clean['accuracy'][best]:.1%} after "
            f"{cell['shares'][best]:.0%} of the steps: what is added later costs some digits their class."
        )
    if noisy["confidence"][0] > noisy["accuracy"][0] + SURE:
        said.append(
            f"Its confidence means nothing there: after the first step it is {noisy['confidence'][0]:.0%} sure of the "
            f"noisy image and {noisy['accuracy'][0]:.0%} right. It takes noise for class "
            f"{classes[int(np.argmax(noisy['by_class'][0]))]}, whose row is no recognition."
        )
    low, high = CLAIMED
    if low <= at["noisy"] <= high:
        claim = "The laboratory's 70 to 80 % hold for the noisy image"
    else:
        sooner = "sooner" if at["noisy"] < low else "later"
        claim = f"The noisy image is recognised {sooner} than the laboratory said (70 to 80 % of the steps)"
    grid = "" if cell["chain"] else "; but this grid is not the laboratory's, and shares of steps depend on the grid"
    said.append(f"{claim}{grid}.")
    by_class = clean["class_recognised_at"]
    told = [number for number, right in enumerate(clean["by_class"][-1]) if right > 0]  # 0 is no recognition
    if told:
        first, last = min(told, key=by_class.__getitem__), max(told, key=by_class.__getitem__)
        said.append(
            f"Of the predicted clean images, class {classes[first]} is recognised first ({by_class[first]:.0%}) and "
            f"class {classes[last]} last ({by_class[last]:.0%})."
        )
    return " ".join(said)


def _level(cell: Mapping[str, Any], share: float) -> float:
    """The noise level at which the first moment at or after `share` stands."""
    return float(next(level for level, at in zip(cell["noise_levels"], cell["shares"], strict=True) if at >= share))


def _moment(cell: Mapping[str, Any], share: float, final: float) -> str:
    """A share of the steps; the first that was looked at is no more than a bound. never: the final accuracy is 0."""
    return "never" if final == 0 else "at once" if share <= cell["shares"][0] else f"{share:.0%}"


def _table(cell: Mapping[str, Any], classes: Sequence[str]) -> Table:
    rows = [
        (
            name,
            *(
                text
                for what in ("noisy", "clean")
                for text in (
                    _moment(cell, cell[what]["class_recognised_at"][number], cell[what]["by_class"][-1][number]),
                    f"{cell[what]['by_class'][-1][number]:.1%}",
                )
            ),
        )
        for number, name in enumerate(classes)
    ]
    whole = [
        text
        for what in ("noisy", "clean")
        for text in (
            _moment(cell, cell[what]["recognised_at"], cell[what]["accuracy"][-1]),
            f"{cell[what]['accuracy'][-1]:.1%}",
        )
    ]
    columns = ("class", "noisy image after", "in the end", "predicted clean image after", "in the end")
    title = "Share of the reverse steps after which nine tenths of the final accuracy are reached"
    return Table(title, columns, [("all", *whole), *rows])


def _percents(cell: Mapping[str, Any]) -> list[float]:
    return [100 * share for share in cell["shares"]]


def _curves(cell: Mapping[str, Any]) -> Any:
    shown = [
        Chart(
            f"{name.capitalize()}",
            "share of reverse steps done, %",
            {words: Curve(_percents(cell), cell[what][name]) for what, words in WORDS.items()},
            shares=True,
        )
        for name in ("accuracy", "confidence")
    ]
    return charts(shown)


def _class_curves(cell: Mapping[str, Any], classes: Sequence[str]) -> Any:
    shown = [
        Chart(
            f"Accuracy, {words}",
            "share of reverse steps done, %",
            {
                name: Curve(_percents(cell), [row[number] for row in cell[what]["by_class"]])
                for number, name in enumerate(classes)
            },
            shares=True,
        )
        for what, words in WORDS.items()
    ]
    return charts(shown)


def _film(bench: Bench, model: Model) -> Any:
    """One digit of each class at some shares of the steps: drawn anew, which takes a moment."""
    sampling = whole_way(model)
    steps = len(model.file.spec.sampling_grid(sampling)) - 1
    moments = {max(1, round(share * steps)): share for share in FILMED}
    panels: list[list[tuple[str, Any]]] = []
    for snapshot in model.snapshots(range(len(model.classes)), SEED, sampling=sampling):
        if snapshot.step in moments:
            noisy = unit_variance(snapshot.noisy, snapshot.noise_level)
            pictures = (grid_picture(to_uint8(images), len(model.classes)) for images in (noisy, snapshot.denoised))
            title = f"{snapshot.step / steps:.0%} of the steps, noise level {snapshot.noise_level:.2g}"
            panels.append(list(zip((f"{title}: noisy", "predicted clean"), pictures, strict=True)))
    return grids(panels)

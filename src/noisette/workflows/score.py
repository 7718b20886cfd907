"""`noisette score`: what a scorer makes of samples, image by image, beside what it makes of real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import noisette
from noisette.base.progress import Progress, silent
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import ImageData
from noisette.evaluation.intervals import wilson
from noisette.perception.prompts import TEMPLATE
from noisette.workflows.calibrated import Calibrated, RealImages, Verdicts, calibrate, means, some_real_images
from noisette.workflows.perceive import labelled_parts
from noisette.workflows.scorers import BAD, CLIP, ClassScorer, load_scorer
from noisette.workflows.sources import Samples, check_fits

FORMAT = "noisette-score-1"


@dataclass(frozen=True)
class Prompts:
    """What a CLIP model is asked; a comma within a prompt has a backslash before it."""

    prompts: tuple[str, ...] = (TEMPLATE,)
    """That ask for a class, {label} in its place, or {word} or {digit} of a digit; several are averaged."""
    bad: tuple[str, ...] = (BAD,)
    """That say that an image is bad, whatever it shows."""


@dataclass(frozen=True)
class ScoreRequest:
    """What scores, and which real images stand beside the samples."""

    by: str = CLIP
    """Scores: clip or classifier (those that ship), a classifier's .safetensors file, a folder with a CLIP or SigLIP
    model, or the name of one on the hub, owner/name."""
    prompts: Prompts = Prompts()
    data: str = "mnist"
    """Real images of the same kind: a data set's name or path, as `noisette train` reads it."""
    form: Form = AS_IT_IS


@dataclass(frozen=True, eq=False)
class Score:
    """The record, and what figures are made of."""

    record: dict[str, Any]
    samples: Samples
    verdicts: Verdicts
    calibrated: Calibrated


class Scoring:
    """Everything that scoring needs, loaded; `run` does the work, for any samples."""

    def __init__(
        self,
        request: ScoreRequest,
        data_dir: Path | None = None,
        device: str = "auto",
        progress: Progress = silent,
    ) -> None:
        """Load the data and the scorer. Raises Refusal for what is missing or does not fit together."""
        self.data, self.real = real_images(request.data, data_dir, request.form, progress)
        self.scorer = scorer_for(request.by, self.data, request.prompts, device)

    def run(self, samples: Samples, progress: Progress = silent) -> Score:
        """Calibrate the scorer on real images, and score the samples. Raises Refusal, before that, for samples that are
        not like the data."""
        check_fits(samples, self.data)
        calibrated = calibrate(self.scorer, self.real, progress)
        name = samples.source["name"]
        verdicts = calibrated.judge(samples.images, samples.labels, progress, f"scoring {name}")
        return Score(_record(samples, verdicts, calibrated), samples, verdicts, calibrated)


def real_images(name: str, data_dir: Path | None, form: Form, progress: Progress) -> tuple[ImageData, RealImages]:
    """A data set, and those of its images that no training sees: its test part, else a fifth of each class."""
    train, held_out = labelled_parts(name, data_dir, form, progress)
    return train.data, some_real_images(held_out.data, torch.from_numpy(held_out.rows))


def scorer_for(name: str, data: ImageData, prompts: Prompts, device: str) -> ClassScorer:
    """The scorer of a data set's images and classes. Raises Refusal as `load_scorer`."""
    height, width, channels = data.images.shape[1:]
    return load_scorer(name, data.classes, (channels, height, width), prompts.prompts, prompts.bad, device)


# The record ---------------------------------------------------------------------------------------


def _record(samples: Samples, verdicts: Verdicts, calibrated: Calibrated) -> dict[str, Any]:
    scorer, source = calibrated.scorer, samples.source
    return {
        "format": FORMAT,
        "source": {**source, "digest": samples.digest(), "count": len(samples.labels), "labelled": samples.labelled},
        "scorer": calibrated.facts(),
        "samples": _summary(samples.labelled, verdicts),
        "by_class": [
            {"class": name, **_of_class(number, samples.labelled, verdicts, calibrated)}
            for number, name in enumerate(scorer.classes)
            if bool((verdicts.asked == number).any())
        ],
        "classes": list(scorer.classes),
        "columns": list(scorer.scorer.prompts),
        "confusion": _confusion(verdicts, len(scorer.classes), len(scorer.scorer.prompts)),
        "images": {
            "index": samples.index.tolist(),
            "asked": samples.labels.tolist(),
            "read_as": verdicts.guesses.tolist(),
            "label": _digits(verdicts.label),
            "clear": None if verdicts.clear is None else _digits(verdicts.clear),
            "score": _digits(verdicts.score),
        },
        "versions": {"torch": str(torch.__version__), "noisette": noisette.__version__},
    }


def _summary(labelled: bool, verdicts: Verdicts) -> dict[str, Any]:
    """How many there are, how many are read as what was asked for, and the means."""
    count = len(verdicts.asked)
    if not count:
        return {"count": 0, **dict.fromkeys(("accuracy", "label", "clear", "score"))}
    right = wilson(int((verdicts.guesses == verdicts.asked).sum()), count)
    return {"count": count, "accuracy": vars(right) if labelled else None, **means(verdicts)}


def _of_class(number: int, labelled: bool, verdicts: Verdicts, calibrated: Calibrated) -> dict[str, Any]:
    """The same of one class, and of the real images of it."""
    found, real = (each.pick(each.asked == number) for each in (verdicts, calibrated.verdicts))
    return _summary(labelled, found) | {"real": _summary(True, real)}


def _confusion(verdicts: Verdicts, classes: int, prompts: int) -> list[list[int]]:
    """How many images of each class (row) find each prompt (column) the likeliest."""
    counts = torch.bincount(verdicts.asked * prompts + verdicts.prompts, minlength=classes * prompts)
    found: list[list[int]] = counts.view(classes, prompts).tolist()
    return found


def _digits(values: Tensor) -> Sequence[float]:
    """Six of them are enough for a probability, and a third of the file."""
    return [float(f"{value:.6g}") for value in values.tolist()]

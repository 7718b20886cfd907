"""A scorer that was measured and calibrated on real images, which every score of its stands beside."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import noisette
from noisette.base.config import require
from noisette.base.progress import Progress, silent
from noisette.base.shapes import NO_CLASS, Labels
from noisette.data.images import ImageData
from noisette.evaluation.calibration import Reliability, fit_temperature, reliability, tempered
from noisette.evaluation.intervals import Interval, wilson
from noisette.evaluation.yardstick import draw_own
from noisette.report.pictures import Pixels
from noisette.workflows.real_statistics import kept
from noisette.workflows.scorers import ClassScorer, Scored, score_pixels

REAL_IMAGES, FEWEST = 4_000, 20
"""Real images that a scorer is shown, at most and at least: half of them fit its temperature, the others measure it."""
TRUSTED = 0.9
"""The accuracy on real images below which a scorer's scores come with a warning."""


@dataclass(frozen=True, eq=False)
class RealImages:
    """Labelled images that no training saw, REAL_IMAGES at most, and what their data set is called."""

    name: str
    classes: tuple[str, ...]
    images: Pixels  # [N, H, W, C]
    labels: Labels  # int64 [N]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the images, the labels and the classes' names."""
        return ImageData("", self.images, self.labels.numpy(), self.classes, "").digest


def some_real_images(data: ImageData, rows: Tensor) -> RealImages:
    """REAL_IMAGES of the images at these places of a data set, drawn at random, always the same; or all of them.

    Raises Refusal for fewer than FEWEST.
    """
    require(len(rows) >= FEWEST, f"{len(rows)} real {data.name} images", f"at least {FEWEST}, to calibrate a scorer on")
    labels = torch.from_numpy(data.labels)[rows]
    drawn = draw_own(labels, min(REAL_IMAGES, len(rows)))
    return RealImages(data.name, data.classes, data.images[rows[drawn].numpy()], labels[drawn])


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a calibrated scorer says of N images, each held against a class: the one that was asked for, or, where none
    was, the likeliest. Probabilities are float64 [N]."""

    asked: Labels
    guesses: Tensor  # int64 [N], the likeliest class
    prompts: Tensor  # int64 [N], the likeliest prompt of all
    label: Tensor
    """Of the class, among the classes."""
    clear: Tensor | None
    """Of the class's prompt, against those of bad images; None where a scorer has none."""
    score: Tensor
    """Of the class's prompt, among all prompts: of this class, and not bad."""
    features: Tensor  # float32 [N, D]

    def pick(self, rows: Tensor) -> "Verdicts":
        """Some of them."""
        clear = None if self.clear is None else self.clear[rows]
        picked = self.asked[rows], self.guesses[rows], self.prompts[rows], self.label[rows]
        return Verdicts(*picked, clear, self.score[rows], self.features[rows])


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A scorer, its temperature, and how it does on real images that it was not fitted to.

    accuracy: how often the class's prompt is the likeliest of the classes'. before, after: how sure and how right it
    is, without the temperature and with it. verdicts: of those images. shown: what it made of all of them.
    """

    scorer: ClassScorer
    real: RealImages
    temperature: float
    accuracy: Interval
    before: Reliability
    after: Reliability
    verdicts: Verdicts
    shown: Scored

    def judge(self, images: Pixels, labels: Labels, progress: Progress = silent, what: str = "scoring") -> Verdicts:
        """Verdicts on images [N, H, W, C] asked for as labels [N], -1 for none; progress is told how far it has
        come."""
        return _verdicts(score_pixels(self.scorer, images, progress, what), labels, self.temperature, self.scorer)

    @property
    def warning(self) -> str | None:
        """What a person must know before trusting a score; None where there is nothing."""
        if self.accuracy.value >= TRUSTED:
            return None
        return (
            f"{self.scorer.name} reads only {self.accuracy.value:.1%} of real {self.real.name} images as what they "
            "are: its scores say little about others"
        )

    def warn(self) -> None:
        """Give the warning, if there is one."""
        if self.warning is not None:
            warnings.warn(self.warning, stacklevel=2)

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for a record."""
        scorer, verdicts = self.scorer, self.verdicts
        return {
            "name": scorer.name,
            "kind": scorer.kind,
            "digest": scorer.digest,
            "prompts": [list(texts) for texts in scorer.texts[: len(scorer.classes)]],
            "bad": list(scorer.bad),
            "temperature": self.temperature,
            "real": {
                "data": self.real.name,
                "digest": self.real.digest,
                "fitted_on": len(self.real.labels) - len(verdicts.asked),
                "measured_on": len(verdicts.asked),
                "accuracy": vars(self.accuracy),
                "calibration_error_before": self.before.error,
                "calibration_error_after": self.after.error,
                **means(verdicts),
            },
            "warning": self.warning,
        }


def means(verdicts: Verdicts) -> dict[str, float | None]:
    """The mean of each probability."""
    clear = None if verdicts.clear is None else float(verdicts.clear.mean())
    return {"label": float(verdicts.label.mean()), "clear": clear, "score": float(verdicts.score.mean())}


def calibrate(scorer: ClassScorer, real: RealImages, progress: Progress = silent) -> Calibrated:
    """Show a scorer real images: half of them fit its temperature, on the other half it is measured. Warns where it
    reads so few of them that its scores say little. What it makes of them is kept in the cache."""
    labels = real.labels
    key = {
        "what": "scores",
        "noisette": noisette.__version__,
        "scorer": scorer.digest,
        "texts": scorer.texts,
        "real": real.digest,
    }

    def work_out() -> dict[str, Tensor]:
        return vars(score_pixels(scorer, real.images, progress, f"scoring real images by {scorer.name}"))

    shown = Scored(**kept(key, work_out))
    classes = len(scorer.classes)
    among_classes = shown.scores[:, :classes].log_softmax(1)
    half = len(labels) // 2
    temperature = fit_temperature(among_classes[:half], labels[:half])
    verdicts = _verdicts(Scored(shown.scores[half:], shown.features[half:]), labels[half:], temperature, scorer)
    right = int((verdicts.guesses == labels[half:]).sum())
    found = Calibrated(
        scorer,
        real,
        temperature,
        wilson(right, len(verdicts.guesses)),
        reliability(among_classes[half:], labels[half:]),
        reliability(tempered(among_classes[half:], temperature), labels[half:]),
        verdicts,
        shown,
    )
    found.warn()
    return found


def _verdicts(scored: Scored, labels: Labels, temperature: float, scorer: ClassScorer) -> Verdicts:
    classes = len(scorer.classes)
    scores = tempered(scored.scores.double(), temperature)  # [N, P]
    guesses = scores[:, :classes].argmax(1)
    asked = torch.where(labels == NO_CLASS, guesses, labels)
    own = scores.gather(1, asked[:, None])  # [N, 1]
    label = (own - scores[:, :classes].logsumexp(1, keepdim=True)).exp()[:, 0]
    bad = scores[:, classes:]  # [N, Q]
    clear = (own - torch.cat([own, bad], 1).logsumexp(1, keepdim=True)).exp()[:, 0] if bad.shape[1] else None
    return Verdicts(asked, guesses, scores.argmax(1), label, clear, own.exp()[:, 0], scored.features)

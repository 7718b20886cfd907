"""How a study measures images: label accuracy, Frechet distance and coverage, each beside what real images score.

The same reference and the same measures as `noisette evaluate`, less those that take long at the few images of a cell.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from noisette.base.progress import silent
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import ImageData
from noisette.data.split import Index
from noisette.evaluation.distances import frechet, frechet_interval
from noisette.evaluation.intervals import Interval
from noisette.evaluation.labels import accuracy
from noisette.evaluation.manifold import manifold, manifold_intervals
from noisette.evaluation.yardstick import DRAWS, draw_equal
from noisette.perception.classifier import Classifier
from noisette.report.pictures import Pixels
from noisette.workflows.real_statistics import (
    REFERENCE_SEED,
    Part,
    Seen,
    load_real,
    matched,
    read_pixels,
)


@dataclass(frozen=True)
class Yardstick:
    """What as many real training images score: their distance, its spread over draws, their coverage."""

    frechet: float
    spread: float
    coverage: float


class Judge:
    """A classifier, and the real images of one data set: its test part, else what trainings hold out."""

    def __init__(self, classifier: str, data: str, data_dir: Path | None, form: Form = AS_IT_IS) -> None:
        """Load all of it, the images in a form. Raises Refusal for what is missing, or does not fit together."""
        self.real = load_real(data, data_dir, None, classifier, 0.2, form=form)
        self.held_out_share = 0.05 if self.real.against == "test" else 0.2
        self._yardsticks: dict[int, Yardstick] = {}

    @property
    def data(self) -> ImageData:
        """The data set."""
        return self.real.data

    @property
    def classifier(self) -> Classifier:
        """The network that reads."""
        return self.real.classifier.network

    @property
    def accuracy(self) -> float:
        """The classifier's, on the real images held against."""
        return float((self._reference.guesses == self._reference.labels).double().mean())

    def metrics(self, images: Pixels, labels: Sequence[int]) -> dict[str, Any]:
        """Label accuracy, Frechet distance and coverage of images [N, H, W, C] asked for as labels [N], every class as
        often: each with its 90 % interval and what real images score."""
        fake, count = self._seen(images, torch.tensor(list(labels))), len(images)
        if count not in self._yardsticks:
            self._yardsticks[count] = self._yardstick(count)
        real, reference = self._yardsticks[count], self._equal
        some, others = matched(fake, reference, "equal")
        coverage = manifold_intervals(others.features, some.features, some.labels)["coverage"]
        distance = frechet_interval(fake.features, reference.features, fake.labels)
        return {
            "count": count,
            "label_accuracy": _metric(accuracy(fake.guesses, fake.labels), self.accuracy),
            "frechet": {**_metric(distance, real.frechet), "real_spread": real.spread},
            "coverage": _metric(coverage, real.coverage),
        }

    def training_draw(self, count: int) -> Index:
        """Rows of `count` images that trainings see, the classes in turns, as a study asks for its samples."""
        classes = len(self.data.classes)
        train = self.real.train
        rows: Index = train.rows[draw_equal(train.labels, count // classes)].reshape(classes, -1).T.flatten().numpy()
        return rows

    def _seen(self, images: Pixels, labels: torch.Tensor) -> Seen:
        return Seen(labels, *read_pixels(self.real.classifier, images, silent, "reading images"))

    @cached_property
    def _reference(self) -> Seen:
        return self._seen(self.real.reference.images, self.real.reference.labels)

    @cached_property
    def _equal(self) -> Seen:
        """The reference with equal class counts."""
        return self._reference.pick(self.real.reference_rows("equal"))

    def _yardstick(self, count: int) -> Yardstick:
        """Over DRAWS draws of `count` real training images. No more are read than the draws need."""
        train, per_class = self.real.train, count // len(self.data.classes)
        pool = draw_equal(train.labels, min(DRAWS * per_class, train.fewest()), REFERENCE_SEED)
        part = Part(train.data, train.rows[pool])
        seen = self._seen(part.images, part.labels)
        draws = [seen.pick(draw_equal(seen.labels, per_class, seed)) for seed in range(DRAWS)]
        distances = [frechet(draw.features, self._equal.features) for draw in draws]
        pairs = [matched(draw, self._equal, "equal") for draw in draws]
        covered = [manifold(others.features, some.features).coverage for some, others in pairs]
        return Yardstick(statistics.mean(distances), statistics.stdev(distances), statistics.mean(covered))


def _metric(interval: Interval, real: float) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "real": real}

"""What a data set or a run shows, as plain values: all that a cause looks at. Any of it may be missing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from noisette.data.checks import Report
from noisette.workflows.recipes import RunConfig

Numbers = npt.NDArray[np.float64]

Sure = Literal["found", "suspected"]
FOUND: Sure = "found"
"""The figures show the fault itself."""
SUSPECTED: Sure = "suspected"
"""The figures fit the fault; something else could be behind them."""


@dataclass(frozen=True)
class Diagnosis:
    """A cause that the evidence shows: how surely, the figures a line each, and the one change to try first."""

    sure: Sure
    evidence: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class Neighbours:
    """What the nearest training images say of the labels of some held-out images, as many of each class."""

    images: int
    right: float
    """Share of images whose label their nearest neighbour, or the nearest class mean, has: the better of both."""
    chance: float
    """The share if labels had nothing to do with the pixels."""
    agreed: int
    """Images of whose ten nearest neighbours at least eight agree."""
    contradicted: int
    """Those of them that bear another label."""
    pairs: tuple[tuple[str, str, int], ...]
    """(label borne, label of the neighbours, images), the most frequent first."""


@dataclass(frozen=True)
class DataEvidence:
    """A data set and its split."""

    report: Report
    values: tuple[int, ...]
    """The pixel values that occur in a sample of the images, rising."""
    neighbours: Neighbours | None
    """None where there are too few images of too many classes, or one class alone."""


@dataclass(frozen=True, eq=False)
class Course:
    """A run's log. Of each step: images seen, loss, learning rate, gradient norm; of each validation: seen, loss."""

    seen: Numbers
    loss: Numbers
    rate: Numbers
    norm: Numbers
    validated: Numbers
    validation: Numbers
    finished: str | None
    diverged: str | None
    """The line with which training ended, when it was not finite."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Losses of the saved weights, one an image: the same images, noise levels and noise for each."""

    average: Numbers
    raw: Numbers | None
    """Of the network in training, not of its average. None where the state cannot be read."""
    rounded: Numbers
    """Of the average in bfloat16."""
    training: Numbers
    """Of the average, on training images instead of held-out ones."""
    moved: float | None
    """Distance of the network from where it was born, as a share of the size that it was born with."""


@dataclass(frozen=True)
class Overfit:
    """A new network of the run's configuration on one small batch, always the same noise."""

    steps: int
    images: int
    first: float
    last: float
    """The mean loss of the last tenth of the steps."""


@dataclass(frozen=True)
class Evidence:
    """Everything. config, trivial, precision: None for a data set alone."""

    data: DataEvidence | None = None
    config: RunConfig | None = None
    trivial: float | None = None
    """The loss of the best denoiser that knows nothing but the mean and the deviation of all pixels."""
    precision: str | None = None
    """That of the run's gradients."""
    course: Course | None = None
    measured: Measured | None = None
    not_finite: str | None = None
    """The first stored parameter with a value that is not finite."""
    overfit: Overfit | None = None


Cause = Callable[[Evidence], Diagnosis | None]


def course_of(records: list[dict[str, Any]]) -> Course:
    """A log's records as columns."""

    def column(kind: str, key: str) -> Numbers:
        return np.array([record[key] for record in records if record["event"] == kind], dtype=np.float64)

    def reason(kind: str) -> str | None:
        return next((str(record["reason"]) for record in records if record["event"] == kind), None)

    return Course(
        seen=column("step", "images_seen"),
        loss=column("step", "loss"),
        rate=column("step", "learning_rate"),
        norm=column("step", "gradient_norm"),
        validated=column("validation", "images_seen"),
        validation=column("validation", "loss"),
        finished=reason("finished"),
        diverged=reason("diverged"),
    )

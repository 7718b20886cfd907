"""`noisette rank`: of many images of each class the best, no two too alike; what that does to them, and its price."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import noisette
from noisette.base.config import require, require_storable
from noisette.base.errors import NoisetteError
from noisette.base.progress import Progress, silent
from noisette.evaluation.ranking import BestApart
from noisette.report.pictures import Pixels
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.choosing import Choice, Chooser, drawn_by
from noisette.workflows.drawing import draw_pixels
from noisette.workflows.model import BATCH, Model
from noisette.workflows.sample_files import Shard
from noisette.workflows.sources import check_fits

FORMAT = "noisette-rank-1"
WORST = 5
"""Images of each class, the worst, that are held to be shown."""


@dataclass(frozen=True)
class RankRequest:
    """What to keep, of how many, by what."""

    choice: Choice = Choice()
    per_class: int = 100
    """Images of each class to keep."""
    candidates: int = 400
    """Images of each class to draw and to choose from."""
    reject_below: float = 0.0
    """Keeps no image whose score, a calibrated probability, is below this, though a class be short of images then."""
    seed: int = 0
    """Decides what is drawn: the same images as by noisette sample with this seed."""

    def __post_init__(self) -> None:
        require(self.per_class >= 1, f"per_class {self.per_class}", "at least 1")
        require(
            self.candidates >= self.per_class,
            f"{self.candidates} images to choose {self.per_class} from",
            f"at least {self.per_class} a class (--from)",
        )
        require(0 <= self.reject_below <= 1, f"reject_below {self.reject_below}", "a probability, 0 to 1")
        require_storable(self)


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image [H, W, C] that was drawn, its number among all, and its score."""

    number: int
    score: float
    image: Pixels


@dataclass(frozen=True, eq=False)
class Ranked:
    """The record, and images of each class: those that were kept, the best first; as many plain ones, which are the
    first that were drawn; and the worst of all, the worst first."""

    record: dict[str, Any]
    kept: list[list[Candidate]]
    plain: list[list[Candidate]]
    worst: list[list[Candidate]]


class Rank:
    """Everything that ranking needs, loaded and checked; `run` does the work."""

    def __init__(
        self,
        model: Model,
        request: RankRequest,
        sampling: SamplingConfig | None = None,
        data_dir: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        """sampling: how the model is drawn from (its defaults). Raises Refusal for what is missing or does not fit
        together."""
        require(len(model.classes) > 0, f"model {model.name} without classes", "one that can be asked for a class")
        self.model, self.request, self.sampling = model, request, sampling or model.sampling
        model.file.spec.sampling_grid(self.sampling)  # refuses steps that the model does not have
        self.chooser = Chooser(request.choice, data_dir, str(model.device), progress)
        check_fits(model, self.chooser.judge.data)

    def run(self, progress: Progress = silent) -> Ranked:
        """Draw, choose and measure. What is held in memory grows with what is kept, not with what is drawn.

        Raises NoisetteError when no image at all is good enough.
        """
        request, chooser = self.request, self.chooser
        chooser.calibrate(request.per_class, progress)
        pools, cost = draw_best(self.model, request, chooser, self.sampling, progress)
        kept, seed, classes = [pool.kept() for pool in pools], request.seed, self.model.classes
        if not any(kept):
            best = max(each.score for pool in pools for each in pool.plain)
            raise NoisetteError(f"no image scores {request.reject_below:g} or more: the best of the first {best:.3g}")
        plain, after = (shard_of(each, seed, classes) for each in ([pool.plain for pool in pools], kept))
        record = self._record(pools, cost) | chooser.before_and_after(plain, after, progress)
        return Ranked(record, kept, [pool.plain for pool in pools], [pool.worst for pool in pools])

    def _record(self, pools: Sequence["Pool"], cost: "Price") -> dict[str, Any]:
        request, model = self.request, self.model
        kept = [each for pool in pools for each in pool.kept()]
        return {
            "format": FORMAT,
            "model": drawn_by(model, request.seed, self.sampling),
            **self.chooser.facts(),
            "per_class": request.per_class,
            "candidates": request.candidates,
            "reject_below": request.reject_below,
            "by_class": [{"class": name, **pool.facts()} for name, pool in zip(model.classes, pools, strict=True)],
            "evaluations_per_plain": cost.evaluations / (len(pools) * request.candidates),
            "price": cost.of(len(kept)),
            "images": {
                "index": [each.number for each in kept],
                "score": [float(f"{each.score:.6g}") for each in kept],
            },
            "versions": {"torch": str(torch.__version__), "noisette": noisette.__version__},
        }


def draw_best(
    model: Model, request: RankRequest, chooser: Chooser, sampling: SamplingConfig, progress: Progress = silent
) -> tuple[list["Pool"], "Price"]:
    """Draw all candidates of a request, and let each class keep its best, by a chooser that was calibrated."""
    classes = len(model.classes)
    total = classes * request.candidates
    pools = [Pool(request, chooser.apart) for _ in range(classes)]
    evaluations, seconds, scoring = 0.0, 0.0, chooser.seconds
    for first in range(0, total, BATCH):
        index = range(first, min(first + BATCH, total))
        labels = [number % classes for number in index]

        def tell(done: float, images: int, before: int = first) -> None:
            progress(f"drawing and scoring {total:,} images", before + done, total)

        images, sampled = draw_pixels(model, labels, request.seed, index, sampling, tell)
        evaluations += sampled.evaluations * sampled.images
        seconds += sampled.seconds
        scores, features = chooser.score(images, torch.tensor(labels))
        for image, number, score, found in zip(images, index, scores.tolist(), features, strict=True):
            # Copies: a view would keep all of its batch in memory.
            pools[number % classes].offer(Candidate(number, score, image.copy()), found.clone())
    return pools, Price(evaluations, seconds, total * len(chooser.scorers), chooser.seconds - scoring)


@dataclass(frozen=True)
class Price:
    """What drawing and scoring cost. evaluations: of the denoiser's network, in all; looks: of a scorer at an image, in
    all; seconds of each."""

    evaluations: float
    drawing_seconds: float
    looks: int
    scoring_seconds: float

    def of(self, images: int) -> dict[str, float]:
        """What each of so many images cost that were kept; a look also in evaluations that take as long, on this
        machine."""
        a_look = (self.scoring_seconds / self.looks) / (self.drawing_seconds / self.evaluations)
        return {
            "evaluations": self.evaluations / images,
            "looks": self.looks / images,
            "a_look_in_evaluations": a_look,
            "all_in_evaluations": (self.evaluations + self.looks * a_look) / images,
            "seconds": (self.drawing_seconds + self.scoring_seconds) / images,
        }


class Pool:
    """The images of one class: the best so far, the first, the worst, and what became of the others."""

    def __init__(self, request: RankRequest, apart: float) -> None:
        self.request = request
        self.best = BestApart(request.per_class, apart)
        self.held: dict[int, Candidate] = {}
        self.plain: list[Candidate] = []
        self.worst: list[Candidate] = []
        self.below = 0

    def offer(self, candidate: Candidate, features: Tensor) -> None:
        """Look at one more image."""
        if len(self.plain) < self.request.per_class:
            self.plain.append(candidate)
        self.worst = sorted([*self.worst, candidate], key=lambda each: each.score)[:WORST]
        if candidate.score < self.request.reject_below:
            self.below += 1
            return
        self.best.offer(candidate.number, candidate.score, features)
        self.held = {
            number: candidate if number == candidate.number else self.held[number] for number in self.best.held
        }

    def kept(self) -> list[Candidate]:
        """The best, best first."""
        return [self.held[number] for number in self.best.best()]

    def facts(self) -> dict[str, Any]:
        """What became of its images, and what those score that were kept, and as many plain ones."""
        kept = self.kept()
        return {
            "kept": len(kept),
            "below": self.below,
            "too_alike": self.best.nearly_another,
            "score": sum(each.score for each in kept) / len(kept) if kept else None,
            "plain_score": sum(each.score for each in self.plain) / len(self.plain),
        }


def shard_of(pools: Sequence[Sequence[Candidate]], seed: int, classes: tuple[str, ...]) -> Shard:
    """The images of each class, class after class."""
    return Shard(
        np.stack([each.image for pool in pools for each in pool]),
        [label for label, pool in enumerate(pools) for _ in pool],
        [each.number for pool in pools for each in pool],
        seed,
        classes,
    )

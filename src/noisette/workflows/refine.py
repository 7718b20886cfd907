"""`noisette refine`: images noised to a middle level and drawn again, kept where they are better and not alike."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import noisette
from noisette.base.config import require, require_storable
from noisette.base.progress import Progress, silent
from noisette.base.seeds import hash_seed
from noisette.data.images import to_model
from noisette.evaluation.ranking import best_apart, best_of_class
from noisette.report.pictures import Pixels
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.choosing import Choice, Chooser, drawn_by
from noisette.workflows.drawing import Sampled, draw_pixels
from noisette.workflows.model import Model
from noisette.workflows.rank import Candidate, Price, shard_of
from noisette.workflows.sources import Samples, check_fits, draw

FORMAT = "noisette-refine-1"


@dataclass(frozen=True)
class RefineRequest:
    """Which images to draw again, how, and what decides whether that helped."""

    choice: Choice = Choice()
    take: Literal["rejected", "best"] = "rejected"
    """Draws the worst of each class again, or varies the best of it."""
    share: float = 0.25
    """Of the images of each class that are drawn again."""
    noise_level: float = 1.0
    """They are noised to the largest level of the grid that is at most this, and drawn again from there: 0.3 keeps
    their strokes, 3 next to nothing."""
    tries: int = 4
    """Times that each of them is drawn again, with other noise."""
    per_class: int = 100
    """Images of each class to draw first, of a model; of samples all are used."""
    seed: int = 0
    """Decides the noise, and what is drawn first."""

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share {self.share}", "above 0, at most 1")
        require(self.noise_level > 0, f"noise_level {self.noise_level}", "a positive number")
        require(self.tries >= 1, f"tries {self.tries}", "at least 1")
        require(self.per_class >= 1, f"per_class {self.per_class}", "at least 1")
        require_storable(self)


@dataclass(frozen=True, eq=False)
class Refined:
    """The record, and the images of each class before and after, the best first: as many of both."""

    record: dict[str, Any]
    before: list[list[Candidate]]
    after: list[list[Candidate]]


class Refine:
    """Everything that refining needs, loaded and checked; `run` does the work."""

    def __init__(
        self,
        model: Model,
        request: RefineRequest,
        samples: Samples | None = None,
        sampling: SamplingConfig | None = None,
        data_dir: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        """samples: what is refined; without them the model draws it. sampling: how (the model's defaults). Raises
        Refusal for what is missing or does not fit together, and for a noise level below all of the grid."""
        require(len(model.classes) > 0, f"model {model.name} without classes", "one that can be asked for a class")
        self.model, self.request, self.samples = model, request, samples
        self.sampling = sampling or model.sampling
        levels = model.file.spec.sampling_grid(self.sampling)[:-1]
        self.first = next((number for number, level in enumerate(levels) if level <= request.noise_level), -1)
        require(self.first >= 0, f"noise_level {request.noise_level:g}", f"at least {levels[-1]:.3g}, the grid's last")
        self.level = levels[self.first]
        self.chooser = Chooser(request.choice, data_dir, str(model.device), progress)
        check_fits(model, self.chooser.judge.data)
        if samples is not None:
            check_fits(samples, self.chooser.judge.data)
            require(samples.labelled, f"{samples.source['name']}: images of no class", "labels to judge them by")

    def run(self, progress: Progress = silent) -> Refined:
        """Score, draw again, choose and measure."""
        request, chooser = self.request, self.chooser
        samples = self.samples or self._drawn(progress)
        apart = chooser.calibrate(int(torch.bincount(samples.labels).max()), progress)
        progress("scoring", 0, 1)
        given = _Pool(samples.images, samples.labels, *chooser.score(samples.images, samples.labels))
        taken = torch.cat([self._taken(given, label) for label in range(len(self.model.classes))])
        images, labels = given.images[taken.numpy()], given.labels[taken]
        images, labels = images.repeat(request.tries, axis=0), labels.repeat_interleave(request.tries)
        again, sampled = draw_pixels(
            self.model,
            labels.tolist(),
            hash_seed(request.seed, "refine"),  # the noise that an image was born from would lead back to it
            range(len(labels)),
            self.sampling,
            lambda done, of: progress(f"drawing {of:,} images again", done, of),
            clean=to_model(images),
            first=self.first,
        )
        progress("scoring", 1, 2)
        pool = given.with_more(_Pool(again, labels, *chooser.score(again, labels)))
        before = [given.best(label) for label in range(len(self.model.classes))]
        after = [self._choose(pool, rows, label, apart) for label, rows in enumerate(before)]
        record = self._record(samples, pool, taken, before, after)
        record |= self._price(samples, sampled, len(pool.labels))
        shards = [shard_of([pool.candidates(rows) for rows in each], request.seed, ()) for each in (before, after)]
        record |= chooser.before_and_after(shards[0], shards[1], progress)
        return Refined(record, *([pool.candidates(rows) for rows in each] for each in (before, after)))

    def _drawn(self, progress: Progress) -> Samples:
        """Samples of the model: the classes in turns."""
        classes = len(self.model.classes)
        labels = tuple(number % classes for number in range(classes * self.request.per_class))
        what = f"drawing from {self.model.name}"
        return draw(self.model, labels, self.request.seed, self.sampling, lambda done, of: progress(what, done, of))

    def _taken(self, given: "_Pool", label: int) -> Tensor:
        """The rows of a class that are drawn again."""
        order = given.best(label)
        count = math.ceil(self.request.share * len(order))
        return order[:count] if self.request.take == "best" else order.flip(0)[:count]

    def _choose(self, pool: "_Pool", originals: Tensor, label: int, apart: float) -> Tensor:
        """The rows of the best of a class, as many as there were and no two too alike, the best first. Where too few
        are apart, the best of the originals stay though they are not."""
        rows = (pool.labels == label).nonzero().flatten()
        found = rows[best_apart(pool.scores[rows], pool.features[rows], len(originals), apart)]
        left = originals[~torch.isin(originals, found)]
        return torch.cat([found, left[: len(originals) - len(found)]])

    def _price(self, samples: Samples, again: Sampled, looked_at: int) -> dict[str, Any]:
        """What each image has cost, before and now; what images from a file have cost nobody says."""
        own = self.samples is None
        count, first = len(samples.labels), samples.source["evaluations"] if own else 0.0
        cost = Price(
            first * count + again.evaluations * again.images,
            again.seconds + (samples.source["seconds"] if own else 0.0),
            looked_at * len(self.chooser.scorers),
            self.chooser.seconds,
        )
        return {"evaluations_before": first, "evaluations_again": again.evaluations, "price": cost.of(count)}

    def _record(
        self, samples: Samples, pool: "_Pool", taken: Tensor, before: list[Tensor], after: list[Tensor]
    ) -> dict[str, Any]:
        request, model, count = self.request, self.model, len(samples.labels)
        chosen = torch.cat(after)
        again = chosen >= count
        origin = torch.where(again, taken[(chosen - count).clamp(min=0) // request.tries], chosen)
        return {
            "format": FORMAT,
            "source": {**samples.source, "digest": samples.digest(), "count": count},
            "model": drawn_by(model, request.seed, self.sampling),
            **self.chooser.facts(),
            "take": request.take,
            "share": request.share,
            "noise_level": self.level,
            "tries": request.tries,
            "by_class": [
                {
                    "class": name,
                    "images": len(old),
                    "new": int((new >= count).sum()),
                    "score_before": float(pool.scores[old].mean()) if len(old) else None,
                    "score_after": float(pool.scores[new].mean()) if len(new) else None,
                }
                for name, old, new in zip(model.classes, before, after, strict=True)
            ],
            "images": {
                "origin": samples.index[origin].tolist(),
                "new": again.tolist(),
                "score": [float(f"{score:.6g}") for score in pool.scores[chosen].tolist()],
            },
            "versions": {"torch": str(torch.__version__), "noisette": noisette.__version__},
        }


@dataclass(frozen=True, eq=False)
class _Pool:
    """Images with their labels, scores, and the features in which they may be too alike."""

    images: Pixels
    labels: Tensor  # int64 [N]
    scores: Tensor  # float64 [N]
    features: Tensor  # float32 [N, D]

    def with_more(self, more: "_Pool") -> "_Pool":
        """These, and then the others."""
        return _Pool(
            np.concatenate([self.images, more.images]),
            torch.cat([self.labels, more.labels]),
            torch.cat([self.scores, more.scores]),
            torch.cat([self.features, more.features]),
        )

    def best(self, label: int) -> Tensor:
        """The rows of a class, the best first."""
        return best_of_class(self.labels, self.scores, label)

    def candidates(self, rows: Tensor) -> list[Candidate]:
        """Some of them."""
        return [Candidate(row, float(self.scores[row]), self.images[row]) for row in rows.tolist()]

"""What `noisette rank` and `noisette refine` choose images by, and the classifier that takes no part and measures."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import Refusal
from noisette.base.progress import Progress, silent
from noisette.base.shapes import NO_CLASS, Images, Labels
from noisette.data.form import AS_IT_IS, Form
from noisette.evaluation.calibration import tempered
from noisette.evaluation.ranking import spacing
from noisette.report.pictures import Pixels
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.calibrated import Calibrated, calibrate, some_real_images
from noisette.workflows.model import Model, file_digest
from noisette.workflows.perceive import load_perception
from noisette.workflows.real_statistics import as_points
from noisette.workflows.sample_files import Shard
from noisette.workflows.sample_request import finite
from noisette.workflows.score import Prompts, scorer_for
from noisette.workflows.scorers import CLASSIFIER, CLIP, classifier_of
from noisette.workflows.sources import FEWEST
from noisette.workflows.studies.judge import Judge

BOTH = "both"


@dataclass(frozen=True)
class Choice:
    """What images are chosen by, and what measures the choice."""

    by: tuple[str, ...] = (CLIP,)
    """Scores: clip or classifier (those that ship) or both, a classifier's .safetensors file, a folder with a CLIP or
    SigLIP model, or the name of one on the hub; of several, the one that finds an image worst counts."""
    prompts: Prompts = Prompts()
    near: float = 0.01
    """Two images are too alike when they are as near as this share of real images is to another of its class; 0: none
    are."""
    space: Literal["features", "pixels"] = "features"
    """Where they are near: in the features of what scores (of several the first), or in pixels."""
    measure: str = "mnist"
    """Measures before and after, and takes no part: a classifier that ships, or a file that noisette perceive wrote."""
    data: str = "mnist"
    """The real images: a data set's name or path, as `noisette train` reads it."""
    form: Form = AS_IT_IS

    def __post_init__(self) -> None:
        require(len(self.by) > 0, "nothing to choose by", "clip, classifier, both, or a file")
        require(0 <= self.near < 1, f"near {self.near}", "a share of real images, at least 0 and below 1")
        require(len(set(self.scorers)) == len(self.scorers), f"by {', '.join(self.by)}", "each scorer once")

    @property
    def scorers(self) -> tuple[str, ...]:
        """The names of what scores."""
        return tuple(each for name in self.by for each in ((CLIP, CLASSIFIER) if name == BOTH else (name,)))


class Chooser:
    """The scorers and the measuring classifier of a choice, loaded and checked; `calibrate` makes them ready."""

    def __init__(self, choice: Choice, data_dir: Path | None, device: str, progress: Progress = silent) -> None:
        """Raises Refusal for what is missing or does not fit together, for too few real images to measure against, and
        for a classifier that would measure its own choice. Warns of one of the same design."""
        self.choice = choice
        progress("reading the data", 0, 1)
        self.judge = Judge(choice.measure, choice.data, data_dir, choice.form)
        self.judge.real.require_reference("equal")
        self.scorers = [scorer_for(name, self.judge.data, choice.prompts, device) for name in choice.scorers]
        self._check_measure_takes_no_part()
        self.calibrated: list[Calibrated] = []
        self.apart = 0.0
        """The distance below which two images are too alike."""
        self.seconds = 0.0
        """Spent on scores."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.judge.data.classes

    def _check_measure_takes_no_part(self) -> None:
        measuring = self.judge.real.classifier
        for scorer in self.scorers:
            if scorer.digest == measuring.digest:
                raise Refusal(
                    f"{scorer.name} chooses and would measure its own choice: expected --measure and another, as "
                    "noisette perceive --network residual trains"
                )
            own = classifier_of(scorer.name)
            if own and load_perception(own).spec.config.network == measuring.spec.config.network:
                warnings.warn(
                    f"{scorer.name}, which chooses, and {self.choice.measure}, which measures, are networks of one "
                    "design: they err alike, and the choice looks better than it is",
                    stacklevel=3,
                )

    def calibrate(self, per_class: int, progress: Progress = silent) -> float:
        """Calibrate the scorers on real images; the distance below which two of `per_class` images of a class are too
        alike, which is `apart` from then on."""
        reference = self.judge.real.reference
        real = some_real_images(reference.data, reference.rows)
        self.calibrated = [calibrate(scorer, real, progress) for scorer in self.scorers]
        in_pixels = self.choice.space == "pixels"
        features = as_points(real.images) if in_pixels else self.calibrated[0].shown.features
        self.apart = spacing(features, real.labels, per_class, self.choice.near)
        return self.apart

    def score(self, images: Pixels, labels: Labels) -> tuple[Tensor, Tensor]:
        """Scores float64 [N] of images [N, H, W, C] asked for as labels [N], of several scorers the lowest, and the
        features float32 [N, D] in which they may be too alike."""
        began = time.perf_counter()
        verdicts = [each.judge(images, labels) for each in self.calibrated]
        self.seconds += time.perf_counter() - began
        features = as_points(images) if self.choice.space == "pixels" else verdicts[0].features
        return torch.stack([each.score for each in verdicts]).min(0).values, features

    def log_probability(self, images: Images, labels: Labels) -> Tensor:
        """The logarithm of the same scores, [N], of images [N, C, H, W] in [-1, 1], differentiable; 0 for an image of
        no class."""
        asked = labels.clamp(min=0)[:, None]
        own = [tempered(each.scorer.scorer(images), each.temperature).gather(1, asked) for each in self.calibrated]
        return torch.cat(own, 1).min(1).values * (labels != NO_CLASS)

    def measure(self, images: Pixels, labels: Sequence[int]) -> dict[str, Any] | None:
        """What the classifier that takes no part makes of images, in the order of preference: as many of each class as
        the rarest has, and no more than draws of real images can match. None for fewer than FEWEST of these."""
        asked = torch.tensor(list(labels))
        counts = torch.bincount(asked, minlength=len(self.classes))
        each = min(int(counts.min()), self.judge.real.most("equal") // len(self.classes))
        if each * len(self.classes) < FEWEST:
            return None
        rows = torch.cat([(asked == label).nonzero().flatten()[:each] for label in range(len(self.classes))])
        return self.judge.metrics(images[rows.numpy()], asked[rows].tolist())

    def before_and_after(self, before: Shard, after: Shard, progress: Progress) -> dict[str, Any]:
        """Both measured, for a record."""
        found = {}
        for number, (name, shard) in enumerate({"before": before, "after": after}.items()):
            progress("measuring", number, 2)
            found[name] = self.measure(shard.images, shard.labels)
        return found

    def facts(self) -> dict[str, Any]:
        """Scorers, measuring classifier and what is too alike, for a record."""
        measuring = self.judge.real.classifier
        return {
            "by": [each.facts() for each in self.calibrated],
            "measured_by": {
                "name": self.choice.measure,
                "digest": measuring.digest,
                "network": measuring.spec.config.network,
                "accuracy": self.judge.accuracy,
                "data": self.judge.data.name,
                "part": self.judge.real.against,
            },
            "too_alike": {"space": self.choice.space, "share": self.choice.near, "distance": self.apart},
        }


def drawn_by(model: Model, seed: int, sampling: SamplingConfig) -> dict[str, Any]:
    """The model that drew, and how, for a record."""
    return {
        "name": model.name,
        "digest": file_digest(model.name),
        "seed": seed,
        "sampling": finite(sampling),
        "dtype": model.precision,
    }

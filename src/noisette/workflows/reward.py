"""`noisette reward`: a model trained on with what a judge says of its own drawings, under the eyes of another.

Two methods. *gradient*: the judge's log-probability of finished drawings is part of the loss, and its gradient goes
through their last steps (`training/rewarded.py`). *filter*: now and then the model draws many images of each class, the
best of them are kept, and half of every batch is made of those (self-training: Dong et al. 2023, RAFT). In both, real
images are trained on all along.

A judge that is obeyed can be fooled. So every so often fresh drawings are measured by a classifier that takes no part:
where they have lost too much of coverage, or their distance has grown too much, training ends, and the best of what was
before that is kept.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import noisette
from noisette.base.config import require, require_storable, to_plain
from noisette.base.files import write_text
from noisette.base.progress import Progress, silent
from noisette.base.seeds import hash_seed
from noisette.data.batches import Batch, Batches
from noisette.data.form import AS_IT_IS, Form
from noisette.diffusion.objective import Objective
from noisette.diffusion.samplers import make_sampler
from noisette.models.unet import UNet
from noisette.report.pictures import Pixels
from noisette.training.config import TrainingConfig
from noisette.training.ema import average_of
from noisette.training.loop import Diverged, Finished, new_state, train
from noisette.training.rewarded import RewardedObjective
from noisette.weights.model_file import ModelFile, SamplingConfig, save_model
from noisette.workflows.choosing import Choice, Chooser, drawn_by
from noisette.workflows.device import choose_precision
from noisette.workflows.drawing import draw_pixels
from noisette.workflows.model import BEST_FILE, Model, guided_as
from noisette.workflows.rank import Candidate, RankRequest, draw_best
from noisette.workflows.score import Prompts
from noisette.workflows.scorers import CLIP
from noisette.workflows.sources import check_fits

FORMAT = "noisette-reward-1"
RECORD = "reward.json"
SHOWN = 4
"""Images of each class that are held to be shown."""


@dataclass(frozen=True)
class RewardRequest:
    """What rewards, how, for how long, and when it has gone too far."""

    reward: tuple[str, ...] = (CLIP,)
    """Rewards: clip or classifier (those that ship) or both, a classifier's .safetensors file, a folder with a CLIP or
    SigLIP model, or the name of one on the hub; of several, the one that finds an image worst counts."""
    prompts: Prompts = Prompts()
    measure: str = "mnist"
    """Watches, and takes no part: a classifier that ships, or a file that noisette perceive wrote."""
    data: str = "mnist"
    """The real images: a data set's name or path, as `noisette train` reads it."""
    form: Form = AS_IT_IS
    method: Literal["gradient", "filter"] = "gradient"
    """gradient: through the last steps of drawings; filter: on the best of many drawings, as on real images."""
    images: int = 8_000
    """Images to train on."""
    batch_size: int = 64
    """Images an optimiser step."""
    learning_rate: float = 3e-4
    """Of AdamW, after a short warm-up."""
    reward_weight: float = 0.3
    """For gradient: what the judge's log-probability counts beside the loss of training."""
    last_steps: int = 5
    """For gradient: how many of a drawing's steps it goes through, those among them that decide what an image shows."""
    per_class: int = 50
    """For filter: images of each class to keep."""
    candidates: int = 200
    """For filter: images of each class to draw and to choose from, anew before each check."""
    check_every: int = 2_000
    """Images of training between two checks."""
    check_images: int = 1_000
    """Drawings that a check measures, of all classes together."""
    coverage_loss: float = 0.03
    """Training ends where a check finds so much less of coverage than at the start (0.03: three points) ..."""
    distance_growth: float = 1.5
    """... or so many times the distance."""
    seed: int = 0
    """Decides everything random."""

    def __post_init__(self) -> None:
        require_storable(self)
        for name in ("images", "check_every", "check_images"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}", "at least 1")
        require(
            self.batch_size >= 2 and self.batch_size % 2 == 0, f"batch_size {self.batch_size}", "an even number, from 2"
        )
        require(0 < self.learning_rate < 1, f"learning_rate {self.learning_rate}", "between 0 and 1")
        require(0 <= self.reward_weight < float("inf"), f"reward_weight {self.reward_weight}", "at least 0")
        require(self.last_steps >= 1, f"last_steps {self.last_steps}", "at least 1")
        require(self.coverage_loss >= 0, f"coverage_loss {self.coverage_loss}", "at least 0")
        require(self.distance_growth >= 1, f"distance_growth {self.distance_growth}", "at least 1")
        self.choosing(0)

    @property
    def choice(self) -> Choice:
        """What scores drawings, and what measures them."""
        return Choice(self.reward, self.prompts, measure=self.measure, data=self.data, form=self.form)

    def choosing(self, images_seen: int) -> RankRequest:
        """What is drawn and kept for a stretch of training that begins there."""
        seed = hash_seed(self.seed, "reward", images_seen)
        return RankRequest(self.choice, self.per_class, self.candidates, seed=seed)

    def training(self) -> TrainingConfig:
        """How the network goes on."""
        return TrainingConfig(
            images=self.images,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            rate="constant",
            warmup_images=10 * self.batch_size,
            ema_halflife_images=20 * self.batch_size,
            ema_ramp=0.2,
            validation_images=0,
            seed=self.seed,
        )


Verdict = Literal["kept", "worse", "too far"]
"""What comes of a check: its weights are kept, or score less than earlier ones, or training has to end."""


@dataclass(frozen=True)
class Check:
    """A look at the model on the way. score: the judge's, the mean of drawings, and its standard error; measured: label
    accuracy, distance and coverage by the classifier that takes no part."""

    images_seen: int
    score: float
    error: float
    measured: dict[str, Any]
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class Rewarded:
    """The record, and the same drawings of each class before and after."""

    record: dict[str, Any]
    before: list[list[Candidate]]
    after: list[list[Candidate]]


class Reward:
    """Everything that rewarding needs, loaded and checked; `checks` does the work, `finish` tells what came of it."""

    def __init__(
        self,
        model: Model,
        request: RewardRequest,
        out: Path,
        sampling: SamplingConfig | None = None,
        data_dir: Path | None = None,
        precision: str = "auto",
        command: str = "",
        progress: Progress = silent,
    ) -> None:
        """model: in float32. sampling: how it draws here (its defaults). Raises Refusal for what is missing or does not
        fit together."""
        require(len(model.classes) > 0, f"model {model.name} without classes", "one that can be asked for a class")
        self.model, self.request, self.out, self.command = model, request, out, command
        self.sampling = sampling or model.sampling
        self.precision = choose_precision(precision, model.device)
        self.objective = self._objective()  # which refuses before anything is loaded
        self.chooser = Chooser(request.choice, data_dir, str(model.device), progress)
        check_fits(model, self.chooser.judge.data)
        real, classes = self.chooser.judge.real, len(model.classes)
        each = min(request.check_images // classes, real.most("equal") // classes)
        require(each * classes >= 100, f"check_images {request.check_images}", "at least 100 that the data suffice for")
        self.check_labels = [number % classes for number in range(each * classes)]
        self.real = Batches(real.train.data.images, real.train.data.labels, real.train.rows.numpy(), request.seed)
        self.state = new_state(copy.deepcopy(model.file.network).requires_grad_(True), request.training())
        self.kept: Batches | None = None
        self.found: list[Check] = []
        self.stopped = ""
        self.best = model.file.network
        self.spent: list[dict[str, float]] = []

    def _objective(self) -> Objective:
        """What training minimises. Raises Refusal for drawings that no gradient can be led through."""
        request, sampling, spec = self.request, self.sampling, self.model.file.spec
        levels = spec.sampling_grid(sampling)
        if request.method == "filter":
            return Objective(spec.diffusion)
        return RewardedObjective(
            spec.diffusion,
            lambda images, labels: self.chooser.log_probability(images, labels),
            make_sampler(sampling.sampler),  # the flow, also where the model's drawings have a share of noise
            levels,
            request.reward_weight,
            request.last_steps,
            guided_as(sampling, self.model.classes),
        )

    def checks(self, progress: Progress = silent, stop: Callable[[], bool] = lambda: False) -> Iterator[Check]:
        """Train; yield each check after the best weights so far are in the folder, the first before any training.

        `stop` is asked after each step: when true, one last check is made.
        """
        request = self.request
        self.chooser.calibrate(request.per_class, progress)
        yield self._check(progress)
        if request.method == "filter":
            self._choose(progress)
        try:
            for event in train(self.state, self.objective, request.training(), self._batch, None, self.precision):
                seen = self.state.progress.images_seen
                ended = isinstance(event, Finished) or stop()
                progress("training", seen, request.images)
                checked = self.found[-1].images_seen
                if seen // request.check_every > checked // request.check_every or (ended and seen > checked):
                    yield self._check(progress)
                    if self.found[-1].verdict == "too far":
                        self.stopped = "it went too far"
                        return
                    if request.method == "filter" and seen < request.images and not ended:
                        self._choose(progress)
                if ended:
                    self.stopped = "all images were seen" if isinstance(event, Finished) else "it was asked to stop"
                    return
        except Diverged as error:
            self.stopped = str(error)

    def finish(self, progress: Progress = silent) -> Rewarded:
        """Measure the model before and the best after, both on drawings of a seed that no check has seen; write the
        record."""
        request, chooser, classes = self.request, self.chooser, len(self.model.classes)
        seed = hash_seed(request.seed, "reward measured")
        found: dict[str, Any] = {}
        shown = []
        for name, network in {"before": self.model.file.network, "after": self.best}.items():
            images = self._drawn(network, seed, progress, f"drawing, {name}")
            scores, _ = chooser.score(images, torch.tensor(self.check_labels))
            measured = chooser.judge.metrics(images, self.check_labels)
            found[name] = {**measured, "score": float(scores.mean())}
            rows = [range(label, SHOWN * classes, classes) for label in range(classes)]
            shown.append(
                [[Candidate(row, float(scores[row]), images[row]) for row in own if row < len(images)] for own in rows]
            )
        record = {
            "format": FORMAT,
            "model": drawn_by(self.model, request.seed, self.sampling),
            "dtype": str(self.precision).removeprefix("torch."),
            "classes": list(self.model.classes),
            **chooser.facts(),
            "request": to_plain(request),
            "checks": [asdict(check) for check in self.found],
            "kept_at": self._best().images_seen,
            "images_seen": self.state.progress.images_seen,
            "training_seconds": round(self.state.progress.seconds, 1),
            "stopped": self.stopped,
            "choosing": self.spent,
            **found,
            "versions": {"torch": str(torch.__version__), "noisette": noisette.__version__},
        }
        write_text(self.out / RECORD, json.dumps(record, allow_nan=False) + "\n")
        return Rewarded(record, *shown)

    def _batch(self, images_seen: int, count: int) -> Batch:
        """Real images; once some drawings are kept, every other one of them."""
        if self.kept is None:
            return self.real.at(images_seen, count)
        halves = [each.at(images_seen // 2, count // 2) for each in (self.real, self.kept)]
        images = torch.stack([half.images for half in halves], 1).flatten(0, 1)
        labels = torch.stack([half.labels for half in halves], 1).flatten()
        return Batch(
            images.contiguous(memory_format=torch.channels_last), labels, range(images_seen, images_seen + count)
        )

    def _choose(self, progress: Progress) -> None:
        """Draw with the weights of now, and keep the best of each class."""
        request = self.request.choosing(self.state.progress.images_seen)
        pools, price = draw_best(self._as_model(self.state.average), request, self.chooser, self.sampling, progress)
        kept = [pool.kept() for pool in pools]
        images = np.stack([each.image for pool in kept for each in pool])
        labels = np.array([label for label, pool in enumerate(kept) for _ in pool], np.int64)
        self.kept = Batches(images, labels, np.arange(len(labels)), request.seed)
        self.spent.append(price.of(len(labels)))

    def _check(self, progress: Progress) -> Check:
        """Measure drawings of the average, the same noise each time. Its weights are kept unless they score clearly
        less than some before: of equals the later have seen more real images."""
        request, chooser = self.request, self.chooser
        images = self._drawn(self.state.average, hash_seed(request.seed, "reward check"), progress, "checking")
        scores, _ = chooser.score(images, torch.tensor(self.check_labels))
        measured = chooser.judge.metrics(images, self.check_labels)
        score, error = float(scores.mean()), float(scores.std()) / len(scores) ** 0.5
        first = self.found[0].measured if self.found else measured
        lost = first["coverage"]["value"] - measured["coverage"]["value"]
        grown = measured["frechet"]["value"] / first["frechet"]["value"]
        verdict: Verdict = "worse"
        if lost > request.coverage_loss or grown > request.distance_growth:
            verdict = "too far"
        elif score >= max((check.score for check in self.found), default=0.0) - error:
            verdict = "kept"
        self.found.append(Check(self.state.progress.images_seen, score, error, measured, verdict))
        if verdict == "kept":
            self.best = _kept(self.state.average)
            self._save()
        return self.found[-1]

    def _best(self) -> Check:
        return [check for check in self.found if check.verdict == "kept"][-1]

    def _save(self) -> None:
        file, best = self.model.file, self._best()
        told = {
            "command": self.command,
            "of": drawn_by(self.model, self.request.seed, self.sampling),
            "by": self.chooser.facts()["by"],
            "images": best.images_seen,
        }
        save_model(self.out / BEST_FILE, ModelFile(file.spec, self.best, {**file.card, "rewarded": told}))

    def _drawn(self, network: nn.Module, seed: int, progress: Progress, what: str) -> Pixels:
        labels = self.check_labels
        model = self._as_model(network)

        def tell(done: float, total: int) -> None:
            progress(what, done, total)

        return draw_pixels(model, labels, seed, range(len(labels)), self.sampling, tell)[0]

    def _as_model(self, network: nn.Module) -> Model:
        """A copy of these weights to draw with."""
        drawing = _kept(network).to(self.precision)
        return Model(self.model.name, ModelFile(self.model.file.spec, drawing, {}), self.model.device)


def _kept(network: nn.Module) -> UNet:
    """A copy that no training changes."""
    copied = average_of(network)
    assert isinstance(copied, UNet)
    return copied

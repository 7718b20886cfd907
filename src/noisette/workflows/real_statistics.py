"""The real side of an evaluation: the images held against, what a classifier makes of them, what real images score.

All of it depends on the data and the classifier alone, so it is worked out once and kept in the user's cache folder.
"""

import hashlib
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

import noisette
from noisette.base.config import require
from noisette.base.errors import NoisetteError, Refusal, shortened
from noisette.base.files import cache_folder
from noisette.base.progress import Progress, silent
from noisette.base.shapes import Images, Labels
from noisette.base.tensor_file import read_tensors, write_tensors
from noisette.data.checks import check
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import ImageData, NoTestPart, to_model
from noisette.data.split import split
from noisette.evaluation.distances import frechet, kernel
from noisette.evaluation.intervals import GROUPS
from noisette.evaluation.labels import diversity
from noisette.evaluation.manifold import manifold
from noisette.evaluation.memorisation import nearest
from noisette.evaluation.yardstick import DRAWS, draw_equal, draw_own
from noisette.perception.classifier_file import ClassifierFile
from noisette.perception.inception import InceptionFile, inception_features, load_inception
from noisette.perception.read import read
from noisette.report.pictures import Pixels
from noisette.workflows.device import choose_device
from noisette.workflows.perceive import load_perception

FORMAT = "noisette-real-1"
"""Of the cache. Raise it when anything is worked out in another way: old files are then passed over."""

REFERENCE_SEED = 0
AT_A_TIME = 500
"""Images read between two reports of progress."""

Against = Literal["test", "validation"]
Priors = Literal["equal", "own"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a data set."""

    data: ImageData
    rows: Tensor  # int64 [N], their places in the data set

    @property
    def images(self) -> Pixels:
        """uint8 [N, H, W, C]: not a copy where all of the set is meant, which may be mapped from the disk."""
        images: Pixels = self.data.images
        return images if len(self.rows) == len(images) else images[self.rows.numpy()]

    @property
    def labels(self) -> Labels:
        """int64 [N]."""
        return torch.from_numpy(self.data.labels)[self.rows]

    @cached_property
    def digest(self) -> str:
        """Of these images alone."""
        return ImageData("", self.images, self.labels.numpy(), self.data.classes, "").digest

    def fewest(self) -> int:
        """How many images the rarest class has; of a data set without classes: all."""
        if not self.data.classes:
            return len(self.rows)
        return int(torch.bincount(self.labels, minlength=len(self.data.classes)).min())


@dataclass(frozen=True, eq=False)
class Real:
    """What samples are held against, and the classifier whose features they are measured in."""

    train: Part
    reference: Part
    against: Against
    classifier: ClassifierFile
    inception: InceptionFile | None = None
    """Where the features are Inception's: classes are read by the classifier all the same."""

    @property
    def data(self) -> ImageData:
        """The data set that the training images are from: its name, size and classes."""
        return self.train.data

    def most(self, priors: Priors) -> int:
        """The largest count of samples: half of what the training images allow, so that draws of as many differ."""
        if priors == "equal":
            return len(self.data.classes) * (self.train.fewest() // 2)
        return len(self.train.rows) // 2

    def reference_rows(self, priors: Priors) -> Tensor:
        """Places in the reference part: of each class as many as the rarest has, or all."""
        if priors == "equal":
            return draw_equal(self.reference.labels, self.reference.fewest(), REFERENCE_SEED)
        return torch.arange(len(self.reference.rows))

    def require_reference(self, priors: Priors) -> None:
        """Refuse a reference of too few images for the kernel distance and for the interval of any other."""
        count = len(self.reference_rows(priors))
        require(
            count >= 2 * GROUPS,
            f"{self.data.name}: {priors} class counts leave {count} {self.against} images to measure against",
            f"at least {2 * GROUPS}",
        )


def load_real(
    name: str,
    data_dir: Path | None,
    against: Against | None,
    classifier: str,
    validation_fraction: float = 0.2,
    split_seed: int = 0,
    inception: Path | None = None,
    form: Form = AS_IT_IS,
    progress: Progress = silent,
) -> Real:
    """The data set's training part and its test part; or, against validation, the two parts of a split of the former,
    as also where nothing is asked for and there is no test part.

    inception: a file of weights, for features of Inception v3 instead of the classifier's. Raises Refusal for data
    that are not sound or lack a class in either part, for a classifier of another size or of other classes than the
    data have, and for weights that are missing or another network's.
    """
    data = load_data(name, data_dir, "train", form, progress)
    test = None if against == "validation" else _test_part(name, data, data_dir, form, progress, against)
    if test is not None:
        against, train, held_out = "test", _whole(data), _whole(test)
    else:
        against = "validation"
        rows = split(data.labels, validation_fraction, split_seed)
        train, held_out = (Part(data, torch.from_numpy(part)) for part in rows)
    for part, what in ((train, "training"), (held_out, against)):
        check(part.data, part.rows.numpy(), part.rows[:0].numpy()).require_sound()
        require(part.fewest() > 0, f"data set {name} has a class without a {what} image", "every class in both parts")
    perception = load_perception(classifier)
    spec = perception.spec
    found = (spec.height, spec.width, spec.channels)
    height, width, channels = data.images.shape[1:]
    require(
        found == (height, width, channels) and data.classes in ((), spec.classes),
        f"classifier {classifier} reads images {list(found)} [H, W, C] as {shortened(spec.classes)}",
        f"{[height, width, channels]} and the classes of {name}, as noisette perceive {name} trains",
    )
    extractor = None if inception is None else load_inception(inception, choose_device("auto"))
    return Real(train, held_out, against, perception, extractor)


def _test_part(
    name: str, train: ImageData, data_dir: Path | None, form: Form, progress: Progress, against: Against | None
) -> ImageData | None:
    """The test part beside a training part. None where there is none, unless it is asked for."""
    try:
        test = load_data(name, data_dir, "test", form.like(*train.images.shape[1:]), progress)
    except NoTestPart:
        if against == "test":
            raise
        return None
    found, expected = shortened(test.classes), shortened(train.classes)
    require(test.classes == train.classes, f"data set {name} with a test part of classes {found}", expected)
    return test


def _whole(data: ImageData) -> Part:
    return Part(data, torch.arange(len(data.images)))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a classifier made of images."""

    labels: Labels  # int64 [N], what they are or were asked for
    guesses: Labels  # int64 [N]
    features: Tensor  # float32 [N, D]

    def pick(self, rows: Tensor) -> "Seen":
        """Some of them."""
        return Seen(self.labels[rows], self.guesses[rows], self.features[rows])


@dataclass(frozen=True, eq=False)
class RealStatistics:
    """The real images as the classifier sees them. *_distances: of each reference image to its nearest training one."""

    real: Real
    train: Seen
    reference: Seen
    feature_distances: Tensor  # float64 [M]
    pixel_distances: Tensor  # float64 [M]


def read_pixels(classifier: ClassifierFile, images: Pixels, progress: Progress, what: str) -> tuple[Tensor, Tensor]:
    """Guesses int64 [N] and features float32 [N, D]. Raises NoisetteError for features that are not finite."""
    reading = read(classifier.network, _batches(images, progress, what))
    _require_finite(reading.features, what)
    return reading.guesses, reading.features


def read_images(real: Real, images: Pixels, progress: Progress, what: str) -> tuple[Tensor, Tensor]:
    """Guesses int64 [N] by the classifier, and features float32 [N, D]: its own, or Inception's where that is there."""
    guesses, features = read_pixels(real.classifier, images, progress, what)
    if real.inception is not None:
        what = f"{what} with Inception"
        features = inception_features(real.inception.network, _batches(images, progress, what))
        _require_finite(features, what)
    return guesses, features


def _batches(images: Pixels, progress: Progress, what: str) -> Iterator[Images]:
    for start in range(0, len(images), AT_A_TIME):
        progress(what, start, len(images))
        yield to_model(images[start : start + AT_A_TIME])


def _require_finite(features: Tensor, what: str) -> None:
    if not bool(features.isfinite().all()):
        raise NoisetteError(f"{what}: the features are not finite")


def as_points(images: Pixels) -> Tensor:
    """Each image as one row of values from 0 to 1, float32 [N, H W C]."""
    return torch.from_numpy(images.reshape(len(images), -1).astype(np.float32)) / 255


def real_statistics(real: Real, progress: Progress = silent) -> RealStatistics:
    """Read both parts with the classifier, unless that was done before."""

    def work_out() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, part in (("train", real.train), ("reference", real.reference)):
            guesses, features = read_images(real, part.images, progress, f"reading the real {name} images")
            found |= {f"{name}.guesses": guesses, f"{name}.features": features}
        progress("nearest training images of the reference", 0, 1)
        by_pixel = nearest(as_points(real.reference.images), as_points(real.train.images))
        by_feature = nearest(found["reference.features"], found["train.features"])
        return found | {"feature_distances": by_feature.distances, "pixel_distances": by_pixel.distances}

    found = kept(_key(real), work_out)
    train, reference = (
        Seen(part.labels, found[f"{name}.guesses"], found[f"{name}.features"])
        for name, part in (("train", real.train), ("reference", real.reference))
    )
    return RealStatistics(real, train, reference, found["feature_distances"], found["pixel_distances"])


# What real images score ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Yardstick:
    """A metric of real training images: mean and standard deviation over DRAWS draws."""

    mean: float
    spread: float


def yardsticks(
    known: RealStatistics, count: int, priors: Priors, progress: Progress = silent, labelled: bool = True
) -> dict[str, Yardstick]:
    """What `count` real training images score against the same reference, by metric, unless worked out before.

    labelled: whether the samples to be held against them are; if not, the classes of both are what the classifier
    reads.
    """

    def work_out() -> dict[str, Tensor]:
        draws = []
        for seed in range(DRAWS):
            progress("what real images score", seed, DRAWS)
            rows = draw_rows(known.train.labels, count, priors, seed)
            draws.append(_scores(known, known.train.pick(rows), priors, labelled))
        return {name: torch.tensor([draw[name] for draw in draws], dtype=torch.float64) for name in draws[0]}

    key = _key(known.real) | {"count": count, "priors": priors, "draws": DRAWS}
    found = kept(key if labelled else key | {"classes": "guesses"}, work_out)
    return {
        name: Yardstick(statistics.mean(draws.tolist()), statistics.stdev(draws.tolist()))
        for name, draws in found.items()
    }


def _scores(known: RealStatistics, draw: Seen, priors: Priors, labelled: bool) -> dict[str, float]:
    """The metrics of a draw of real images."""
    reference = known.reference.pick(known.real.reference_rows(priors))
    some, others = matched(draw, reference, priors)
    return {
        "frechet": frechet(draw.features, reference.features),
        "kernel": kernel(draw.features, reference.features),
        **vars(manifold(others.features, some.features)),
        "diversity": diversity(draw.features, draw.labels if labelled else draw.guesses),
    }


def draw_rows(labels: Labels, count: int, priors: Priors, seed: int = 0) -> Tensor:
    """Rows of `count` images with these labels: of equal class counts, or as often as the classes come."""
    if priors == "equal":
        return draw_equal(labels, count // len(torch.unique(labels)), seed)
    return draw_own(labels, count, seed)


def matched(fake: Seen, reference: Seen, priors: Priors) -> tuple[Seen, Seen]:
    """As many of both, drawn from the larger: equal class counts of equal ones, else any."""
    count = min(len(fake.labels), len(reference.labels))

    def draw(seen: Seen) -> Seen:
        return seen if len(seen.labels) == count else seen.pick(draw_rows(seen.labels, count, priors))

    return draw(fake), draw(reference)


# The cache ----------------------------------------------------------------------------------------


def _key(real: Real) -> dict[str, Any]:
    """All that the statistics of the real side depend on."""
    return {
        "noisette": noisette.__version__,
        "train": real.train.digest,
        "reference": real.reference.digest,
        "classifier": real.classifier.digest,
        "inception": None if real.inception is None else real.inception.digest,
    }


def kept(key: dict[str, Any], work_out: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `work_out` gives, from the cache where they were kept under the same key.

    A file that is damaged or says that it is something else is worked out anew. Where the cache cannot be written,
    a warning says so and the work goes on.
    """
    text = json.dumps(key, sort_keys=True)
    path = cache_folder("real") / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
    try:
        header, tensors = read_tensors(path, "cache", FORMAT)
        if header.get("key") == text and header.get("digest") == _digest(tensors):
            return tensors
    except Refusal:
        pass
    tensors = work_out()
    try:
        write_tensors(path, tensors, {"format": FORMAT, "key": text, "digest": _digest(tensors)})
    except NoisetteError as error:
        warnings.warn(f"real statistics are not kept: {error}", stacklevel=2)
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and values."""
    return hashlib.sha256(save({name: tensor.contiguous() for name, tensor in tensors.items()})).hexdigest()

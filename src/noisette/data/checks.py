"""The laboratory's integrity report: what is wrong with a data set and its split, told before training."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisette.base.errors import Refusal, shortened
from noisette.base.shapes import NO_CLASS
from noisette.data.images import ImageData, to_model
from noisette.data.split import Index

FEW_IMAGES = 10
"""A class with fewer training images than this is warned of, or a set without classes."""

IMBALANCE = 5.0
"""A largest class this many times the smallest is warned of (MNIST's ratio is 1.2)."""

_AT_A_TIME = 2**22
"""Values looked at a time: bounds the memory."""


@dataclass(frozen=True)
class PartReport:
    """One part of the split."""

    images: int
    per_class: tuple[int, ...]
    """Images of each class; none for a set without classes."""
    duplicates: int
    """Images whose pixels repeat those of an earlier image of this part."""


@dataclass(frozen=True)
class Contents:
    """What was counted in images and labels whose form is right."""

    train: PartReport
    validation: PartReport
    shared: int
    """Validation images whose pixels are also those of a training image."""
    constant: int
    """Images of one colour, the black ones among them."""
    black: int
    """Images whose every value is 0."""
    lowest: int
    highest: int
    scaled_lowest: float
    """`lowest` as a model sees it."""
    scaled_highest: float
    mean: float
    """Of all values of the training part, scaled to [-1, 1]."""
    standard_deviation: float
    """Of all values of the training part, scaled to [-1, 1]."""


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    name: str
    source: str
    digest: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    """Of the images, [N, H, W, C]."""
    image_type: str
    label_type: str
    label_range: tuple[int, int] | None
    """None when there is no whole-numbered label."""
    finite: bool
    """No value of the images is NaN or infinite."""
    problems: tuple[str, ...]
    """Faults that forbid training, a line each."""
    notes: tuple[str, ...]
    """What was decided while the data were read, a line each."""
    warnings: tuple[str, ...]
    """Faults that training survives, a line each."""
    contents: Contents | None
    """None when a problem forbids to count."""

    def require_sound(self) -> Contents:
        """What was counted. Raises Refusal with the first problem, if there is one."""
        if self.contents is None:
            raise Refusal(f"data set {self.name}: {self.problems[0]}")
        return self.contents


def check(data: ImageData, train_index: Index, validation_index: Index) -> Report:
    """Look at `data` and at its split, given as positions of images; about a second for 60,000 small images.

    Bad data raise nothing: what is wrong stands in the report.
    """
    images, labels = data.images, data.labels
    finite = images.dtype.kind != "f" or bool(np.isfinite(images).all())
    problems = (*_image_problems(data, finite), *_label_problems(data))
    problems = problems or tuple(_split_problems(len(images), train_index, validation_index))
    contents = None if problems else _contents(data, train_index, validation_index)
    counted = labels.dtype.kind in "iu" and labels.size > 0
    return Report(
        name=data.name,
        source=data.source,
        digest=data.digest,
        classes=data.classes,
        shape=images.shape,
        image_type=images.dtype.name,
        label_type=labels.dtype.name,
        label_range=(int(labels.min()), int(labels.max())) if counted else None,
        finite=finite,
        problems=problems,
        notes=data.notes,
        warnings=(*data.warnings, *(_warnings(data.classes, contents) if contents else ())),
        contents=contents,
    )


def _image_problems(data: ImageData, finite: bool) -> Iterator[str]:
    shape = data.images.shape
    if data.images.dtype != np.uint8:
        yield f"images are {data.images.dtype.name}, expected uint8"
    if not finite:
        yield "images hold values that are NaN or infinite"
    if len(shape) != 4:
        yield f"images have shape {list(shape)}, expected [N, H, W, C]"
    elif shape[0] == 0:
        yield "there are no images"
    elif shape[1] == 0 or shape[2] == 0:
        yield f"images are empty: {shape[1]} x {shape[2]} pixels"
    elif not 1 <= shape[3] <= 4:
        yield f"images have {shape[3]} channels, expected 1 to 4 on the last axis of {list(shape)}"


def _label_problems(data: ImageData) -> Iterator[str]:
    labels, classes = data.labels, data.classes
    if labels.dtype != np.int64:
        yield f"labels are {labels.dtype.name}, expected int64"
    if labels.shape != data.images.shape[:1]:
        yield f"labels have shape {list(labels.shape)}, expected {list(data.images.shape[:1])}, one an image"
    if not classes:
        if (labels != NO_CLASS).any():
            yield f"labels lie in {labels.min()} to {labels.max()}, expected {NO_CLASS}, since there are no classes"
    elif labels.size and not (labels.min() >= 0 and labels.max() < len(classes)):
        yield f"labels lie in {labels.min()} to {labels.max()}, expected 0 to {len(classes) - 1}"
    if len(set(classes)) < len(classes):
        yield "two classes have the same name"


def _split_problems(count: int, train: Index, validation: Index) -> Iterator[str]:
    if len(train) == 0:
        yield "there are no training images"
    both = np.concatenate([train, validation])
    if both.size and not (both.min() >= 0 and both.max() < count):
        yield f"the split names images {both.min()} to {both.max()}, expected 0 to {count - 1}"
    if len(np.unique(both)) < len(both):
        yield "the split names an image twice"


@dataclass(frozen=True, eq=False)
class _Look:
    """What one walk over the images finds."""

    digests: npt.NDArray[Any]  # [N], 16 bytes each
    darkest: npt.NDArray[np.uint8]  # [N], the lowest value of each
    lightest: npt.NDArray[np.uint8]  # [N]
    levels: npt.NDArray[np.int64]  # [256], how often each value occurs in the training part


def _look(images: npt.NDArray[np.uint8], train_index: Index) -> _Look:
    """Walk over the images, some at a time: the memory is bounded however many there are."""
    count, size = len(images), math.prod(images.shape[1:])
    trains = np.zeros(count, np.bool_)
    trains[train_index] = True
    darkest, lightest = np.empty((2, count), np.uint8)
    found = _Look(np.empty(count, "V16"), darkest, lightest, np.zeros(256, np.int64))
    for start in range(0, count, step := max(1, _AT_A_TIME // size)):
        rows = slice(start, start + step)
        flat = np.ascontiguousarray(images[rows]).reshape(-1, size)  # [n, H W C]
        found.digests[rows] = [hashlib.blake2b(image.data, digest_size=16).digest() for image in flat]
        flat.min(axis=1, out=darkest[rows])
        flat.max(axis=1, out=lightest[rows])
        if trains[rows].any():
            found.levels[:] += Image.fromarray(flat[trains[rows]]).histogram()  # many times faster than numpy's
    return found


def _contents(data: ImageData, train_index: Index, validation_index: Index) -> Contents:
    look = _look(data.images, train_index)

    def part(index: Index) -> PartReport:
        per_class = np.bincount(data.labels[index], minlength=len(data.classes)).tolist() if data.classes else ()
        return PartReport(len(index), tuple(per_class), len(index) - len(np.unique(look.digests[index])))

    ends = np.array([look.darkest.min(), look.lightest.max()])
    scaled = to_model(ends.reshape(2, 1, 1, 1)).flatten().tolist()
    mean, deviation = _moments(look.levels)
    return Contents(
        train=part(train_index),
        validation=part(validation_index),
        shared=int(np.isin(look.digests[validation_index], look.digests[train_index]).sum()),
        constant=int((look.darkest == look.lightest).sum()),
        black=int((look.lightest == 0).sum()),
        lowest=int(ends[0]),
        highest=int(ends[1]),
        scaled_lowest=scaled[0],
        scaled_highest=scaled[1],
        mean=mean,
        standard_deviation=deviation,
    )


def _moments(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of all scaled values, from how often each of the 256 levels occurs."""
    levels = to_model(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)).flatten().double().numpy()
    share = counts / counts.sum()
    mean = float(share @ levels)
    return mean, math.sqrt(float(share @ (levels - mean) ** 2))


def _warnings(classes: Sequence[str], found: Contents) -> Iterator[str]:
    if found.train.duplicates:
        yield f"training images that repeat an earlier one: {found.train.duplicates}"
    if found.validation.duplicates:
        yield f"validation images that repeat an earlier one: {found.validation.duplicates}"
    if found.shared:
        yield f"validation images that are training images too, which flatters every score: {found.shared}"
    if found.constant:
        yield f"images of one colour: {found.constant}, of them black: {found.black}"
    if not classes:
        if found.train.images < FEW_IMAGES:
            yield f"fewer than {FEW_IMAGES} training images: {found.train.images}"
        return
    rows = list(zip(classes, found.train.per_class, found.validation.per_class, strict=True))
    if absent := [name for name, train, validation in rows if train + validation == 0]:
        yield f"classes without an image: {shortened(absent)}"
    if few := [f"{name} ({train})" for name, train, _ in rows if train < FEW_IMAGES and name not in absent]:
        yield f"classes with fewer than {FEW_IMAGES} training images: {shortened(few)}"
    unseen = [name for name, _, validation in rows if validation == 0 and name not in absent]
    if unseen and found.validation.images:
        yield f"classes without a validation image: {shortened(unseen)}"
    present = [train for _, train, _ in rows if train > 0]
    if max(present) > IMBALANCE * min(present):
        ratio = max(present) / min(present)
        yield f"the largest class has {ratio:.1f} times the training images of the smallest"

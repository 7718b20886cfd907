"""Labelled images as they lie in memory, and the one scaling between pixels and what a model sees."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.names import require_names
from noisette.base.shapes import Images


class NoTestPart(Refusal):
    """The data set consists of a training part alone."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A labelled image data set. Holds whatever a loader found: `checks.check` says whether it is sound."""

    name: str
    images: npt.NDArray[Any]  # uint8 [N, H, W, C]
    labels: npt.NDArray[Any]  # int64 [N], an index into `classes`
    classes: tuple[str, ...]
    source: str
    """One line: origin and licence."""
    notes: tuple[str, ...] = ()
    """What was decided while reading it, a line each: sizes, channels, what was enlarged or passed over."""
    warnings: tuple[str, ...] = ()
    """What a person must know before training on it, a line each."""

    def __post_init__(self) -> None:
        require_names(self.classes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of shape, pixels, labels and class names, the same on any machine."""
        header = {
            "shape": self.images.shape,
            "pixels": self.images.dtype.name,
            "labels": self.labels.dtype.name,
            "classes": self.classes,
        }
        found = hashlib.sha256(json.dumps(header).encode() + b"\n")
        for array in (self.images, self.labels):
            little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            found.update(little.reshape(-1).view(np.uint8).data)
        return found.hexdigest()


def to_model(images: npt.NDArray[Any]) -> Images:
    """Pixels uint8 [N, H, W, C] as float32 [N, C, H, W] in [-1, 1], channels-last: `x / 127.5 - 1`.

    Raises ValueError for an array of another type or another number of axes.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"expected uint8 pixels [N, H, W, C], found {images.dtype} {list(images.shape)}")
    scaled = images.astype(np.float32)  # a copy: the caller's pixels are never written to
    # The memory stays as it was, [N, H, W, C]; only the view changes, and that is what channels-last means.
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).div_(127.5).sub_(1.0)  # [N, C, H, W]


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """Images [N, C, H, W] as pixels uint8 [N, H, W, C]: clamped to [-1, 1], rounded to the nearest value.

    Undoes `to_model` exactly. Raises NoisetteError for a NaN, which is no colour.
    """
    if bool(images.isnan().any()):
        raise NoisetteError("images hold values that are not numbers (NaN): the model has diverged")
    levels = (images.detach().to("cpu", torch.float32).clamp(-1, 1) + 1) * 127.5
    pixels: npt.NDArray[np.uint8] = levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels  # [N, H, W, C]

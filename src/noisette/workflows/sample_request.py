"""What is asked of `noisette sample`: which images, how they are drawn, and where to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noisette.base.config import require, require_storable, to_plain
from noisette.base.errors import Refusal
from noisette.base.shapes import NO_CLASS
from noisette.report.pictures import check_film_name
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model
from noisette.workflows.steering import SteeringConfig

Files = Literal["png", "npz", "parquet"]


@dataclass(frozen=True)
class Asked:
    """The images of a request in their order, each worked out when it is needed: a million of them take no room.

    index: the number of each, counted from 0 in the whole command. given: labels by number; without them the
    `classes` come in turns, and 0 classes are no class in particular.
    """

    index: Sequence[int]
    given: Sequence[int] = ()
    classes: int = 0

    def __len__(self) -> int:
        return len(self.index)

    def labels(self, index: Sequence[int]) -> list[int]:
        """The labels of the images of these numbers."""
        if self.given:
            return [self.given[number] for number in index]
        return [number % self.classes if self.classes else NO_CLASS for number in index]


@dataclass(frozen=True)
class SampleRequest:
    """What to draw and where to. One of labels, per_class and count settles the labels: image i has the i-th."""

    sampling: SamplingConfig
    labels: tuple[int | str, ...] = ()
    """The class of each image, by name or number; none asks for no class."""
    per_class: int | None = None
    """Images of each class, in turns: a column a class."""
    count: int | None = None
    """Images of no class in particular."""
    index: tuple[int, ...] = ()
    """Draw only these images, counted from 0."""
    seed: int = 0
    """Decides the noise: image i of a seed is always the same picture."""
    out: Path = Path("samples.png")
    """A grid (.png), arrays (.npz: images, labels, index, seed), or a folder, for any number of images; the same
    command on the same folder goes on where it stopped."""
    files: Files = "png"
    """What a folder holds: single pictures, or shards of .npz or of parquet (which the datasets library loads)."""
    steering: SteeringConfig = SteeringConfig()
    film: Path | None = None
    """Also film the denoising (.gif, .png, .apng or .webp): noisy on the left, the model's estimate on the right."""

    def __post_init__(self) -> None:
        for name in ("per_class", "count"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} {value}", "at least 1")
        require_storable(self)
        require(len(set(self.index)) == len(self.index), "an index given twice", "each image once")
        led = self.steering.steer is not None and self.steering.by_class
        require(not led or self.count is None, "count, images of no class, led to their class", "--prompt and a text")
        suffix = self.out.suffix.lower()
        if not (self.writes_folder() or suffix in (".png", ".npz")):
            raise Refusal(f"output {str(self.out)!r}: expected .png, .npz or a folder, whose name has no dot")
        require(
            self.writes_folder() or self.files in ("png", suffix[1:]),
            f"files {self.files} for {self.out}",
            "a folder to put them in, whose name has no dot",
        )
        if self.film is not None:
            check_film_name(self.film)
            require(self.film != self.out, f"{self.out} for film and pictures", "two files")

    def writes_folder(self) -> bool:
        """Whether `out` is a folder."""
        return self.out.is_dir() or not self.out.suffix

    def asked(self, model: Model) -> Asked:
        """The images, and the label of each. Raises Refusal for a label, a way to ask or an index that `model` or
        this request does not have."""
        given = [name for name in ("labels", "per_class", "count") if getattr(self, name) not in ((), None)]
        require(
            len(given) == 1,
            " and ".join(given).replace("_", "-") or "nothing to draw",
            "one of labels, per-class and count",
        )
        labels = [model.label(name) for name in self.labels]
        classes = 0 if self.per_class is None else len(model.classes)
        if self.per_class is not None:
            require(classes > 0, f"per-class of {model.name}, a model without classes", "count")
        images = len(labels) or self.count or classes * (self.per_class or 0)
        for number in self.index:
            require(0 <= number < images, f"index {number}", f"0 to {images - 1}, of {images} images")
        return Asked(self.index or range(images), labels, classes)


def finite(settings: SamplingConfig | SteeringConfig) -> dict[str, Any]:
    """The settings as plain values; what is infinite is left out, for JSON has no word for it."""
    return {name: value for name, value in to_plain(settings).items() if value != math.inf}

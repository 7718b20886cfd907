"""`noisette sample`: draw images from a model into a grid, a folder, an array file or a film."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from noisette.base.config import require
from noisette.base.errors import Refusal
from noisette.base.files import require_writable, whole_file
from noisette.base.shapes import NO_CLASS
from noisette.data.images import to_uint8
from noisette.diffusion.noise import unit_variance
from noisette.diffusion.sample import Snapshot
from noisette.report.pictures import (
    Pixels,
    as_picture,
    check_film_name,
    columns_for,
    film_moments,
    grid_picture,
    save_film,
    save_picture,
)
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model

FILM_IMAGES, FILM_WIDTH = 100, 300
"""A film shows at most the first so many images; each half is enlarged to at most about so many pixels."""


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
    """A grid (.png), arrays (.npz: images, labels, index, seed), or a new folder of single pictures."""
    film: Path | None = None
    """Also film the denoising (.gif, .png, .apng or .webp): noisy on the left, the model's estimate on the right."""

    def __post_init__(self) -> None:
        for name in ("per_class", "count"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} {value}", "at least 1")
        require(-(2**63) <= self.seed < 2**63, f"seed {self.seed}", "a number of at most 63 bits")
        require(len(set(self.index)) == len(self.index), "an index given twice", "each image once")
        if not (self.writes_folder() or self.out.suffix.lower() in (".png", ".npz")):
            raise Refusal(f"output {str(self.out)!r}: expected .png, .npz or a folder, whose name has no dot")
        if self.film is not None:
            check_film_name(self.film)
            require(self.film != self.out, f"{self.out} for film and pictures", "two files")

    def writes_folder(self) -> bool:
        """Whether `out` is a folder of single pictures."""
        return self.out.is_dir() or not self.out.suffix

    def label_list(self, model: Model) -> list[int]:
        """The label of every image of the whole command, before `index` picks some."""
        given = [name for name in ("labels", "per_class", "count") if getattr(self, name) not in ((), None)]
        require(
            len(given) == 1,
            " and ".join(given).replace("_", "-") or "nothing to draw",
            "one of labels, per-class and count",
        )
        if self.labels:
            return [model.label(name) for name in self.labels]
        if self.count:
            return [NO_CLASS] * self.count
        assert self.per_class is not None
        classes = len(model.classes)
        require(classes > 0, f"per-class of {model.name}, a model without classes", "count")
        return [number % classes for number in range(self.per_class * classes)]


@dataclass(frozen=True)
class Sampled:
    """What was drawn. seconds: of drawing alone; evaluations: times that the network saw each image."""

    images: int
    seconds: float
    evaluations: float


def sample_to(model: Model, request: SampleRequest, progress: Callable[[float, int], None] | None = None) -> Sampled:
    """Draw what `request` asks for and write its files; progress is told (images done, images in all) after each step.

    Raises Refusal before drawing for a label, an index or a number of steps that the model does not have, and for a
    place that cannot be written.
    """
    labels = request.label_list(model)
    index = list(request.index or range(len(labels)))
    for number in index:
        require(0 <= number < len(labels), f"index {number}", f"0 to {len(labels) - 1}, of {len(labels)} images")
    labels = [labels[number] for number in index]
    steps = len(model.file.spec.sampling_grid(request.sampling)) - 1
    _check_places(request)

    film = _Film(steps if request.film else 0)
    images, sampled = draw_pixels(model, labels, request.seed, index, request.sampling, progress, film.take)
    _write(request, model.classes, images, labels, index)
    if request.film is not None:
        save_film(film.frames(columns_for(min(len(images), FILM_IMAGES), len(model.classes))), request.film)
    return sampled


def draw_pixels(
    model: Model,
    labels: Sequence[int],
    seed: int,
    index: Sequence[int],
    sampling: SamplingConfig,
    progress: Callable[[float, int], None] | None = None,
    watch: Callable[[Snapshot, int], None] = lambda snapshot, drawn: None,
) -> tuple[Pixels, Sampled]:
    """Draw image index[i] of the seed for the i-th label: pixels [N, H, W, C], and what it took.

    progress as in `sample_to`; watch is handed each snapshot, and how many images were drawn before its batch.
    """
    pixels: list[Pixels] = []
    started, drawn = time.perf_counter(), 0
    with _Counter(model.file.network) as counter:
        for batch in model.batches(labels, seed, index, sampling):
            for snapshot in batch:
                watch(snapshot, drawn)
                if progress is not None:
                    progress(drawn + len(snapshot.noisy) * snapshot.step / snapshot.steps, len(labels))
            pixels.append(to_uint8(snapshot.denoised))
            drawn += len(pixels[-1])
    images = np.concatenate(pixels)
    return images, Sampled(len(images), time.perf_counter() - started, counter.rows / len(images))


class _Counter:
    """Counts the rows that pass through a network."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.rows = network, 0

    def __enter__(self) -> "_Counter":
        self.hook = self.network.register_forward_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _count(self, network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.rows += len(output)


class _Film:
    """Gathers, at the moments of a film, the noisy images and the estimates of every batch."""

    def __init__(self, steps: int) -> None:
        self.moments = film_moments(steps) if steps else set()
        self.halves: dict[int, list[tuple[Pixels, Pixels]]] = defaultdict(list)

    def take(self, snapshot: Snapshot, drawn: int) -> None:
        """Keep a snapshot of the batch that begins with image `drawn`, if the film shows it."""
        if snapshot.step in self.moments and drawn < FILM_IMAGES:
            noisy = unit_variance(snapshot.noisy, snapshot.noise_level)
            self.halves[snapshot.step].append((to_uint8(noisy), to_uint8(snapshot.denoised)))

    def frames(self, columns: int) -> list[Image.Image]:
        """One picture a moment: noisy on the left, the estimates on the right."""
        return [_frame(self.halves[moment], columns) for moment in sorted(self.halves)]


def _frame(batches: Sequence[tuple[Pixels, Pixels]], columns: int) -> Image.Image:
    sides = (np.concatenate(side)[:FILM_IMAGES] for side in zip(*batches, strict=True))
    left, right = (grid_picture(side, columns, zoom=max(1, FILM_WIDTH // (columns * side.shape[2]))) for side in sides)
    frame = Image.new(left.mode, (left.width + right.width, left.height))
    frame.paste(left, (0, 0))
    frame.paste(right, (left.width, 0))
    return frame


def picture_name(number: int, label: int, classes: Sequence[str]) -> str:
    """The file name of a single picture. Whatever a class is called, it names a file of this folder on any system."""
    name = "none" if label == NO_CLASS else classes[label]
    safe = re.sub(r"[^\w-]", "_", name)[:60]
    return f"{number:06d}-{safe}.png"


def _write(
    request: SampleRequest, classes: tuple[str, ...], images: Pixels, labels: Sequence[int], index: Sequence[int]
) -> None:
    if request.writes_folder():
        for image, label, number in zip(images, labels, index, strict=True):
            save_picture(as_picture(image), request.out / picture_name(number, label, classes))
    elif request.out.suffix.lower() == ".npz":
        with whole_file(request.out) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                images=images,
                labels=np.array(labels, np.int64),
                index=np.array(index, np.int64),
                seed=np.int64(request.seed),
            )
    else:
        save_picture(grid_picture(images, columns_for(len(images), len(classes))), request.out)


def _check_places(request: SampleRequest) -> None:
    """Refuse, before any work, what could not be written after it."""
    out = request.out
    if request.writes_folder():
        if out.exists() and not out.is_dir():
            raise Refusal(f"output {out} is a file: expected a new or an empty folder")
        if out.is_dir() and any(out.iterdir()):
            raise Refusal(f"output folder {out} is not empty: expected a new or an empty one")
        require_writable(out / picture_name(0, NO_CLASS, ()))
    else:
        require_writable(out)
    if request.film is not None:
        require_writable(request.film)

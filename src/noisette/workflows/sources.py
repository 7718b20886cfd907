"""What is evaluated: images drawn from a model, or a file of them from anybody."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisette.base.array_file import read_arrays
from noisette.base.config import from_plain, require
from noisette.base.errors import Refusal, shortened
from noisette.base.shapes import NO_CLASS, Labels
from noisette.data.form import Form
from noisette.data.images import ImageData
from noisette.evaluation.yardstick import draw_equal, draw_own
from noisette.report.pictures import Pixels
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.drawing import draw_pixels
from noisette.workflows.model import Model, file_digest, load
from noisette.workflows.real_statistics import Priors, Real
from noisette.workflows.sample_folder import RECORD, read_record
from noisette.workflows.sample_reading import read_shard
from noisette.workflows.sample_request import finite

FEWEST = 100
"""Samples below which no distance means anything."""
FOLDER_BYTES = 2**28
"""Of pixels that are read of a folder, which may hold any number."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images as they came, each asked for as a class, or none of them."""

    images: Pixels  # [N, H, W, C]
    labels: Labels  # int64 [N], all -1 when no class was asked for
    index: Tensor  # int64 [N], the place of each in its file, or among what the model drew
    source: dict[str, Any]
    """What a record says of where they come from."""

    @property
    def labelled(self) -> bool:
        """Whether a class was asked for."""
        return bool((self.labels != NO_CLASS).all())

    def pick(self, rows: Tensor) -> "Samples":
        """Some of them."""
        return Samples(self.images[rows.numpy()], self.labels[rows], self.index[rows], self.source)

    def digest(self) -> str:
        """SHA-256 (hex) of the pixels, image after image."""
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()


Source = Model | Samples


def open_source(name: str, device: str = "auto", precision: str = "auto") -> Source:
    """The samples of an .npz file or of a folder that `noisette sample` wrote, else the model: a name that ships, a run
    folder or a .safetensors file."""
    return open_drawn(name) if holds_samples(name) else load(name, device, precision)


def open_drawn(name: str, fewest: int = FEWEST) -> Samples:
    """The samples of an .npz file or of a folder that `noisette sample` wrote, at least `fewest`.

    Raises Refusal for anything else.
    """
    require(holds_samples(name), name, "samples: an .npz file, or a folder that noisette sample wrote")
    return open_folder(Path(name), fewest) if Path(name).is_dir() else open_samples(Path(name), fewest)


def holds_samples(name: str) -> bool:
    """Whether it names samples: a folder that `noisette sample` wrote, or an .npz file."""
    return name.endswith(".npz") or (Path(name) / RECORD).is_file()


def open_folder(out: Path, fewest: int = FEWEST) -> Samples:
    """The samples of a finished folder, at least `fewest`: of a large one the first, as many as FOLDER_BYTES hold.

    Raises Refusal for a folder that is not finished, or damaged.
    """
    record = read_record(out)
    require(record.finished, f"{out}: samples that are not all drawn", "a finished folder; the same command goes on")
    size = record.height * record.width * record.channels
    shards = range(min(record.shards, max(1, FOLDER_BYTES // (size * record.shard_images))))
    images = np.concatenate([read_shard(out, record, shard) for shard in shards])
    index = record.asked.index[: len(images)]
    labels = np.array(record.asked.labels(index), np.int64)
    _check_labels(out, labels, fewest)
    facts = {"model_digest": record.model_digest, "seed": record.seed, "sampling": finite(record.sampling)}
    if record.steering.steer is not None:
        facts |= {"steering": finite(record.steering), "judge_digest": record.judge_digest}
    source = {"name": str(out), "kind": "samples", **facts, "dtype": record.precision}
    return Samples(images, torch.from_numpy(labels), torch.tensor(index), source)


def open_samples(path: Path, fewest: int = FEWEST) -> Samples:
    """The `images` uint8 [N, H, W, C] and `labels` int64 [N] (-1: none) of an .npz file, from anybody, at least
    `fewest`.

    Raises Refusal for a file that is missing, damaged or holds anything else.
    """
    images, labels = read_arrays(path, "sample file", ("images", "labels"))
    require(
        images.dtype == np.uint8 and images.ndim == 4,
        f"{path}: images {images.dtype} {list(images.shape)}",
        "uint8 [N, H, W, C]",
    )
    require(
        labels.dtype == np.int64 and labels.shape == images.shape[:1],
        f"{path}: labels {labels.dtype} {list(labels.shape)}",
        f"int64 [{len(images)}], one an image",
    )
    _check_labels(path, labels, fewest)
    return _as_samples(images, labels, {"name": str(path), "kind": "samples"})


def _check_labels(path: Path, labels: npt.NDArray[np.int64], fewest: int) -> None:
    """Refuse too few samples, and classes asked for now and then."""
    require(len(labels) >= fewest, f"{path}: {len(labels)} samples", f"at least {fewest}")
    none = int((labels == NO_CLASS).sum())
    require(none in (0, len(labels)), f"{path}: {none} of {len(labels)} labels are -1", "all or none of them")


def _as_samples(images: Pixels, labels: npt.NDArray[np.int64], source: dict[str, Any]) -> Samples:
    return Samples(images, torch.from_numpy(labels), torch.arange(len(labels)), source)


def check_fits(source: Source, data: ImageData) -> None:
    """Refuse what is of another size than the data, or knows other classes."""
    if isinstance(source, Samples):
        name, shape = source.source["name"], source.images.shape[1:]
        low, high = int(source.labels.min()), int(source.labels.max())
        require(
            low >= NO_CLASS and high < len(data.classes),
            f"{name}: labels {low} to {high}",
            f"0 to {len(data.classes) - 1}, or -1 for none"
            if data.classes
            else f"-1, since {data.name} has no classes",
        )
    else:
        name, (channels, height, width) = source.name, source.shape
        shape = (height, width, channels)
        require(
            source.classes in ((), data.classes),
            f"{name} draws the classes {shortened(source.classes)}",
            f"those of {data.name}, {shortened(data.classes) or 'none'}",
        )
    expected = data.images.shape[1:]
    require(shape == expected, f"{name}: images {list(shape)} [H, W, C]", f"{list(expected)}, those of {data.name}")


def form_of(source: Source) -> Form:
    """The form that a model's training images were brought into, by its card; of anything else, as images are."""
    try:
        card = source.file.card if isinstance(source, Model) else {}
        return from_plain(Form, card["config"]["dataset"]["form"], "card", base=Form())
    except (KeyError, TypeError, Refusal):  # a card is free, and older ones say nothing of it
        return Form()


def name_of(source: Source) -> str:
    """What it was called by."""
    return source.name if isinstance(source, Model) else str(source.source["name"])


def labelled(source: Source) -> bool:
    """Whether its samples are asked for by class."""
    return bool(source.classes) if isinstance(source, Model) else source.labelled


def labels_for(by_class: bool, count: int, priors: Priors, real: Real, seed: int) -> tuple[int, ...]:
    """What a model is asked for: each class as often, or as often as in the training images; or no class."""
    classes = len(real.data.classes)
    if not by_class:
        return (NO_CLASS,) * count
    if priors == "equal":
        return tuple(number % classes for number in range(count // classes * classes))
    return tuple(real.train.labels[draw_own(real.train.labels, count, seed)].tolist())


def rows_of(samples: Samples, count: int, priors: Priors, real: Real) -> Tensor:
    """Which samples are used, at most `count`, in their order; of equal class counts as many as the rarest has."""
    if priors == "own":
        return draw_own(samples.labels, min(count, len(samples.labels))).sort().values
    classes = len(real.data.classes)
    rarest = int(torch.bincount(samples.labels, minlength=classes).min())
    return draw_equal(samples.labels, min(rarest, count // classes)).sort().values


def draw(
    model: Model,
    labels: tuple[int, ...],
    seed: int,
    sampling: SamplingConfig,
    progress: Callable[[float, int], None] | None = None,
) -> Samples:
    """Images of a model, one a label, image i of the seed for the i-th."""
    images, sampled = draw_pixels(model, labels, seed, range(len(labels)), sampling, progress)
    facts = {
        "name": model.name,
        "kind": "model",
        "model_digest": file_digest(model.name),
        "seed": seed,
        "sampling": finite(sampling),
        "evaluations": sampled.evaluations,
        "seconds": round(sampled.seconds, 2),
        "dtype": model.precision,
    }
    return _as_samples(images, np.array(labels, np.int64), facts)

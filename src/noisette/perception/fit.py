"""How a classifier is trained: augmented images, one cycle of the learning rate. A generator of events."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from noisette.base.config import require, require_storable
from noisette.base.errors import NoisetteError
from noisette.base.seeds import generator
from noisette.base.shapes import Images, Labels
from noisette.perception.classifier import Classifier


@dataclass(frozen=True)
class FitConfig:
    """How long and how a classifier is trained."""

    seed: int = 0
    """Decides the first weights, the order of the images and their augmentation."""
    images: int = 720_000
    """How many to see in all, in whole epochs: a small set is seen more often."""
    batch_size: int = 200
    """Images a step."""
    learning_rate: float = 3e-3
    """The highest, reached after a fifth of the steps; it rises from 0 and falls to 0."""
    weight_decay: float = 0.02
    """Of AdamW."""
    smoothing: float = 0.05
    """Share of each label that is spread over all classes."""
    rotation: float = 12.0
    """Each image is turned by at most so many degrees, either way."""
    zoom: float = 0.12
    """And enlarged or shrunk by at most this share."""
    shift: float = 0.07
    """And moved by at most this share of its sides."""

    def __post_init__(self) -> None:
        require_storable(self)
        require(self.images >= 1, f"images {self.images}", "at least 1")
        require(self.batch_size >= 2, f"batch_size {self.batch_size}", "at least 2, for batch normalisation")
        rate = self.learning_rate
        require(math.isfinite(rate) and rate > 0, f"learning_rate {rate}", "a positive number")
        for name in ("weight_decay", "smoothing", "zoom", "shift"):
            require(0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)}", "a number from 0 up to 1")
        require(0 <= self.rotation <= 180, f"rotation {self.rotation}", "degrees from 0 to 180")


@dataclass(frozen=True)
class Fitted:
    """After an epoch: how many are done, of how many, the mean loss of this one, and seconds since the first began."""

    epoch: int
    epochs: int
    loss: float
    seconds: float


@runtime_checkable
class ImagesByRow(Protocol):
    """Images [N, C, H, W] in [-1, 1]: a tensor, or what makes one of the rows asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Tensor) -> Images: ...


def fit(
    classifier: Classifier,
    images: ImagesByRow,
    labels: Labels,
    config: FitConfig,
    precision: torch.dtype = torch.float32,
) -> Iterator[Fitted]:
    """Bear the classifier's weights and train them on images [N, C, H, W] in [-1, 1]; yield after each epoch.

    precision: of the products within; with bfloat16 the weights, the norms and the loss stay in float32. The same seed
    gives the same weights on the same machine with as many threads. Ends in evaluation mode. Raises Refusal for fewer
    than 2 images, NoisetteError when the loss is no longer finite.
    """
    require(len(images) >= 2, f"{len(images)} images to train on", "at least 2")
    classifier.initialise(generator(config.seed, "weights"))
    augmentation = generator(config.seed, "augmentation")
    device = next(classifier.parameters()).device
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=config.weight_decay)

    def learn(rows: Tensor, rate: float) -> float:
        optimizer.param_groups[0]["lr"] = rate
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits, _ = classifier(augment(images[rows], config, augmentation).to(device))
        loss = F.cross_entropy(logits.float(), labels[rows].to(device), label_smoothing=config.smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    classifier.train()
    for fitted in in_epochs(len(images), config, learn):
        classifier.eval()
        yield fitted
        classifier.train()
    classifier.eval()


@runtime_checkable
class Course(Protocol):
    """How long and how fast something is trained."""

    @property
    def seed(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


def in_epochs(count: int, config: Course, learn: Callable[[Tensor, float], float]) -> Iterator[Fitted]:
    """Whole epochs over `count` images, each in an order of its own; yields after each.

    learn is handed the rows of a batch and the learning rate, which rises from 0 for a fifth of the steps and then
    falls to 0, and returns the loss. Raises NoisetteError when an epoch's loss is no longer finite.
    """
    batch = min(config.batch_size, count)
    steps = count // batch  # an epoch's; what remains is left out, each time other images
    epochs = max(1, round(config.images / (steps * batch)))
    begun = time.perf_counter()
    for epoch in range(epochs):
        order, total = torch.randperm(count, generator=generator(config.seed, "order", epoch)), 0.0
        for step, rows in enumerate(torch.split(order[: steps * batch], batch)):
            done = (epoch * steps + step + 0.5) / (epochs * steps)
            total += learn(rows, config.learning_rate * min(done / 0.2, (1 - done) / 0.8))
        if not math.isfinite(total):
            raise NoisetteError(f"the loss of epoch {epoch + 1} is {total}: expected a lower learning rate")
        yield Fitted(epoch + 1, epochs, total / steps, time.perf_counter() - begun)


@runtime_checkable
class Movement(Protocol):
    """How far images are moved about: at most so many degrees, and shares of their sides."""

    @property
    def rotation(self) -> float: ...
    @property
    def zoom(self) -> float: ...
    @property
    def shift(self) -> float: ...


def augment(images: Images, config: Movement, random: torch.Generator) -> Tensor:
    """Each image [B, C, H, W] turned, zoomed and moved at random; what comes in from outside repeats the border."""
    turn, zoom, right, down = torch.rand(4, len(images), generator=random) * 2 - 1
    angle, scale = turn * math.radians(config.rotation), 1 + zoom * config.zoom
    cos, sin = angle.cos() / scale, angle.sin() / scale
    height, width = images.shape[2:]
    # Coordinates run from -1 to 1 along both sides: turning an oblong needs their ratio, and a side is 2 long.
    across = [cos, -sin * height / width, 2 * config.shift * right]
    along = [sin * width / height, cos, 2 * config.shift * down]
    grid = F.affine_grid(torch.stack(across + along, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

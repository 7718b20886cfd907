"""An independent judge of generated MNIST digits: a classifier of its own, and distances in its features.

    python benchmarks/judge.py SAMPLES.npz [MORE.npz ...] [--make a|b] [--data-dir DIR] [--json OUT]

A file holds `images` uint8 [N, 28, 28, 1] and `labels` int64 [N], the digit asked for, -1 for none. Beside
every number stands the same number for real digits. The judge is trained once, in minutes, and kept in the
cache folder with its features of the real digits. It shares no code with what it judges but the reading of
data. `--make b` is a network of another design and seed: believe what both say.
"""

import argparse
import hashlib
import inspect
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from noisette.base.errors import NoisetteError, Refusal, unknown
from noisette.data.datasets import load_data
from noisette.data.images import ImageData, to_model

CACHE = Path.home() / ".cache" / "noisette"
CLASSES = 10
PER_CLASS = 892  # the rarest digit's count in the test part: the most that equal counts allow
DRAWS = 8
NEIGHBOURS = 5

# Networks -----------------------------------------------------------------------------------------


class Plain(nn.Module):
    """Make a: three 3 x 3 convolutions with batch norm and max pooling, a dense layer of 128 features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in ((1, 32), (32, 64), (64, 128)):  # 28 -> 14 -> 7 -> 3
            layers += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(wide), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(128 * 9, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 1, 28, 28] in [-1, 1] to logits [B, 10] and features [B, 128]."""
        features = self.body(images)
        return self.head(features), features


def unit(narrow: int, wide: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution, a group norm and a SiLU."""
    convolution = nn.Conv2d(narrow, wide, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, wide), nn.SiLU())


class Residue(nn.Module):
    """`x + f(x)`, f two units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(unit(width, width, 3), unit(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Residual(nn.Module):
    """Make b: strided convolutions and residual blocks with group norm, 96 features by average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(1, 32, 5, stride=2),  # 28 -> 14
            Residue(32),
            unit(32, 64, 3, stride=2),  # 14 -> 7
            Residue(64),
            unit(64, 96, 3, stride=2),  # 7 -> 4
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(96, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 1, 28, 28] in [-1, 1] to logits [B, 10] and features [B, 96]."""
        features = self.body(images)
        return self.head(features), features


@dataclass(frozen=True)
class Make:
    """A network and how it is trained. The cache is keyed by all of it."""

    network: Callable[[], nn.Module]
    seed: int
    epochs: int = 9
    batch: int = 200
    rate: float = 4e-3  # AdamW's highest, in one cycle
    decay: float = 0.02
    smoothing: float = 0.05
    degrees: float = 12.0  # augmentation: rotation, zoom and shift up to these, either way
    zoom: float = 0.12
    shift: float = 2.0  # pixels


MAKES = {"a": Make(Plain, seed=101), "b": Make(Residual, seed=202, rate=2e-3)}

# Training -----------------------------------------------------------------------------------------


def augment(images: Tensor, make: Make) -> Tensor:
    """Each image [B, 1, H, W] rotated, zoomed and shifted at random; what comes in from outside is black."""
    turn, zoom, right, down = torch.rand(4, len(images)) * 2 - 1
    angle, scale = turn * np.deg2rad(make.degrees), 1 + zoom * make.zoom
    step = 2 * make.shift / images.shape[-1]
    cos, sin = angle.cos() / scale, angle.sin() / scale
    maps = torch.stack([cos, -sin, right * step, sin, cos, down * step], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # black is 0 while sampling


def train(make: Make, real: ImageData, say: Callable[[str], None]) -> nn.Module:
    """The make's network trained on the real digits. Seeded; leaves the global generator as it was."""
    images, labels = to_model(real.images), torch.from_numpy(real.labels)
    steps = len(labels) // make.batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make.seed)
        network = make.network().to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=make.rate, weight_decay=make.decay)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, make.rate, make.epochs * steps, pct_start=0.2)
        for epoch in range(make.epochs):
            begun, total = time.perf_counter(), 0.0
            for rows in torch.randperm(len(labels))[: steps * make.batch].split(make.batch):
                logits, _ = network(augment(images[rows], make))
                loss = F.cross_entropy(logits, labels[rows], label_smoothing=make.smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                cycle.step()
                total += loss.item()
            spent = time.perf_counter() - begun
            say(f"epoch {epoch + 1} of {make.epochs} of the judge, loss {total / steps:.4f}, {spent:.0f} s")
    return network.eval()


@torch.inference_mode()
def read(network: nn.Module, images: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Guessed digits int64 [N] and features float32 [N, D] of pixels uint8 [N, 28, 28, 1]."""
    parts = [network(to_model(images[start : start + 1000])) for start in range(0, len(images), 1000)]
    logits, features = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits.argmax(1), features


# The judge and the real digits --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Real:
    """What the judge made of one part of the real data."""

    labels: Tensor  # int64 [N]
    guesses: Tensor  # int64 [N]
    features: Tensor  # float32 [N, D]

    def draw(self, count: int, seed: int) -> Tensor:
        """Rows [count] drawn without repeats, as many of each class; a remainder to the first classes."""
        random = torch.Generator().manual_seed(seed)
        rows = []
        for digit in range(CLASSES):
            own = (self.labels == digit).nonzero().flatten()
            share = count // CLASSES + (digit < count % CLASSES)
            rows.append(own[torch.randperm(len(own), generator=random)[:share]])
        return torch.cat(rows)


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained network with what it made of the real digits."""

    make: str
    network: nn.Module  # images [B, 1, 28, 28] in [-1, 1] -> logits [B, 10], features [B, D]
    train: Real
    test: Real

    @property
    def accuracy(self) -> float:
        """On the real test digits."""
        return (self.test.guesses == self.test.labels).double().mean().item()


def load_judge(
    make: str = "a",
    data_dir: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Judge:
    """The judge of this make for MNIST in `data_dir`: from the cache folder, else trained first (minutes)."""
    if make not in MAKES:
        raise unknown("make", make, MAKES)
    return _load(make, data_dir, cache or CACHE, say)


@lru_cache(maxsize=4)
def _load(name: str, data_dir: Path | None, cache: Path, say: Callable[[str], None]) -> Judge:
    make = MAKES[name]
    parts = {"train": load_data("mnist", data_dir, "train"), "test": load_data("mnist", data_dir, "test")}
    network = make.network()
    settings = {key: value for key, value in asdict(make).items() if key != "network"}
    recipe = [str(network), inspect.getsource(augment), settings, [part.digest for part in parts.values()]]
    path = cache / f"judge-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        network = train(make, parts["train"], say)
        tensors = {f"network.{key}": value.contiguous() for key, value in network.state_dict().items()}
        for part, data in parts.items():
            tensors[f"{part}.guesses"], tensors[f"{part}.features"] = read(network, data.images)
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        save_file(tensors, partial)
        partial.replace(path)
    tensors = load_file(path)
    network.load_state_dict({key[8:]: value for key, value in tensors.items() if key.startswith("network.")})
    real = {
        part: Real(torch.from_numpy(data.labels), tensors[f"{part}.guesses"], tensors[f"{part}.features"])
        for part, data in parts.items()
    }
    return Judge(name, network.eval().to(memory_format=torch.channels_last), **real)


# Distances ----------------------------------------------------------------------------------------


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared Frechet distance of Gaussians of features [N, D], [M, D] (Heusel et al. 2017), in float64.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (R C2 R)^1/2)`, R the symmetric root of C1: every eigenvalue is real.
    """
    one, other = one.double(), other.double()
    C1, C2 = one.T.cov(), other.T.cov()
    values, vectors = torch.linalg.eigh(C1)
    R = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(R @ C2 @ R).clamp_min(0).sqrt().sum()
    shift = (one.mean(0) - other.mean(0)).square().sum()
    return (shift + C1.trace() + C2.trace() - 2 * cross).item()


def radii(points: Tensor) -> Tensor:
    """Distance [N] of each point [N, D] to its fifth neighbour, itself not counted."""
    parts = [torch.cdist(rows, points) for rows in points.split(1000)]
    return torch.cat([part.topk(NEIGHBOURS + 1, dim=1, largest=False).values[:, -1] for part in parts])


def manifolds(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""
    real, fake = real.double(), fake.double()
    around_real, around_fake = radii(real), radii(fake)
    inside = torch.zeros(len(fake))  # how many real balls hold each fake
    recalled, covered = [], []
    for rows, reach in zip(real.split(1000), around_real.split(1000), strict=True):
        apart = torch.cdist(rows, fake)  # [1000, N]
        holds = apart < reach[:, None]
        inside += holds.sum(0)
        covered.append(holds.any(1))
        recalled.append((apart < around_fake).any(1))
    return {
        "precision": (inside > 0).double().mean().item(),
        "recall": torch.cat(recalled).double().mean().item(),
        "density": inside.double().mean().item() / NEIGHBOURS,
        "coverage": torch.cat(covered).double().mean().item(),
    }


def against_reference(judge: Judge, features: Tensor) -> dict[str, float]:
    """Frechet distance of features [N, D] to the 8,920 reference digits; manifolds at equal counts."""
    reference = judge.test.draw(CLASSES * PER_CLASS, seed=0)
    count = min(len(features), len(reference))
    some = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))[:count]
    real = judge.test.draw(count, seed=1)
    return {
        "frechet": frechet(features, judge.test.features[reference]),
        **manifolds(judge.test.features[real], features[some]),
    }


def accuracies(guesses: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Accuracy on the labelled, and the worst class's; None when nothing is labelled."""
    right = (guesses == labels).double()
    if not (labels >= 0).any():
        return {"accuracy": None, "worst": None}
    worst = min(right[labels == digit].mean().item() for digit in labels[labels >= 0].unique())
    return {"accuracy": right[labels >= 0].mean().item(), "worst": worst}


@lru_cache(maxsize=16)
def yardstick(judge: Judge, count: int) -> dict[str, Any]:
    """The same numbers for real digits: accuracies of the test part, the rest of `count` training digits.

    The distance is the mean over eight draws, `spread` their standard deviation; the manifolds are the
    first draw's.
    """
    draws = [judge.train.features[judge.train.draw(count, seed)] for seed in range(DRAWS)]
    first = against_reference(judge, draws[0])
    reference = judge.test.features[judge.test.draw(CLASSES * PER_CLASS, seed=0)]
    floors = [first["frechet"], *(frechet(draw, reference) for draw in draws[1:])]
    row = {**accuracies(judge.test.guesses, judge.test.labels), **first}
    return {**row, "frechet": statistics.mean(floors), "spread": statistics.stdev(floors)}


def judge(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], by: Judge) -> dict[str, Any]:
    """What the judge finds of pixels uint8 [N, 28, 28, 1] asked for as labels int64 [N] (-1: nothing asked).

    `floors` is the Frechet distance in units of that of as many real training digits, equal in class counts;
    under `real` stands the yardstick of every number.
    """
    refuse(images, labels)
    guesses, features = read(by.network, images)
    real = yardstick(by, len(images))
    found = {**accuracies(guesses, torch.from_numpy(labels)), **against_reference(by, features)}
    return {"count": len(images), **found, "floors": found["frechet"] / real["frechet"], "real": real}


def refuse(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Raises Refusal for what cannot be judged."""
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28, 1):
        raise Refusal(f"expected images uint8 [N, 28, 28, 1], found {images.dtype} {list(images.shape)}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise Refusal(f"expected labels int64 [{len(images)}], found {labels.dtype} {list(labels.shape)}")
    if not 100 <= len(images) <= 50_000:
        raise Refusal(f"expected 100 to 50,000 samples, found {len(images):,}")
    if labels.min() < -1 or labels.max() >= CLASSES:
        raise Refusal(f"expected labels 0 to 9 or -1, found {labels.min()} to {labels.max()}")


# Command line -------------------------------------------------------------------------------------


def open_samples(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Images and labels of a sample file, checked."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        refuse(images, labels)
    except (OSError, ValueError, KeyError, Refusal) as error:
        raise Refusal(f"{path}: {error}") from None
    return images, labels


def table(rows: list[tuple[str, dict[str, Any]]], by: Judge) -> Table:
    """One line a file, and under each group of one count the real digits' line."""
    accuracy = f"{by.accuracy:.2%} right on real test digits"
    shown = Table(title=f"judge {by.make}, {accuracy}", box=None, header_style="bold")
    shown.add_column("samples", overflow="fold")
    for title in (
        "count",
        "accuracy",
        "worst",
        "Frechet",
        "floors",
        "coverage",
        "density",
        "precision",
        "recall",
    ):
        shown.add_column(title, justify="right", no_wrap=True)

    def add(name: str, count: int, found: dict[str, Any], frechet: str, floors: str) -> None:
        shares = (f"{found[key]:.3f}" for key in ("coverage", "density", "precision", "recall"))
        ends = ("-" if found[key] is None else f"{found[key]:.2%}" for key in ("accuracy", "worst"))
        shown.add_row(name, f"{count:,}", *ends, frechet, floors, *shares)

    for name, found in rows:
        add(name, found["count"], found, f"{found['frechet']:.4f}", f"{found['floors']:.2f}")
    for count in sorted({found["count"] for _, found in rows}):
        real = next(found["real"] for _, found in rows if found["count"] == count)
        spread = real["spread"] / real["frechet"]
        add("real digits", count, real, f"{real['frechet']:.4f}±{real['spread']:.4f}", f"1±{spread:.2f}")
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Judges the files named on the command line; 0, or an error's exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("samples", nargs="*", type=Path, help="npz files (none: train only)")
    parser.add_argument("--make", choices=MAKES, default="a", help="which of the two judges (default: a)")
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST (default: as NOISETTE_DATA says)")
    parser.add_argument("--cache", type=Path, help=f"where trained judges are kept (default: {CACHE})")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    chosen = parser.parse_args(arguments)
    notes = Console(stderr=True)
    console = Console(width=max(notes.width, 140))
    try:
        files = [(path, *open_samples(path)) for path in chosen.samples]
        by = load_judge(chosen.make, chosen.data_dir, chosen.cache, notes.print)
        rows = [(str(path), judge(images, labels, by)) for path, images, labels in files]
    except NoisetteError as error:
        notes.print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    console.print(table(rows, by))
    if chosen.json:
        found = {"make": by.make, "accuracy": by.accuracy, "samples": dict(rows)}
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

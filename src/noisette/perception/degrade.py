"""Ways in which an image is spoilt: real damage to real images, each with the words that are then true of it.

Lengths are in units of a 28th of the image's shorter side: of pixels, for digits. What is put in where something is
taken away is the image's background: the median of its border.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from noisette.base.registry import Registry
from noisette.base.shapes import Images


@dataclass(frozen=True)
class Degradation:
    """spoil: images [B, C, H, W] in [-1, 1] and what to draw from -> the same images, spoilt. words: true of these."""

    spoil: Callable[[Images, torch.Generator], Tensor]
    words: tuple[str, ...]


DEGRADATIONS: Registry[Degradation] = Registry("degradation")
Spoil = Callable[[Images, torch.Generator], Tensor]


def _kind(name: str, *words: str) -> Callable[[Spoil], Spoil]:
    def registered(spoil: Spoil) -> Spoil:
        DEGRADATIONS.add(name, Degradation(spoil, (*words, "unclear")))
        return spoil

    return registered


def degrade(images: Images, kinds: Tensor, names: tuple[str, ...], draw: torch.Generator) -> Tensor:
    """Images [B, C, H, W] in [-1, 1], each spoilt as the kind [B] says: a place in `names`, or -1: as it is."""
    spoilt = images.clone()
    for number, name in enumerate(names):
        rows = (kinds == number).nonzero()[:, 0]
        if len(rows) > 0:
            spoilt[rows] = DEGRADATIONS[name].spoil(images[rows], draw).clamp(-1, 1)
    return spoilt


def background(images: Images) -> Tensor:
    """The median of each image's border, [B, C, 1, 1]."""
    borders = (images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1])
    return torch.cat(borders, dim=2).median(2).values[:, :, None, None]


def _between(low: float, high: float, images: Images, draw: torch.Generator) -> Tensor:
    """A number for each image, [B, 1, 1, 1]."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=draw)


def _unit(images: Images) -> float:
    return min(images.shape[2:]) / 28


def _places(images: Images) -> tuple[Tensor, Tensor]:
    """Rows [H, 1] and columns [1, W], counted from the middle, in units."""
    height, width = images.shape[2:]
    rows = (torch.arange(height) - (height - 1) / 2)[:, None] / _unit(images)
    return rows, (torch.arange(width) - (width - 1) / 2)[None] / _unit(images)


def _target(images: Images, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A place in each image, the likelier the less it looks like background: its row and column, in units from the
    middle, [B, 1, 1, 1] each."""
    far = (images - background(images)).abs().mean(1)  # [B, H, W]
    place = torch.multinomial(far.flatten(1) + 1e-6, 1, generator=draw)
    rows, columns = _places(images)
    width = images.shape[3]
    return rows[:, 0][place // width][..., None, None], columns[0][place % width][..., None, None]


@_kind("blurred", "blurry")
def blurred(images: Images, draw: torch.Generator) -> Tensor:
    """A Gaussian filter of standard deviation 1.2 to 2.5 units."""
    std = _between(1.2, 2.5, images, draw).flatten() * _unit(images)
    reach = math.ceil(6 * _unit(images))
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets / std[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # [B, 2 reach + 1]
    count, channels = images.shape[:2]
    padded = F.pad(images, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    kernels = weights.repeat_interleave(channels, 0)[:, None]  # [B C, 1, 2 reach + 1]
    along = F.conv2d(padded, kernels[..., None], groups=count * channels)
    return F.conv2d(along, kernels[:, :, None], groups=count * channels).reshape(images.shape)


@_kind("noisy", "noisy")
def noisy(images: Images, draw: torch.Generator) -> Tensor:
    """Normal noise of standard deviation 0.3 to 0.9 on every value."""
    return images + _between(0.3, 0.9, images, draw) * torch.randn(images.shape, generator=draw)


@_kind("speckled", "noisy")
def speckled(images: Images, draw: torch.Generator) -> Tensor:
    """5 to 20 % of the pixels are black or white."""
    chance = torch.rand(len(images), 1, *images.shape[2:], generator=draw)
    share = _between(0.05, 0.2, images, draw)
    return torch.where(chance < share, torch.where(chance < share / 2, -1.0, 1.0), images)


@_kind("cut", "broken")
def cut(images: Images, draw: torch.Generator) -> Tensor:
    """Three gaps 1.5 to 3 units wide and 8 long, in any direction, over what is not background."""
    rows, columns = _places(images)
    spoilt = images
    for _ in range(3):
        down, right = _target(images, draw)
        angle, half = _between(0, math.pi, images, draw), _between(0.75, 1.5, images, draw)
        across = (rows - down) * angle.cos() + (columns - right) * angle.sin()
        along = (columns - right) * angle.cos() - (rows - down) * angle.sin()
        spoilt = torch.where((across.abs() < half) & (along.abs() < 4), background(images), spoilt)
    return spoilt


@_kind("holed", "broken")
def holed(images: Images, draw: torch.Generator) -> Tensor:
    """Three round holes of radius 1.5 to 2.5 units, over what is not background."""
    rows, columns = _places(images)
    spoilt = images
    for _ in range(3):
        down, right = _target(images, draw)
        here = (rows - down) ** 2 + (columns - right) ** 2 < _between(1.5, 2.5, images, draw) ** 2
        spoilt = torch.where(here, background(images), spoilt)
    return spoilt


@_kind("faded")
def faded(images: Images, draw: torch.Generator) -> Tensor:
    """Everything is 15 to 40 % as far from the background as it was."""
    ground = background(images)
    return ground + _between(0.15, 0.4, images, draw) * (images - ground)


@_kind("doubled")
def doubled(images: Images, draw: torch.Generator) -> Tensor:
    """Mixed with another image: 30 to 50 % of that one, upside down."""
    share = _between(0.3, 0.5, images, draw)
    return (1 - share) * images + share * images.roll(1, 0).flip(2, 3)


@_kind("warped")
def warped(images: Images, draw: torch.Generator) -> Tensor:
    """Every place is moved by up to about 5 units, along a field that changes within about 5."""
    height, width = images.shape[2:]
    coarse = torch.randn(len(images), 2, 6, 6, generator=draw)
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)  # [B, 2, H, W]
    field = field * _between(1.5, 2.5, images, draw) * _unit(images)
    still = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    moved = still + 2 * field.permute(0, 2, 3, 1) / torch.tensor([width, height])
    return F.grid_sample(images, moved, padding_mode="border", align_corners=False)


@_kind("pixelated")
def pixelated(images: Images, draw: torch.Generator) -> Tensor:
    """Squares of one value each, 3 or 4 units wide: the mean of what was there."""
    height, width = images.shape[2:]
    spoilt = []
    for side in (3, 4):
        size = (max(1, round(height / side / _unit(images))), max(1, round(width / side / _unit(images))))
        spoilt.append(F.interpolate(F.adaptive_avg_pool2d(images, size), (height, width), mode="nearest"))
    return torch.where(torch.rand(len(images), 1, 1, 1, generator=draw) < 0.5, spoilt[0], spoilt[1])

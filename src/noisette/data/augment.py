"""Training images altered a little each time they are seen: mirrored, moved, turned. Nothing is, unless asked for.

What happens to an image is drawn from (seed, position) alone, like everything random in training. What comes in from
outside repeats the edge, so that a background goes on, whatever its colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from noisette.base.config import require
from noisette.base.seeds import generator
from noisette.base.shapes import Images
from noisette.data.images import to_model


@dataclass(frozen=True)
class Augmentation:
    """How training images are altered; those of validation never are."""

    flip: bool = False
    """Mirror half of the training images, left to right: not for digits or letters."""
    shift: int = 0
    """Move each training image by at most so many pixels, up or down and left or right."""
    rotate: float = 0.0
    """Turn each training image by at most so many degrees, either way."""

    def __post_init__(self) -> None:
        require(self.shift >= 0, f"shift {self.shift}", "0 or more pixels")
        require(0 <= self.rotate <= 180, f"rotate {self.rotate}", "degrees from 0 to 180")

    def told(self) -> str:
        """In words; "none" where nothing is altered."""
        ways = ["half of them mirrored"] if self.flip else []
        ways += [f"moved by at most {self.shift} pixels"] if self.shift else []
        ways += [f"turned by at most {self.rotate:g} degrees"] if self.rotate else []
        return ", ".join(ways) or "none"


NONE = Augmentation()


def augmented(pixels: npt.NDArray[np.uint8], positions: Sequence[int], seed: int, augmentation: Augmentation) -> Images:
    """Pixels uint8 [B, H, W, C] as `to_model` gives them, each image altered as (seed, its position) decides."""
    if augmentation == NONE:
        return to_model(pixels)
    streams = (generator(seed, "augmentation", position) for position in positions)
    draws = torch.stack([torch.rand(4, dtype=torch.float64, generator=stream) for stream in streams]).numpy()  # [B, 4]
    mirror, down, right, turn = draws.T
    if augmentation.flip or augmentation.shift:
        ways, most = 2 * augmentation.shift + 1, augmentation.shift
        down, right = ((ways * draw).astype(np.int64) - most for draw in (down, right))  # each way equally often
        pixels = _moved(pixels, (mirror < 0.5) & augmentation.flip, down, right)
    images = to_model(pixels)
    return _turned(images, (2 * turn - 1) * math.radians(augmentation.rotate)) if augmentation.rotate else images


def _moved(
    pixels: npt.NDArray[np.uint8],
    mirrored: npt.NDArray[np.bool_],
    down: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """Images [B, H, W, C] mirrored where `mirrored` [B] says so, then moved by whole pixels [B]: no value is new."""
    count, height, width, _ = pixels.shape
    rows = np.clip(np.arange(height) - down[:, None], 0, height - 1)  # [B, H], where each row comes from
    columns = np.clip(np.arange(width) - right[:, None], 0, width - 1)  # [B, W]
    columns = np.where(mirrored[:, None], width - 1 - columns, columns)
    moved: npt.NDArray[np.uint8] = pixels[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved  # [B, H, W, C]


def _turned(images: Images, angles: npt.NDArray[np.float64]) -> Images:
    """Images [B, C, H, W] turned about their centre by `angles` [B] in radians, bilinearly."""
    height, width = images.shape[2:]
    y, x = (
        np.arange(height)[:, None] - (height - 1) / 2,
        np.arange(width) - (width - 1) / 2,
    )  # of pixels, from the centre
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    # Where each pixel comes from, in grid_sample's coordinates, in which either side is 2 long. Not by affine_grid,
    # whose matrix product may round in another way for another batch size.
    grid = np.stack([(cos * x - sin * y) * 2 / width, (sin * x + cos * y) * 2 / height], axis=-1)  # [B, H, W, 2]
    places = torch.from_numpy(grid.astype(np.float32))
    turned = F.grid_sample(images, places, padding_mode="border", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)  # [B, C, H, W]

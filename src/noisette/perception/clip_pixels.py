"""Images as a CLIP model sees them: resized, cut and normalised as the file beside its weights says, differentiably."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import Refusal, shown
from noisette.base.shapes import Images
from noisette.base.text_file import read_json

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
WAYS = {2: "bilinear", 3: "bicubic"}
"""Of resizing, by the number that Pillow gives them."""
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class PixelForm:
    """channels, side: of the square images that the network sees. size: (height, width), or the shorter side, which
    keeps the sides' proportion; None leaves images as they are. crop: (height, width) that is cut from the middle.
    mean, std: of each channel, for pixels in [0, 1]."""

    channels: int
    side: int
    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    way: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Images, /) -> Tensor:
        """images [B, C, H, W] in [-1, 1], C 1 or as many as the model sees -> [B, channels, side, side].

        Where Pillow would cut off what bicubic edges swing beyond black and white nothing is cut off here, so that
        there is a gradient everywhere. Raises Refusal for another number of channels, and for another size where the
        checkpoint says that images are not resized.
        """
        found = images.shape[1]
        require(found in (1, self.channels), f"images of {found} channels", f"1 or the {self.channels} that it sees")
        x = (images + 1) / 2
        target = self._target(*images.shape[2:])
        if target != tuple(images.shape[2:]):
            x = F.interpolate(x, target, mode=self.way, antialias=True, align_corners=False)
        if self.crop is not None:
            x = _cut(x, *self.crop)
        seen = tuple(x.shape[2:])
        require(seen == (self.side, self.side), f"images of {seen[0]} x {seen[1]}", f"{self.side} x {self.side}")
        mean, std = (x.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        normalised: Tensor = (x.expand(-1, self.channels, -1, -1) - mean) / std
        return normalised

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None or isinstance(self.size, tuple):
            return self.size or (height, width)
        short, long = min(height, width), max(height, width)
        longer = int(self.size * long / short)
        return (self.size, longer) if height <= width else (longer, self.size)


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of images; what they are too small for is black."""
    down, right = height - x.shape[2], width - x.shape[3]
    if max(down, right) > 0:
        top, left = math.ceil(max(0, down) / 2), math.ceil(max(0, right) / 2)
        x = F.pad(x, (left, max(0, right) - left, top, max(0, down) - top))
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def read_pixel_form(folder: Path, channels: int, side: int) -> PixelForm:
    """The form that the configuration of a checkpoint's images asks for, whose network sees `side` x `side` pixels.
    Raises Refusal when it is missing, asks for what is not understood or for another size."""
    path = folder / PREPROCESSOR
    if not path.is_file() and (folder / PROCESSOR).is_file():
        path = folder / PROCESSOR
    config = read_json(path, "configuration of a CLIP model's images")
    if path.name == PROCESSOR and isinstance(config, dict):
        config = config.get("image_processor")
    require(isinstance(config, dict), f"{path}: {shown(config)}", "a table of settings")
    way = config.get("resample", 3)
    require(
        isinstance(way, int) and way in WAYS,
        f"{path}: resample {shown(way)}",
        " or ".join(f"{key} ({WAYS[key]})" for key in WAYS),
    )
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    require(
        isinstance(scale, float) and math.isclose(scale, 1 / 255, rel_tol=1e-3),
        f"{path}: rescale_factor {shown(scale)}",
        "1/255, which brings pixels into [0, 1]",
    )
    size = _size(config.get("size"), path, "size") if config.get("do_resize", True) else None
    crop = _size(config.get("crop_size"), path, "crop_size") if config.get("do_center_crop", False) else None
    if isinstance(size, int):
        crop = crop or size  # else what is not square would stay so
    crop = (crop, crop) if isinstance(crop, int) else crop
    require(
        (crop or size) in (None, (side, side)), f"{path}: images brought into {crop or size}", f"{side} x {side} pixels"
    )
    normal = config.get("do_normalize", True)
    return PixelForm(
        channels,
        side,
        size,
        crop,
        WAYS[way],
        _numbers(config.get("image_mean"), channels, path, "image_mean") if normal else (0.0,) * channels,
        _numbers(config.get("image_std"), channels, path, "image_std") if normal else (1.0,) * channels,
    )


def _size(value: Any, path: Path, name: str) -> tuple[int, int] | int:
    """A size, in any of the ways that the library writes it."""
    table = value if isinstance(value, dict) else {"shortest_edge": value}
    sides = [table[key] for key in ("shortest_edge", "height", "width") if key in table]
    if not 1 <= len(sides) <= 2 or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        raise Refusal(f"{path}: {name} {shown(value)}: expected height and width or shortest_edge, in pixels")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _numbers(value: Any, count: int, path: Path, name: str) -> tuple[float, ...]:
    good = isinstance(value, list) and len(value) == count and all(isinstance(each, int | float) for each in value)
    require(
        good and all(math.isfinite(each) for each in value) and (name == "image_mean" or min(value) > 0),
        f"{path}: {name} {shown(value)}",
        f"{count} numbers, one a channel",
    )
    return tuple(map(float, value))

"""How something is written: the thickness and the slant of its strokes, measured, and the words that follow."""

from dataclasses import dataclass

import torch
from torch import Tensor

from noisette.base.shapes import Images
from noisette.perception.degrade import background

SHARE = 0.2
"""Of the training images the thickest fifth is called thick, the thinnest thin, the most slanted slanted."""


@dataclass(frozen=True)
class StrokeBounds:
    """thin, thick: thicknesses in pixels, at most and at least; slanted: the least slant, either way."""

    thin: float
    thick: float
    slanted: float

    def words(self, images: Images) -> Tensor:
        """Whether each image is thick, thin and slanted, in this order: bool [B, 3]."""
        thickness, slant = measure_strokes(images)
        return torch.stack([thickness >= self.thick, thickness <= self.thin, slant.abs() >= self.slanted], dim=1)


def measure_strokes(images: Images) -> tuple[Tensor, Tensor]:
    """Thickness in pixels and slant, [B] each, of images [B, C, H, W]; the ink is what differs from the background.

    The thickness is twice the ink's area over its outline's length, which is a long bar's width. The slant is the
    shear that would set the writing upright: pixels to the right for every pixel further up, mu11 / mu02 of the ink.
    An empty image has neither: 0.
    """
    far = (images - background(images)).abs().mean(1)  # [B, H, W]
    ink = far / far.amax((1, 2), keepdim=True).clamp(min=1e-6)
    padded = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    down, right = padded[:, 1:, :-1] - padded[:, :-1, :-1], padded[:, :-1, 1:] - padded[:, :-1, :-1]
    area, outline = ink.sum((1, 2)), (down**2 + right**2).sqrt().sum((1, 2))
    rows, columns = torch.arange(ink.shape[1])[:, None].float(), torch.arange(ink.shape[2]).float()
    mass = area.clamp(min=1e-6)
    middle_row, middle_column = (ink * rows).sum((1, 2)) / mass, (ink * columns).sum((1, 2)) / mass
    up, across = middle_row[:, None, None] - rows, columns - middle_column[:, None, None]
    slant = (ink * up * across).sum((1, 2)) / (ink * up**2).sum((1, 2)).clamp(min=1e-6)
    return 2 * area / outline.clamp(min=1e-6), slant


def stroke_bounds(images: Images) -> StrokeBounds:
    """The bounds that set apart a fifth of these images each."""
    thickness, slant = measure_strokes(images)
    thin, thick = torch.quantile(thickness, SHARE), torch.quantile(thickness, 1 - SHARE)
    return StrokeBounds(float(thin), float(thick), float(torch.quantile(slant.abs(), 1 - SHARE)))

"""Names for the shapes that cross module borders (checked by beartype in the tests only).

A margin comment such as `# [B, C, H, W]` uses the same letters: batch, channels, height, width.
"""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""A batch of images: clean ones lie in [-1, 1], noisy ones anywhere."""

Levels = Float[Tensor, " batch"]
"""One noise level (sigma, the standard deviation of the noise) for each image of a batch."""

Table = Float[Tensor, " steps"]
"""Strictly falling positive noise levels, float64 on the CPU."""

Labels = Int64[Tensor, " batch"]
"""One class index for each image; -1 means that no class is asked for."""

NO_CLASS = -1

NO_CLASS_NO_ATTENTION = -2
"""The label that asks a network for no class and no attention, each pixel seeing itself alone."""

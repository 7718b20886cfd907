"""Draws of real images, whose scores stand beside every measured one.

Class counts are held equal against equal, or the data's own against the same: unequal priors alone move a distance.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from noisette.base.config import require
from noisette.base.seeds import generator

DRAWS = 8
"""Draws of as many real training images as there are samples, for the mean of what real images score and its spread.
They share images where DRAWS times the count exceeds what there is: the spread is then somewhat too small."""


def draw_equal(labels: Int64[Tensor, " n"], per_class: int, seed: int = 0) -> Int64[Tensor, " rows"]:
    """Rows of `per_class` images of each class in `labels`, class after class, none twice.

    Raises Refusal where a class has fewer.
    """
    rows = []
    for label in torch.unique(labels).tolist():
        own = (labels == label).nonzero().flatten()
        require(per_class <= len(own), f"{len(own)} images of class {label}", f"at least {per_class} to draw")
        rows.append(own[torch.randperm(len(own), generator=generator(seed, "draw", label))[:per_class]])
    return torch.cat(rows)


def draw_own(labels: Int64[Tensor, " n"], count: int, seed: int = 0) -> Int64[Tensor, " rows"]:
    """Rows of `count` images at random, none twice: the classes come as often as they do in the data.

    Raises Refusal when there are fewer.
    """
    require(count <= len(labels), f"{len(labels)} images", f"at least {count} to draw")
    return torch.randperm(len(labels), generator=generator(seed, "draw"))[:count]

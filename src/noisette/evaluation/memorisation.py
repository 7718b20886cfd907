"""Whether samples repeat training images: each one's nearest, held against those of real images never trained on.

In any space where a distance means something: features of a classifier, or pixels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.evaluation.intervals import Interval, wilson

CLOSEST = 0.01
"""The share of held-out real images that lie closest to the training images, and mark what is too close."""

_CANDIDATES = 4
"""Nearest by float32 that are measured in float64."""

_AT_A_TIME = 2**24
"""Distances held at a time: bounds the memory."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training image of each of N others."""

    distances: Float[Tensor, " n"]
    """Euclidean, float64."""
    rows: Int64[Tensor, " n"]
    """Which training image."""


@dataclass(frozen=True, eq=False)
class Memorisation:
    """How much closer to the training images samples lie than held-out real images do."""

    share: Interval
    """Of samples closer than `threshold`; real images score 0.01 by construction."""
    threshold: float
    """The distance below which CLOSEST of the held-out real images lie."""
    samples: Int64[Tensor, " pairs"]
    """The ten samples nearest to a training image, nearest first."""
    training: Int64[Tensor, " pairs"]
    """The training image of each."""
    distances: Float[Tensor, " pairs"]
    """Of each pair."""


def nearest(points: Float[Tensor, "n width"], train: Float[Tensor, "m width"]) -> Nearest:
    """The nearest row of `train` to every row of `points`.

    The search multiplies in float32 (twice as fast: with pixels this is the slowest part of an evaluation) and keeps
    a few candidates; float64 decides between them and measures, so that an image repeated is at distance 0.
    """
    middle = train.mean(0)
    centred = (train - middle).float()  # small numbers, small rounding
    squares = centred.square().sum(1)
    distances, rows = [], []
    for some in torch.split(points, max(1, _AT_A_TIME // len(train))):
        # |t|^2 - 2 p.t, the squared distance but for |p|^2
        scores = torch.addmm(squares, (some - middle).float(), centred.T, alpha=-2)  # [C, M]
        candidates = scores.topk(min(_CANDIDATES, len(train)), dim=1, largest=False).indices  # [C, few]
        apart = (some[:, None].double() - train[candidates].double()).square().sum(2)  # [C, few]
        least, which = apart.min(dim=1)
        distances.append(least.sqrt())
        rows.append(candidates.gather(1, which[:, None])[:, 0])
    return Nearest(torch.cat(distances), torch.cat(rows))


def memorisation(fake: Nearest, held_out: Nearest, pairs: int = 10) -> Memorisation:
    """The samples' nearest training images against those of held-out real images, both in one space."""
    threshold = float(held_out.distances.double().quantile(CLOSEST))
    closer = int((fake.distances < threshold).sum())
    samples = fake.distances.argsort(stable=True)[:pairs]
    return Memorisation(
        wilson(closer, len(fake.distances)), threshold, samples, fake.rows[samples], fake.distances[samples]
    )

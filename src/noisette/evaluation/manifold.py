"""Precision, recall, density and coverage: which samples lie among the real images, and the other way round.

The manifold of a set is the union of balls, one about each point, that reach to its k-th neighbour of the same set.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.base.config import require
from noisette.evaluation.intervals import Interval, deal, jackknife, wilson

_AT_A_TIME = 2**22
"""Distances held at a time: bounds the memory."""

_NOBODY = -1
"""As a group left out: nobody."""


@dataclass(frozen=True)
class Manifold:
    """How two sets of as many points lie in one another."""

    precision: float
    """Share of fakes within the real manifold (Kynkaanniemi et al. 2019)."""
    recall: float
    """Share of reals within the fakes' manifold (Kynkaanniemi et al. 2019)."""
    density: float
    """Mean number of real balls that hold a fake, over k; about 1 for equal distributions (Naeem et al. 2020)."""
    coverage: float
    """Share of real balls that hold a fake (Naeem et al. 2020)."""


def manifold(real: Float[Tensor, "n width"], fake: Float[Tensor, "m width"], k: int = 5) -> Manifold:
    """All four for `real` against `fake`. Raises Refusal unless there are as many of both, and more than k."""
    group = torch.zeros(len(fake), dtype=torch.int64)
    return Manifold(*_measure(real, fake, group, [_NOBODY], k)[0].tolist())


def manifold_intervals(
    real: Float[Tensor, "n width"],
    fake: Float[Tensor, "m width"],
    labels: Int64[Tensor, " m"] | None = None,
    k: int = 5,
    seed: int = 0,
) -> dict[str, Interval]:
    """`manifold` by name, each with the interval of what as many other samples would score against the same reals.

    `labels` are the classes that the samples were asked for, if any.
    """
    group = deal(len(fake), seed, labels)
    groups = int(group.max()) + 1
    found = _measure(real, fake, group, [_NOBODY, *range(groups)], k)
    precision, recall, density, coverage = found.T
    return {
        "precision": _share(precision, len(fake)),
        "recall": _share(recall, len(real)),
        "density": jackknife(density[0].item(), density[1:], lowest=0.0),
        "coverage": _share(coverage, len(real)),
    }


def _share(found: Tensor, count: int) -> Interval:
    """A share of `count` points, `found[0]`, and the same without each group, `found[1:]`. Near 0 or 1 all groups may
    agree, which is not proof that other samples would: never narrower than a share of independent points."""
    grouped = jackknife(found[0].item(), found[1:], 0.0, 1.0)
    alone = wilson(round(grouped.value * count), count)
    return Interval(grouped.value, min(grouped.low, alone.low), max(grouped.high, alone.high))


def _measure(real: Tensor, fake: Tensor, group: Tensor, left_out: list[int], k: int) -> Tensor:
    """The four numbers of a Manifold, [L, 4], without the fakes of each group of `left_out`, in one pass over pairs.

    `group` [N] holds the group of each fake.
    """
    require(len(real) == len(fake), f"{len(real)} real and {len(fake)} fake points", "as many of both")
    require(len(real) > k, f"{len(real)} points", f"more than k = {k}")
    middle = real.double().mean(0)
    real, fake = real.double() - middle, fake.double() - middle  # distances come from squares: keep those small
    order = group.argsort(stable=True)
    fake, group = fake[order], group[order]  # each group in one piece
    kept = torch.stack([group != number for number in left_out]).double()  # [L, N]
    real_reach = _reach(real, torch.zeros(len(real), dtype=torch.int64), [_NOBODY], k)[0]  # [N]
    fake_reach = _reach(fake, group, left_out, k)  # [L, N]
    held_by = torch.zeros(len(fake), dtype=torch.float64)  # how many real balls hold each fake
    recalled, covered = torch.zeros(2, len(left_out), dtype=torch.float64)
    step = max(1, _AT_A_TIME // len(fake))
    for some, reach in zip(torch.split(real, step), torch.split(real_reach, step), strict=True):
        apart = torch.cdist(some, fake)  # [C, N]
        holds = (apart < reach[:, None]).double()
        held_by += holds.sum(0)
        covered += (holds @ kept.T > 0).sum(0)
        recalled += torch.stack([(apart < own).any(1).sum() for own in fake_reach])
    count = kept.sum(1)  # [L]
    precision = kept @ (held_by > 0).double()
    density = kept @ held_by / k
    return torch.stack([precision / count, recalled / len(real), density / count, covered / len(real)], dim=1)


def _reach(points: Tensor, group: Tensor, left_out: list[int], k: int) -> Tensor:
    """The distance [L, N] of each point to its k-th neighbour without the points of each group of `left_out`; 0, which
    reaches nothing, for those points themselves. Groups lie in one piece each."""
    groups = int(group.max()) + 1
    sizes = torch.bincount(group).tolist()
    reach = torch.empty(len(left_out), len(points), dtype=torch.float64)
    step = max(1, _AT_A_TIME // len(points))
    for start in range(0, len(points), step):
        apart = torch.cdist(points[start : start + step], points)  # [C, N]
        apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = math.inf  # no neighbour of itself
        parts = torch.split(apart, sizes, dim=1)
        # The k nearest of each group hold the k nearest of any choice of groups.
        near = [part.topk(min(k, part.shape[1]), dim=1, largest=False).values for part in parts]
        for row, number in enumerate(left_out):
            others = torch.cat([near[own] for own in range(groups) if own != number], dim=1)
            reach[row, start : start + len(apart)] = others.kthvalue(k, dim=1).values
    reach[torch.stack([group == number for number in left_out])] = 0
    return reach

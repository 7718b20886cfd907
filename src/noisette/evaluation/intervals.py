"""Intervals for numbers measured on n samples: what n other samples of the same model would score.

A distance between finite sets is biased (more samples score lower), so the target is its expectation at the same n,
against the same reference. A plain bootstrap repeats samples, which moves a distance by as much as its own bias and
leaves the point outside the interval. Leaving out one of g groups at a time (the delete-a-group jackknife: Quenouille
1956, Tukey 1958, Efron and Stein 1981) moves every replicate by the same bias, so that only the differences between
them are used; for a statistic that is not linear their variance errs to the wide side.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.base.config import require
from noisette.base.seeds import generator

CONFIDENCE = 0.9
"""Of every interval: the share of repetitions in which it holds the expectation."""

GROUPS = 20
"""Groups that are left out one at a time; more would cost more and narrow an interval by 3 % at most."""

_Z = 1.6448536269514722
"""The normal quantile that leaves (1 - CONFIDENCE) / 2 above it."""


@dataclass(frozen=True)
class Interval:
    """A number and the ends of its 90 % interval."""

    value: float
    low: float
    high: float


def deal(
    count: int, seed: int = 0, labels: Int64[Tensor, " count"] | None = None, groups: int = GROUPS
) -> Int64[Tensor, " count"]:
    """A group from 0 to `groups - 1` for each of `count` samples, at random, group sizes equal up to one.

    With `labels` every class is dealt evenly too: samples asked for in fixed class counts do not vary between
    classes, and neither may the groups. Raises Refusal for fewer than two samples a group.
    """
    require(count >= 2 * groups, f"{count} samples", f"at least {2 * groups}, two for each of {groups} groups")
    order = torch.randperm(count, generator=generator(seed, "deal"))
    if labels is not None:
        order = order[labels[order].argsort(stable=True)]
    group = torch.empty(count, dtype=torch.int64)
    group[order] = torch.arange(count) % groups
    return group


def jackknife(
    value: float, left_out: Float[Tensor, " groups"], lowest: float = -math.inf, highest: float = math.inf
) -> Interval:
    """The interval about `value` from the same statistic with each group of samples left out in turn.

    `value +- t s` with `s^2 = (g - 1) / g * sum (left_out - mean)^2`, t Student's quantile of g - 1 degrees; the ends
    stay within what the statistic can be, `lowest` to `highest`.
    """
    freedom = len(left_out) - 1
    spread = math.sqrt(freedom * left_out.double().var(correction=0).item())
    reach = student(freedom) * spread
    return Interval(value, max(lowest, value - reach), min(highest, value + reach))


def leave_out(
    statistic: Callable[[Tensor], float],
    group: Int64[Tensor, " count"],
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> Interval:
    """`jackknife` of a statistic of rows: `statistic(rows [n])` is called once for all rows and once a group."""
    rows = torch.arange(len(group))
    left_out = [statistic(rows[group != number]) for number in range(int(group.max()) + 1)]
    return jackknife(statistic(rows), torch.tensor(left_out, dtype=torch.float64), lowest, highest)


def wilson(hits: int, count: int) -> Interval:
    """The interval of a share of independent samples (Wilson 1927), honest also at 0 and at 1."""
    require(count > 0, "0 samples", "at least one")
    share = hits / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z * math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2) / (1 + _Z**2 / count)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))


def student(freedom: int) -> float:
    """Student's t that leaves 5 % above it (Abramowitz and Stegun 26.7.5; right to 0.001 from 10 degrees on)."""
    z, v = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )

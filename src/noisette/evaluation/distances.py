"""Distances between two sets of features.

All in float64 on the CPU, and the same number at every call.
"""

import itertools

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from noisette.base.config import require
from noisette.evaluation.intervals import GROUPS, Interval, deal, leave_out


class Given(nn.Module):
    """The feature module that torchmetrics' Frechet distance asks for: here the features are what comes in."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(one: Float[Tensor, "n width"], other: Float[Tensor, "m width"]) -> float:
    """Squared Frechet distance of the Gaussians fitted to both (Heusel et al. 2017, the usual FID formula).

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)`; it falls with n and m, so compare at equal counts. Raises Refusal
    for fewer than two rows.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    require(min(len(one), len(other)) >= 2, f"{len(one)} and {len(other)} features", "two of each at least")
    metric = FrechetInceptionDistance(feature=Given(one.shape[1])).set_dtype(torch.float64)
    metric.update(one.double(), real=False)
    metric.update(other.double(), real=True)
    return float(metric.compute())


def frechet_interval(
    fake: Float[Tensor, "n width"],
    reference: Float[Tensor, "m width"],
    labels: Int64[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Interval:
    """`frechet` with the interval of what n other samples would score; `labels` are the classes asked for, if any."""
    return leave_out(lambda rows: frechet(fake[rows], reference), deal(len(fake), seed, labels))


def kernel(one: Float[Tensor, "n width"], other: Float[Tensor, "m width"]) -> float:
    """Squared maximum mean discrepancy of a cubic kernel, unbiased (Binkowski et al. 2018, the usual KID kernel).

    `k(x, y) = (x.y / width + 1)^3`, every pair of rows counted once. Unbiased means that equal distributions score
    about 0, as often below as above, at any n and m; with fixed class counts on both sides they score a little below 0,
    as a set then holds fewer pairs of one class than there are across. So hold it against its floor by difference,
    never by ratio. Raises Refusal for fewer than 2 GROUPS rows.
    """
    return kernel_interval(one, other).value


def kernel_interval(
    fake: Float[Tensor, "n width"],
    reference: Float[Tensor, "m width"],
    labels: Int64[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Interval:
    """`kernel` with the interval of what n other samples would score; `labels` are the classes asked for, if any.

    Written out, where torchmetrics offers the mean over random subsets, which leaves most pairs out: the similarities
    are summed once by groups of samples, so that leaving a group out costs nothing.
    """
    found = f"{len(fake)} and {len(reference)} features"
    require(min(len(fake), len(reference)) >= 2 * GROUPS, found, f"at least {2 * GROUPS} of each")
    group, real = deal(len(fake), seed, labels), reference.double()
    fakes = [fake[group == number].double() for number in range(GROUPS)]
    sizes = torch.tensor([len(some) for some in fakes])
    across = torch.tensor([_similarities(some, real) for some in fakes], dtype=torch.float64)  # [G]
    among = torch.zeros(GROUPS, GROUPS, dtype=torch.float64)
    for one, other in itertools.combinations_with_replacement(range(GROUPS), 2):
        among[one, other] = among[other, one] = _similarities(fakes[one], fakes[other])
    among -= torch.tensor([_own_similarities(some) for some in fakes], dtype=torch.float64).diag()
    among_real = (_similarities(real, real) - _own_similarities(real)) / (len(real) * (len(real) - 1))

    def whole(groups: Tensor) -> float:
        """The distance of the samples of these groups to the reference."""
        count = int(sizes[groups].sum())
        within = float(among[groups][:, groups].sum()) / (count * (count - 1))
        return within + among_real - 2 * float(across[groups].sum()) / (count * len(real))

    return leave_out(whole, torch.arange(GROUPS))


def _similarities(one: Tensor, other: Tensor) -> float:
    """The kernel of every row of one set with every row of the other, summed; a few rows at a time."""
    parts = ([some[at : at + 2048] for at in range(0, len(some), 2048)] for some in (one, other))
    return sum(float((a @ b.T / a.shape[1] + 1).pow(3).sum()) for a, b in itertools.product(*parts))


def _own_similarities(some: Tensor) -> float:
    """The kernel of every row with itself, summed."""
    return float((some.square().sum(1) / some.shape[1] + 1).pow(3).sum())

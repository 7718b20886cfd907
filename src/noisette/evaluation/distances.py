"""Distances between two sets of features, through torchmetrics with a feature module that passes them on.

All in float64 on the CPU, and the same number at every call.
"""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from noisette.base.config import require
from noisette.evaluation.intervals import GROUPS, Interval, deal, leave_out


class Given(nn.Module):
    """The feature module that torchmetrics asks for: here the features are what comes in."""

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


def kernel(one: Float[Tensor, "n width"], other: Float[Tensor, "m width"], seed: int = 0) -> float:
    """Squared maximum mean discrepancy of a cubic kernel, unbiased (Binkowski et al. 2018, the usual KID kernel).

    `k(x, y) = (x.y / width + 1)^3`, every pair of rows counted once. Unbiased means that equal distributions score
    about 0, as often below as above, at any n and m; with fixed class counts on both sides they score a little below 0,
    as a set then holds fewer pairs of one class than there are across. So hold it against its floor by difference,
    never by ratio. Rows of the larger set that fill no whole block (fewer than 1 in GROUPS of the smaller set's count)
    are left out, by `seed`. Raises Refusal for fewer than 2 GROUPS rows.
    """
    return kernel_interval(one, other, seed=seed).value


def kernel_interval(
    fake: Float[Tensor, "n width"],
    reference: Float[Tensor, "m width"],
    labels: Int64[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Interval:
    """`kernel` with the interval of what n other samples would score; `labels` are the classes asked for, if any.

    One call over all rows would need matrices [n, n]; the mean over random subsets, which torchmetrics offers instead,
    leaves most pairs out. Here both sets are cut into blocks of one size s, torchmetrics measures every two blocks,
    and their distances d make up the whole set's one exactly:
    `mean d(fake, real) - s^2 / 2 (sum d(fake, fake') / (n (n - 1)) + sum d(real, real') / (m (m - 1)))`.
    """
    found = f"{len(fake)} and {len(reference)} features"
    require(min(len(fake), len(reference)) >= 2 * GROUPS, found, f"at least {2 * GROUPS} of each")
    size = min(len(fake), len(reference)) // GROUPS
    fakes = _blocks(fake, size, seed, labels)
    reals = _blocks(reference, size, seed, None)
    across = _block_distances(fakes, reals)  # [F, R]
    among_fakes, among_reals = _block_distances(fakes), _block_distances(reals)  # [F, F], [R, R]

    def whole(rows: Tensor) -> float:
        """The distance of the fakes' blocks `rows` to the reference."""
        inner = _within(among_fakes[rows][:, rows], size) + _within(among_reals, size)
        return float(across[rows].mean() - inner)

    return leave_out(whole, torch.arange(len(fakes)))


def _blocks(features: Tensor, size: int, seed: int, labels: Tensor | None) -> Sequence[Tensor]:
    """As many blocks [size, D] as `features` [N, D] fill, dealt at random (and evenly by label); the rest is left."""
    group = deal(len(features), seed, labels, len(features) // size)
    return [features[(group == number).nonzero().flatten()[:size]].double() for number in range(int(group.max()) + 1)]


def _block_distances(ones: Sequence[Tensor], others: Sequence[Tensor] | None = None) -> Tensor:
    """Kernel distances [A, B] of every block of `ones` to every one of `others`; to one another, with 0 between
    a block and itself, when there are no `others`."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        # It says that it keeps the features in memory; they were there already.
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(feature=Given(ones[0].shape[1]), subsets=1, subset_size=len(ones[0]))
    metric.set_dtype(torch.float64)
    found = torch.zeros(len(ones), len(others or ones), dtype=torch.float64)
    # It shuffles the rows with the global generator, which is put back; with whole blocks only rounding could tell.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for a, one in enumerate(ones):
            for b, other in enumerate(others or ones[:a]):
                metric.reset()
                metric.update(one, real=False)
                metric.update(other, real=True)
                found[a, b] = metric.compute()[0]
    return found if others else found + found.T


def _within(distances: Tensor, size: int) -> Tensor:
    """What the distances [B, B] between blocks of one set add to its mean similarity."""
    count = size * len(distances)
    return size**2 / 2 * distances.sum() / (count * (count - 1))

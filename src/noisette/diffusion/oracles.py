"""Exact denoisers: data whose E[clean | noisy] is known in closed form.

With an oracle a sampler, a guide or a page can be proved right without training. All work in the dtype of their input.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import Images, Labels


class GaussianOracle:
    """Data from N(mean, std^2) in every pixel: D(x, sigma) = (std^2 x + sigma^2 mean)/(std^2 + sigma^2)."""

    def __init__(self, mean: float, std: float) -> None:
        require(std >= 0, f"std {std}", "at least 0")
        self.mean, self.std = mean, std

    def __call__(self, noisy: Images, noise_level: float, label: Labels | None = None, /) -> Images:
        signal, noise = self.std**2, noise_level**2
        return (signal * noisy + noise * self.mean) / (signal + noise)

    def flow(self, x: Tensor, noise_level: float, next_level: float) -> Tensor:
        """The exact probability flow from one level to another: the standardised value stays as it is."""
        z = (x - self.mean) / math.hypot(self.std, noise_level)
        return self.mean + math.hypot(self.std, next_level) * z


class MixtureOracle:
    """Pixels drawn independently from a one-dimensional Gaussian mixture; weights sum to 1.

    A class label k >= 0 selects component k alone; -1, or no labels at all, is the whole mixture.
    """

    def __init__(self, means: Sequence[float], stds: Sequence[float], weights: Sequence[float]) -> None:
        require(
            len(means) == len(stds) == len(weights) >= 1,
            "lists of different lengths",
            "one entry a component",
        )
        require(min(stds) > 0 and min(weights) > 0, "a std or weight that is not positive", "positive numbers")
        self.means = torch.tensor(means, dtype=torch.float64)
        self.variances = torch.tensor(stds, dtype=torch.float64) ** 2
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)

    def _spread(self, noise_level: float) -> Tensor:
        return (self.variances + noise_level**2).sqrt()  # [K]

    def __call__(self, noisy: Images, noise_level: float, label: Labels | None = None, /) -> Images:
        x = noisy[..., None].double()  # [B, C, H, W, K]
        spread = self._spread(noise_level)
        log_joint = self.weights.log() - spread.log() - ((x - self.means) / spread) ** 2 / 2
        if label is not None:
            wanted = label.reshape(-1, *[1] * noisy.ndim)  # [B, 1, 1, 1, 1]
            other = (wanted >= 0) & (wanted != torch.arange(len(self.means)))
            log_joint = log_joint.masked_fill(other, -math.inf)
        each = (self.variances * x + noise_level**2 * self.means) / spread**2
        return (log_joint.softmax(-1) * each).sum(-1).to(noisy.dtype)

    def distribution(self, x: Tensor, noise_level: float) -> Tensor:
        """P(noisy value <= x) at a level, elementwise."""
        z = (x[..., None] - self.means) / self._spread(noise_level)
        share: Tensor = (self.weights * torch.special.ndtr(z)).sum(-1)
        return share

    def flow(self, x: Tensor, noise_level: float, next_level: float) -> Tensor:
        """The exact probability flow of a scalar: it keeps the value of the distribution function, which is inverted by
        bisection down to float64 rounding."""
        share = self.distribution(x, noise_level)
        reach = 40 * (1 + float(self.means.abs().max() + self._spread(max(noise_level, next_level)).max()))
        low, high = torch.full_like(x, -reach), torch.full_like(x, reach)
        for _ in range(80):
            middle = (low + high) / 2
            below = self.distribution(middle, next_level) < share
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


class DatasetOracle:
    """The training set itself: D(x, sigma) is the mean of the stored images, weighted by exp(-|x - image|^2 / 2
    sigma^2).

    images [N, C, H, W]; labels [N] (optional). A label k >= 0 keeps the images of class k; -1 keeps all.
    """

    def __init__(self, images: Images, labels: Labels | None = None) -> None:
        require(len(images) > 0, "an empty set of images", "at least one")
        self.images, self.labels = images, labels

    def __call__(self, noisy: Images, noise_level: float, label: Labels | None = None, /) -> Images:
        stored = self.images.to(noisy).flatten(1)  # [N, P]
        x = noisy.flatten(1)  # [B, P]
        distance = (
            (x[:, None] - stored).square().sum(-1)
        )  # [B, N]; not by cdist, whose cancellation shows at small levels
        if label is not None and self.labels is not None:
            other = (label[:, None] >= 0) & (label[:, None] != self.labels.to(label)[None])
            distance = distance.masked_fill(other, math.inf)
        weights = (-distance / (2 * noise_level**2)).softmax(-1)  # [B, N]
        return (weights @ stored).reshape(noisy.shape)

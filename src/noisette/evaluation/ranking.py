"""The best of many images, none of them nearly another: as they come, in bounded memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.base.config import require
from noisette.base.seeds import generator

RESERVE = 2
"""How many images are held for each that is asked for: one may yet have to give way to a better one nearly like it."""


class BestApart:
    """The best `count` of the images that are offered one after another, no two nearer to each other than `apart`.

    Of two that are, the better stays, of equals the earlier. At most RESERVE * count are held, by number, score and
    features: what else there is of them the caller keeps, as long as `held` names them. With apart = 0 nothing is near,
    and these are exactly the `count` best. Else an image may have given way to one that later gave way to a third: the
    reserve stands in for it.
    """

    def __init__(self, count: int, apart: float) -> None:
        """Raises Refusal for a count below 1 or a distance below 0."""
        require(count >= 1, f"the best {count}", "at least 1")
        require(apart >= 0, f"images {apart} apart", "at least 0")
        self.count, self.apart = count, apart
        self.nearly_another = 0
        """How many gave way to a better one nearly like them, or were not taken because of it."""
        self._numbers: list[int] = []
        self._scores: list[float] = []
        self._features: list[Tensor] = []

    @property
    def held(self) -> list[int]:
        """The numbers of the images that are held, in no order."""
        return list(self._numbers)

    def offer(self, number: int, score: float, features: Float[Tensor, " width"]) -> None:
        """Look at one more image."""
        full = len(self._numbers) == RESERVE * self.count
        if full and score <= min(self._scores):
            return
        near = self._near(features)
        if any(self._scores[place] >= score for place in near):
            self.nearly_another += 1
            return
        self.nearly_another += len(near)
        dropped = near or self._order()[-1:] if full else near
        stays = [place for place in range(len(self._numbers)) if place not in dropped]
        self._numbers = [self._numbers[place] for place in stays] + [number]
        self._scores = [self._scores[place] for place in stays] + [score]
        self._features = [self._features[place] for place in stays] + [features]

    def best(self) -> list[int]:
        """The numbers of the best, best first, of equals the earlier; fewer than `count` if there are no more."""
        return [self._numbers[place] for place in self._order()[: self.count]]

    def _order(self) -> list[int]:
        """Places, the best first."""
        return sorted(range(len(self._numbers)), key=lambda place: (-self._scores[place], self._numbers[place]))

    def _near(self, features: Tensor) -> list[int]:
        if not self._numbers or self.apart == 0:
            return []
        away = (torch.stack(self._features) - features).square().sum(1).sqrt()
        found: list[int] = (away < self.apart).nonzero().flatten().tolist()
        return found


def best_of_class(labels: Int64[Tensor, " n"], scores: Float[Tensor, " n"], label: int) -> Int64[Tensor, " m"]:
    """Rows of the images of a class, the best first, of equals the earlier."""
    own = (labels == label).nonzero().flatten()
    return own[scores[own].argsort(descending=True, stable=True)]


def best_apart(scores: Float[Tensor, " n"], features: Float[Tensor, "n width"], count: int, apart: float) -> list[int]:
    """Rows of the best `count`, best first, of equals the earlier, no two nearer to each other than `apart`: whoever is
    too near to a better one that was taken is passed over. Fewer where there are no more."""
    taken: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        away = (features[taken] - features[row]).square().sum(1).sqrt()
        if apart == 0 or not bool((away < apart).any()):
            taken.append(row)
        if len(taken) == count:
            break
    return taken


def spacing(
    features: Float[Tensor, "n width"], labels: Int64[Tensor, " n"], per_class: int, share: float, seed: int = 0
) -> float:
    """How near to another of its class an image is that `share` of the images are nearer than: for real images, what
    near-duplicates are held against.

    It is worked out among `per_class` images of each class, at least 2, drawn by the seed, since the nearest neighbours
    come nearer the more there are; among all of a class that has fewer. 0 for a share of 0. Raises Refusal where no
    class has 2 images.
    """
    require(0 <= share < 1, f"share {share} of real images", "at least 0 and below 1")
    if share == 0:
        return 0.0
    nearest = []
    for label in torch.unique(labels).tolist():
        own = (labels == label).nonzero().flatten()
        own = own[torch.randperm(len(own), generator=generator(seed, "spacing", label))[: max(2, per_class)]]
        if len(own) >= 2:
            away = torch.cdist(features[own].double(), features[own].double(), compute_mode=EXACT)
            nearest.append(away.fill_diagonal_(torch.inf).min(1).values)
    require(len(nearest) > 0, "no class of 2 images", "at least one, to see how near they are")
    return float(torch.cat(nearest).quantile(share))


EXACT = "donot_use_mm_for_euclid_dist"
"""Distances from differences: from squares, those of nearly equal images would be lost in rounding."""

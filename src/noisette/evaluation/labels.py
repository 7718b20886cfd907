"""What a classifier says of samples: confusion, accuracy, the classes' frequencies, diversity within a class.

Labels and guesses are class indices; a label of -1 means that no class was asked for.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import NO_CLASS
from noisette.evaluation.intervals import Interval, deal, leave_out, wilson


def confusion(guesses: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], classes: int) -> Int64[Tensor, "k k"]:
    """How many samples of each class asked for (row) were taken for each class (column)."""
    asked = labels != NO_CLASS
    return torch.bincount(labels[asked] * classes + guesses[asked], minlength=classes**2).view(classes, classes)


def accuracy(guesses: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Interval:
    """The share of labelled samples that were taken for what was asked. Raises Refusal when none is labelled."""
    asked = labels != NO_CLASS
    require(bool(asked.any()), "samples without labels", "at least one with a label")
    return wilson(int((guesses == labels)[asked].sum()), int(asked.sum()))


def histogram(guesses: Int64[Tensor, " n"], classes: int) -> Int64[Tensor, " k"]:
    """How many samples were taken for each class."""
    return torch.bincount(guesses, minlength=classes)


def chi_square_p(counts: Int64[Tensor, " k"], frequencies: Sequence[float]) -> float:
    """The chance of counts at least this far from `frequencies` (summing to 1) where those hold (Pearson 1900).

    For unconditional samples only: classes that were asked for are not drawn. Raises Refusal for a frequency of 0 or
    less than two classes.
    """
    shares = torch.tensor(frequencies, dtype=torch.float64)
    require(len(shares) == len(counts) >= 2, f"{len(counts)} counts, {len(shares)} frequencies", "two or more of each")
    require(bool((shares > 0).all()), f"frequencies {list(frequencies)}", "all above 0")
    expected = shares / shares.sum() * counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    degrees = torch.tensor((len(counts) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(degrees, statistic / 2))


def diversity(features: Float[Tensor, "n width"], labels: Int64[Tensor, " n"]) -> float:
    """Mean distance between two samples of one class asked for, every class weighing the same.

    Compare it with that of real images. Classes with fewer than two samples are left out; raises Refusal when no
    class has two.
    """
    means = []
    for label in torch.unique(labels[labels != NO_CLASS]):
        own = features[labels == label].double()
        if len(own) >= 2:
            apart = torch.stack([torch.cdist(rows, own).sum() for rows in torch.split(own, 1000)]).sum()
            means.append(apart / (len(own) * (len(own) - 1)))
    require(bool(means), "no class with two samples", "at least one")
    return float(torch.stack(means).mean())


def diversity_interval(features: Float[Tensor, "n width"], labels: Int64[Tensor, " n"], seed: int = 0) -> Interval:
    """`diversity` with the interval of what n other samples would score."""
    group = deal(len(features), seed, labels)
    return leave_out(lambda rows: diversity(features[rows], labels[rows]), group, lowest=0.0)

"""Whether probabilities can be taken at their word: of the answers said with 80 %, are 80 % right?

A network is mostly surer than it is right. One number, the temperature that its logits are divided by, mends most of it
and leaves every answer as it was (Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from noisette.base.config import require

BINS = 15
"""Of equal width over the confidence (Guo et al. 2017, section 2)."""
COLDEST, HOTTEST = 0.1, 100.0
"""The temperatures that are looked at: answers all right, or all chance, would have none or an infinite one."""
_HALVINGS = 60
"""Of the span between them: to the last digit of a float64."""


@dataclass(frozen=True)
class Reliability:
    """The answers of each bin of confidence that holds any, the least sure first."""

    confidence: tuple[float, ...]
    """The mean, 0 to 1."""
    accuracy: tuple[float, ...]
    """Share of right answers, 0 to 1."""
    count: tuple[int, ...]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of confidence from accuracy, every answer weighing the same
        (Guo et al. 2017, equation 3)."""
        told = zip(self.confidence, self.accuracy, self.count, strict=True)
        return sum(abs(sure - right) * count for sure, right, count in told) / sum(self.count)


def reliability(log_probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], bins: int = BINS) -> Reliability:
    """How sure the likeliest answer is, against how often it is right. Raises Refusal for no answers."""
    require(len(labels) > 0, "no answers", "at least one")
    sure, guesses = log_probabilities.double().exp().max(1)
    right = (guesses == labels).double()
    place = (sure * bins).ceil().long().clamp(1, bins) - 1  # a bin holds its upper end, as in the paper
    count = torch.bincount(place, minlength=bins)
    there = count > 0
    means = (torch.bincount(place, weights=each, minlength=bins)[there] / count[there] for each in (sure, right))
    confidence, accuracy = (tuple(each.tolist()) for each in means)
    return Reliability(confidence, accuracy, tuple(count[there].tolist()))


def tempered(log_probabilities: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, "n k"]:
    """The log-probabilities of the logits divided by the temperature: above 1 less sure, below 1 surer."""
    return (log_probabilities / temperature).log_softmax(1)


def fit_temperature(log_probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> float:
    """The temperature, COLDEST to HOTTEST, at which these labels are likeliest.

    The negative log-likelihood is convex in the inverse temperature b; its slope, the mean over images of
    sum_k p_b(k) l_k - l_label, falls to 0 where the logit of the label is on average what the probabilities expect.
    Raises Refusal for no labels.
    """
    require(len(labels) > 0, "no labelled images", "at least one to fit a temperature to")
    logits = log_probabilities.double()
    of_labels = logits.gather(1, labels[:, None])[:, 0]

    def too_hot(temperature: float) -> bool:
        """Whether a colder one would be likelier."""
        expected = ((logits / temperature).softmax(1) * logits).sum(1)
        return bool((expected - of_labels).mean() <= 0)

    low, high = COLDEST, HOTTEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if too_hot(middle) else (middle, high)
    return math.sqrt(low * high)

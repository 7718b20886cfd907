"""Counts by hand, chi-square by closed forms, diversity pair by pair."""

import math

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation.intervals import wilson
from noisette.evaluation.labels import accuracy, chi_square_p, confusion, diversity, diversity_interval, histogram

GUESSES = torch.tensor([0, 1, 1, 2, 2, 2, 0])
LABELS = torch.tensor([0, 1, 2, 2, 2, 1, -1])


def test_confusion_has_the_class_asked_for_in_rows():
    guesses = torch.tensor([0, 1, 1, 2, 2, 2, 0])
    labels = torch.tensor([0, 1, 2, 2, 2, 0, -1])
    assert confusion(guesses, labels, 4).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]


def test_accuracy_counts_the_labelled_only():
    assert accuracy(GUESSES, LABELS) == wilson(4, 6)
    with pytest.raises(Refusal, match="samples without labels"):
        accuracy(GUESSES, torch.full_like(GUESSES, -1))


def test_histogram_counts_every_class():
    assert histogram(GUESSES, 5).tolist() == [2, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("counts", "frequencies", "expected"),
    [
        ([60, 40], [0.5, 0.5], math.erfc(math.sqrt(4 / 2))),  # 4 at 1 degree: two tails of a normal at 2
        ([30, 20, 10], [1, 1, 1], math.exp(-10 / 2)),  # 10 at 2 degrees
        ([55, 25, 20], [0.5, 0.3, 0.2], math.exp(-(25 / 50 + 25 / 30) / 2)),
        ([20, 20, 20], [1, 1, 1], 1.0),
    ],
)
def test_chi_square(counts, frequencies, expected):
    shares = [share / sum(frequencies) for share in frequencies]
    assert chi_square_p(torch.tensor(counts), shares) == pytest.approx(expected)


def test_chi_square_is_uniform_where_the_frequencies_hold():
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    random = generator("chi")
    draws = [torch.multinomial(shares, 500, replacement=True, generator=random) for _ in range(200)]
    found = sorted(chi_square_p(histogram(draw, 4), [0.1, 0.2, 0.3, 0.4]) for draw in draws)
    assert max(abs(p - (n + 0.5) / 200) for n, p in enumerate(found)) < 1.36 / math.sqrt(200)  # Kolmogorov, 5 %


def test_chi_square_refusals():
    with pytest.raises(Refusal, match="3 counts, 2 frequencies"):
        chi_square_p(torch.tensor([1, 2, 3]), [0.5, 0.5])
    with pytest.raises(Refusal, match="all above 0"):
        chi_square_p(torch.tensor([1, 2]), [1.0, 0.0])


def test_diversity_is_the_mean_over_pairs_of_a_class_then_over_classes():
    features = torch.tensor([[0.0, 0], [3, 4], [0, 1], [7, 7], [1, 1], [100, 100]])
    labels = torch.tensor([0, 0, 1, 2, 1, -1])  # class 2 has one sample only, and one sample has no class
    assert diversity(features, labels) == pytest.approx((5 + 1) / 2)
    assert diversity(10 * features + 3, labels) == pytest.approx(30)
    with pytest.raises(Refusal, match="no class with two samples"):
        diversity(features[:3], torch.tensor([0, 1, -1]))


def test_the_diversity_interval_narrows_with_the_count():
    features = torch.randn(800, 3, generator=generator("diversity"))
    few, many = (diversity_interval(features[:n], torch.arange(n) % 2) for n in (200, 800))
    assert many.low < many.value < many.high
    assert 1.2 < (few.high - few.low) / (many.high - many.low) < 3.2

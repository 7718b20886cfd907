"""A 90 % interval holds what it is about, about 90 times in 100, and is no wider than it need be."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation.distances import frechet, frechet_interval
from noisette.evaluation.intervals import Interval, deal, jackknife, leave_out, student, wilson
from noisette.evaluation.labels import diversity_interval
from noisette.evaluation.manifold import manifold_intervals

TRIALS = 100
COUNT, WIDTH = 100, 4


def gaussian(*key: int | str) -> Tensor:
    return torch.randn(COUNT, WIDTH, generator=generator("gaussian", *key), dtype=torch.float64)


REFERENCE = gaussian("reference")
LABELS = torch.arange(COUNT) % 2


def gram(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.T / WIDTH + 1) ** 3


def kernel_jackknife(fake: Tensor) -> Interval:
    """`distances.kernel_interval` (which equals the jackknife of whole distances: test_distances.py), only faster."""
    inner, across = gram(fake, fake).fill_diagonal_(0), gram(fake, REFERENCE).mean(1)
    constant = gram(REFERENCE, REFERENCE).fill_diagonal_(0).sum() / (COUNT * (COUNT - 1))

    def distance(rows: Tensor) -> float:
        among = inner[rows][:, rows].sum() / (len(rows) * (len(rows) - 1))
        return float(among + constant - 2 * across[rows].mean())

    return leave_out(distance, deal(COUNT))


MEASURES = {
    "frechet": lambda fake: {"frechet": frechet_interval(fake, REFERENCE)},
    "kernel": lambda fake: {"kernel": kernel_jackknife(fake)},
    "diversity": lambda fake: {"diversity": diversity_interval(fake, LABELS)},
    "manifold": lambda fake: manifold_intervals(REFERENCE, fake),
}
CASES = {"equal distributions": (1.0, 0.0), "narrower and shifted": (0.8, 0.4)}


@pytest.mark.parametrize("measure", MEASURES)
def test_the_interval_holds_the_expectation_at_the_same_count(measure):
    """In at least 85 of 100 trials, and it is not so by being wide."""
    held: Counter[str] = Counter()
    for case, (scale, shift) in CASES.items():
        trials = [MEASURES[measure](gaussian(case, trial) * scale + shift) for trial in range(TRIALS)]
        for name in trials[0]:
            found = [trial[name] for trial in trials]
            values = torch.tensor([interval.value for interval in found], dtype=torch.float64)
            expectation = float(values.mean())
            held[name] += sum(interval.low <= expectation <= interval.high for interval in found)
            width = sum(interval.high - interval.low for interval in found) / TRIALS
            assert width < 1.8 * 2 * student(10**6) * float(values.std()), (case, name)
    assert min(held.values()) >= 0.85 * TRIALS * len(CASES), held


def test_a_plain_bootstrap_would_not_do():
    """Why it is a jackknife: rows drawn with repeats lie farther from the reference than those they are drawn from."""
    random = generator("bootstrap")
    fake, reference = torch.randn(2, COUNT, 16, generator=random, dtype=torch.float64)
    value = frechet(fake, reference)
    again = [frechet(fake[torch.randint(COUNT, (COUNT,), generator=random)], reference) for _ in range(40)]
    assert sorted(again)[2] > value
    found = frechet_interval(fake, reference)
    assert found.low < value < found.high


# --- its parts


def test_a_mean_gets_students_interval():
    """Groups of two: the jackknife of the mean is the spread of the group means, exactly."""
    values = torch.randn(40, generator=generator("mean"), dtype=torch.float64)
    group = deal(40)
    means = torch.stack([values[group == number].mean() for number in range(20)])
    found = leave_out(lambda rows: float(values[rows].mean()), group)
    assert found.value == pytest.approx(float(values.mean()))
    assert found.high - found.value == pytest.approx(student(19) * float(means.std()) / math.sqrt(20))
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_ends_stay_within_what_the_number_can_be():
    left_out = torch.tensor([0.9, 0.95, 1.0, 0.95])
    assert jackknife(0.95, left_out, 0.0, 1.0).high == 1.0
    assert jackknife(0.95, left_out).high > 1.0
    assert jackknife(0.05, 1 - left_out, 0.0, 1.0).low == 0.0


@pytest.mark.parametrize(("freedom", "expected"), [(10, 1.8125), (19, 1.7291), (30, 1.6973), (10**6, 1.6449)])
def test_students_table(freedom, expected):
    assert student(freedom) == pytest.approx(expected, abs=1e-3)


def test_groups_are_even_in_size_and_in_every_class():
    labels = torch.arange(110) % 3
    group = deal(110, labels=labels)
    assert sorted(torch.bincount(group, minlength=20).tolist()) == [5] * 10 + [6] * 10
    for label in range(3):
        own = torch.bincount(group[labels == label], minlength=20)
        assert int(own.max() - own.min()) <= 1
    assert torch.equal(deal(110, labels=labels), group)
    assert not torch.equal(deal(110, seed=1, labels=labels), group)
    assert not torch.equal(deal(110), torch.arange(110) % 20)  # at random, not as the rows come


def test_groups_of_one_are_refused():
    with pytest.raises(Refusal, match="39 samples: expected at least 40, two for each of 20 groups"):
        deal(39)


@pytest.mark.parametrize(("hits", "count"), [(8, 10), (1, 50), (994, 1000)])
def test_wilsons_ends_are_the_shares_that_are_just_not_refuted(hits, count):
    found = wilson(hits, count)
    assert found.value == hits / count
    for end in (found.low, found.high):
        assert abs(found.value - end) == pytest.approx(1.6448536 * math.sqrt(end * (1 - end) / count), rel=1e-6)


def test_wilson_is_honest_at_the_ends():
    assert wilson(0, 100).low == 0
    assert wilson(0, 100).high == pytest.approx(2.7055 / 102.7055, rel=1e-4)
    assert wilson(100, 100).high == 1
    assert wilson(100, 100).low < 0.98
    with pytest.raises(Refusal, match="0 samples"):
        wilson(0, 0)

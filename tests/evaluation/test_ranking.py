"""The best of many as they come: exactly those where nothing is near, never two nearly alike, in bounded memory."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noisette.base.errors import Refusal
from noisette.evaluation.ranking import RESERVE, BestApart, best_apart, spacing


def ranked(scores, features, count, apart):
    best = BestApart(count, apart)
    for number, (score, each) in enumerate(zip(scores.tolist(), features, strict=True)):
        best.offer(number, score, each)
        assert len(best.held) <= RESERVE * count
    return best


def cloud(seed, count=60, width=2):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=random), torch.randn(count, width, generator=random)


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_without_a_distance_they_are_exactly_the_best(seed, count):
    scores, features = cloud(seed)
    scores = (8 * scores).round() / 8  # many equals: the earlier first
    expected = sorted(range(60), key=lambda number: (-float(scores[number]), number))[:count]
    assert ranked(scores, features, count, 0.0).best() == expected


@given(st.integers(0, 2**32), st.integers(1, 20), st.floats(0.05, 1.5))
def test_no_two_are_nearly_alike_and_whoever_is_not_there_is_worse_or_near(seed, count, apart):
    scores, features = cloud(seed)
    best = ranked(scores, features, count, apart)
    chosen = best.best()
    away = torch.cdist(features[chosen], features[chosen]).fill_diagonal_(math.inf)
    assert bool((away >= apart - 1e-6).all())
    assert scores[chosen].tolist() == sorted(scores[chosen].tolist(), reverse=True)
    top = int(scores.argmax())
    assert chosen[0] == top  # nothing can push the best out


def test_of_two_alike_the_better_stays_whichever_comes_first():
    features = torch.tensor([[0.0], [0.1], [5.0]])
    for scores, expected in (([0.9, 0.8, 0.1], [0, 2]), ([0.8, 0.9, 0.1], [1, 2]), ([0.8, 0.8, 0.1], [0, 2])):
        best = ranked(torch.tensor(scores), features, 2, 0.5)
        assert best.best() == expected
        assert best.nearly_another == 1


def test_copies_of_the_best_do_not_fill_the_places():
    features = torch.cat([torch.zeros(50, 3), torch.eye(3)])
    scores = torch.cat([torch.full((50,), 0.9), torch.tensor([0.3, 0.2, 0.1])])
    best = ranked(scores, features, 3, 0.2)
    assert best.best() == [0, 50, 51]
    assert best.nearly_another == 49


def test_the_reserve_stands_in_for_what_gave_way():
    """0 and 1 are apart, each near to 2, which is better than both: 3, which was no longer among the two best, is."""
    features = torch.tensor([[0.0], [1.0], [9.0], [0.5]])
    best = ranked(torch.tensor([0.5, 0.6, 0.4, 0.7]), features, 2, 0.8)
    assert best.best() == [3, 2]


@pytest.mark.parametrize(("count", "apart", "said"), [(0, 0.1, "the best 0"), (1, -0.1, "images -0.1 apart")])
def test_what_makes_no_sense_is_refused(count, apart, said):
    with pytest.raises(Refusal, match=said):
        BestApart(count, apart)


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0.0, 0.3, 1.0]))
def test_of_all_at_once_each_is_taken_unless_a_better_one_is_near(seed, count, apart):
    scores, features = cloud(seed)
    taken = best_apart(scores, features, count, apart)
    away = torch.cdist(features.double(), features.double())
    for row in range(60):
        better = [other for other in taken if float(scores[other]) > float(scores[row])]
        near = any(float(away[row, other]) < apart for other in better)
        assert (row in taken) == (not near and len(better) < count)
    assert scores[taken].tolist() == sorted(scores[taken].tolist(), reverse=True)


# How near real images are -------------------------------------------------------------------------


def test_spacing_is_a_quantile_of_nearest_neighbours_of_the_same_class():
    """A line of images 0, 1, 3, 6, ...: the nearest are 1, 1, 2, 3, ... away; another class lies right among them."""
    line = torch.tensor([0.0, 1, 3, 6, 10, 15])[:, None]
    features, labels = torch.cat([line, line + 0.01]), torch.tensor([0] * 6 + [1] * 6)
    nearest = torch.tensor([1.0, 1, 2, 3, 4, 5] * 2, dtype=torch.float64)
    for share in (0.01, 0.25, 0.5):
        assert spacing(features, labels, 6, share) == pytest.approx(float(nearest.quantile(share)), abs=1e-5)
    assert spacing(features, labels, 6, 0.0) == 0


def test_fewer_images_lie_further_apart():
    features = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2000) % 2
    few, many = (spacing(features, labels, count, 0.1) for count in (50, 1000))
    assert few > 1.5 * many
    assert spacing(features, labels, 1, 0.1) == spacing(features, labels, 2, 0.1) > few


def test_images_that_are_nearly_equal_are_told_apart_far_from_the_middle():
    features = 1000 + 1e-3 * torch.arange(40.0)[:, None].double()
    assert spacing(features.float(), torch.zeros(40, dtype=torch.int64), 40, 0.5) == pytest.approx(1e-3, rel=0.1)


def test_spacing_refuses_what_it_cannot_work_out():
    with pytest.raises(Refusal, match="no class of 2 images"):
        spacing(torch.zeros(2, 1), torch.tensor([0, 1]), 5, 0.1)
    with pytest.raises(Refusal, match=r"share 1\.0 of real images"):
        spacing(torch.zeros(2, 1), torch.tensor([0, 0]), 5, 1.0)

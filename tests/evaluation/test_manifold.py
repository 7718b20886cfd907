"""The four shares on points laid out by hand, and on random ones against their definitions."""

from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation import manifold as module
from noisette.evaluation.intervals import deal, jackknife, wilson
from noisette.evaluation.manifold import Manifold, manifold, manifold_intervals


def on_a_line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def points(count: int, width: int, *key: int | str) -> Tensor:
    return torch.randn(count, width, generator=generator("points", *key), dtype=torch.float64)


def near(found: Manifold, expected: Manifold) -> bool:
    return astuple(found) == pytest.approx(astuple(expected))


REAL = on_a_line(0, 1, 10, 11, 14)
"""Balls about them, to the nearest other: (-1, 1), (0, 2), (9, 11), (10, 12), (11, 17)."""

FAKE = on_a_line(0.4, 0.5, 0.6, 9.5, 9.6)
"""Two heaps, all within; balls about them reach 0.1 far and hold no real point."""


def test_two_heaps_within_the_real_ones():
    found = manifold(REAL, FAKE, k=1)
    # Real balls that hold each fake: 2, 2, 2, 1, 1. Real balls that hold a fake: the first three.
    assert near(found, Manifold(precision=1.0, recall=0.0, density=8 / 5, coverage=3 / 5))


def test_the_other_way_round():
    """The heaps as the real ones: each of their points lies in a fake ball, and their own balls hold nothing."""
    assert manifold(FAKE, REAL, k=1) == Manifold(precision=0.0, recall=1.0, density=0.0, coverage=0.0)


def test_an_outlier_among_the_reals_buys_precision_but_hardly_density():
    real, fake = on_a_line(0, 0.1, 0.2, 0.3, 100), on_a_line(50, 60, 70, 80, 90)
    found = manifold(real, fake, k=1)
    assert found.precision == 1
    assert found.density == pytest.approx(1.0)
    assert found.coverage == pytest.approx(1 / 5)


def test_k_counts_neighbours_without_the_point_itself():
    """With k = 2 the balls reach to the second other point: (-10, 10), (-8, 10), (6, 14), (8, 14), (10, 18)."""
    found = manifold(REAL, on_a_line(-9, 2, 8.5, 17, 30), k=2)
    assert found.precision == pytest.approx(4 / 5)
    assert found.density == pytest.approx((1 + 2 + 4 + 1 + 0) / (2 * 5))
    assert found.coverage == 1


def test_a_set_lies_within_itself():
    same = points(60, 3)
    found = manifold(same, same)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    far = manifold(same, same + 100)
    assert far == Manifold(0, 0, 0, 0)


def test_turning_and_shifting_the_space_changes_nothing():
    real, fake = points(60, 3, "real"), points(60, 3, "fake") + 0.5
    turn, _ = torch.linalg.qr(points(3, 3, "turn"))
    expected = manifold(real, fake)
    assert 0.3 < expected.recall < 1
    assert manifold(7 * real @ turn + 1000, 7 * fake @ turn + 1000) == expected


def by_definition(real: Tensor, fake: Tensor, k: int = 5) -> Manifold:
    """One pair at a time."""

    def reach(some: Tensor) -> list[float]:
        apart = (some[:, None] - some).norm(dim=2)
        return [sorted(row.tolist())[k] for row in apart]  # [0] is the point itself

    apart = (real[:, None] - fake).norm(dim=2).tolist()
    around_real, around_fake = reach(real), reach(fake)
    held = [sum(apart[r][f] < around_real[r] for r in range(len(real))) for f in range(len(fake))]
    return Manifold(
        sum(count > 0 for count in held) / len(fake),
        sum(any(apart[r][f] < around_fake[f] for f in range(len(fake))) for r in range(len(real))) / len(real),
        sum(held) / k / len(fake),
        sum(any(apart[r][f] < around_real[r] for f in range(len(fake))) for r in range(len(real))) / len(real),
    )


@pytest.mark.parametrize("at_a_time", [2**22, 1000])
def test_the_definitions_whatever_is_held_at_a_time(monkeypatch, at_a_time):
    real, fake = points(80, 4, "real"), 0.8 * points(80, 4, "fake") + 0.5
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)
    assert near(manifold(real, fake), by_definition(real, fake))


def test_the_intervals_are_the_jackknife_of_measuring_without_each_group():
    real, fake = points(80, 4, "real"), 0.8 * points(80, 4, "fake") + 0.5
    labels = torch.arange(80) % 3
    group = deal(80, seed=5, labels=labels)
    without = [by_definition(real, fake[group != number]) for number in range(20)]
    whole = by_definition(real, fake)
    found = manifold_intervals(real, fake, labels, seed=5)
    for name in ("precision", "recall", "density", "coverage"):
        left_out = torch.tensor([getattr(one, name) for one in without], dtype=torch.float64)
        expected = jackknife(getattr(whole, name), left_out)
        assert found[name].value == pytest.approx(expected.value)
        alone = expected if name == "density" else wilson(round(expected.value * 80), 80)
        assert found[name].low == pytest.approx(min(alone.low, expected.low))
        ceiling = 9.0 if name == "density" else 1.0
        assert found[name].high == pytest.approx(min(ceiling, max(alone.high, expected.high)))


def test_a_share_at_its_end_is_not_taken_for_certain():
    same = points(100, 2)
    assert manifold_intervals(same, same)["coverage"].low < 1
    assert manifold_intervals(same, same + 100)["recall"].high == wilson(0, 100).high


def test_refusals():
    with pytest.raises(Refusal, match="50 real and 60 fake points: expected as many of both"):
        manifold(points(50, 2), points(60, 2))
    with pytest.raises(Refusal, match="5 points: expected more than k = 5"):
        manifold(points(5, 2), points(5, 2))

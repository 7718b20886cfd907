"""The nearest training image is found, a copy is seen as one, and real images score what they must."""

import pytest
import torch
from torch import Tensor

from noisette.base.seeds import generator
from noisette.evaluation import memorisation as module
from noisette.evaluation.memorisation import memorisation, nearest


def points(count: int, *key: int | str) -> Tensor:
    return torch.randn(count, 6, generator=generator("points", *key))


@pytest.mark.parametrize("at_a_time", [2**24, 500])
def test_the_nearest_of_all_whatever_is_held_at_a_time(monkeypatch, at_a_time):
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)
    some, train = points(70, "some"), points(200, "train")
    apart = (some.double()[:, None] - train.double()).norm(dim=2)
    found = nearest(some, train)
    assert torch.equal(found.rows, apart.argmin(1))
    torch.testing.assert_close(found.distances, apart.min(1).values, rtol=1e-12, atol=0)


def test_a_copy_is_at_distance_zero_even_far_from_the_origin():
    train = (points(500, "train") * 1e-3 + 50).double()
    found = nearest(train[[7, 3, 499]].clone(), train)
    assert found.rows.tolist() == [7, 3, 499]
    assert found.distances.tolist() == [0, 0, 0]


def test_where_float32_cannot_tell_the_nearest_few_apart_float64_does():
    """Every training image stands there four times, but for a millionth of the space's width."""
    apart = torch.tensor([0.0, 1e-3, 2e-3, 3e-3]).double()
    train = (1000 * points(100, "train").double()[:, None] + apart[:, None]).flatten(0, 1)
    found = nearest(train, train)
    assert torch.equal(found.rows, torch.arange(400))
    assert not bool(found.distances.any())


def test_few_training_images_suffice():
    found = nearest(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [7.0]]))
    assert found.rows.tolist() == [0, 1]
    assert found.distances.tolist() == [1, 2]


def test_real_images_score_one_percent_and_copies_all():
    train, held_out = points(400, "train"), nearest(points(1000, "held out"), points(400, "train"))
    assert memorisation(held_out, held_out).share.value == 0.01
    copied = memorisation(nearest(train + 1e-6, train), held_out)
    assert copied.share.value == 1
    assert copied.threshold > 0
    other = memorisation(nearest(points(1000, "other"), train), held_out)
    assert other.share.low < 0.02
    assert other.share.high < 0.03
    assert memorisation(nearest(points(1000, "other") + 20, train), held_out).share.value == 0


def test_the_nearest_pairs_come_first():
    train = points(50, "train")
    samples = points(30, "samples") + 5
    samples[12], samples[4] = train[33], train[8] + 1e-3
    found = memorisation(nearest(samples, train), nearest(points(100, "held out"), train))
    assert found.samples.tolist()[:2] == [12, 4]
    assert found.training.tolist()[:2] == [33, 8]
    assert found.distances[0] == 0
    assert len(found.distances) == len(found.samples) == len(found.training) == 10
    assert found.distances.tolist() == sorted(found.distances.tolist())
    assert len(memorisation(nearest(samples[:3], train), nearest(samples, train)).samples) == 3

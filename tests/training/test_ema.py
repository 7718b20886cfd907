"""The average of the weights forgets by halves, in images, whatever the batch size."""

import math

import pytest
import torch
from torch import nn

from noisette.base.seeds import generator
from noisette.training.ema import average_into, average_of, ema_decay


def network(seed: int) -> nn.Module:
    """Two layers whose every parameter differs from every other."""
    layers = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.Linear(2, 1))
    for parameter in layers.parameters():
        nn.init.normal_(parameter, generator=generator(seed, "ema", parameter.numel()))
    return layers


@pytest.mark.parametrize("batch_size", [1, 8, 500, 1000])
def test_half_of_the_old_average_is_left_after_a_half_life_at_any_batch_size(batch_size):
    left, seen = 1.0, 10**6
    for _ in range(1000 // batch_size):
        seen += batch_size
        left *= ema_decay(seen, batch_size, 1000, ramp=0.05)
    assert left == pytest.approx(0.5, rel=1e-9)


def test_early_on_the_half_life_is_a_share_of_the_images_seen():
    """Karras et al. 2022, appendix F.6: min(half-life, ramp * images seen)."""
    assert ema_decay(1000, 100, 10_000, ramp=0.05) == pytest.approx(0.5 ** (100 / 50))
    assert ema_decay(200_000, 100, 10_000, ramp=0.05) == pytest.approx(0.5 ** (100 / 10_000))
    assert ema_decay(400_000, 100, 10_000, ramp=0.05) == pytest.approx(0.5 ** (100 / 10_000))


def test_the_first_random_weights_are_forgotten_at_once():
    assert ema_decay(128, 128, 500_000, ramp=0.05) == pytest.approx(0.5**20)


def test_a_half_life_of_nothing_keeps_the_newest_weights():
    assert ema_decay(1000, 100, 0, ramp=0.05) == 0.0
    average, newest = average_of(network(0)), network(1)
    average_into(average, newest, 0.0)
    for a, b in zip(average.parameters(), newest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_parameter_is_the_weighted_sum_of_all_that_it_was():
    decays, networks = [0.9, 0.5, 0.99, 0.7], [network(seed) for seed in range(5)]
    average = average_of(networks[0])
    for decay, newest in zip(decays, networks[1:], strict=True):
        average_into(average, newest, decay)
    weights = [math.prod(decays), *((1 - d) * math.prod(decays[n + 1 :]) for n, d in enumerate(decays))]
    assert sum(weights) == pytest.approx(1)
    for name, found in average.named_parameters():
        history = [dict(each.named_parameters())[name] for each in networks]
        expected = sum(w * parameter for w, parameter in zip(weights, history, strict=True))
        torch.testing.assert_close(found, expected.detach())


def test_the_average_is_a_copy_that_never_learns_nor_drops_out():
    trained = network(0)
    average = average_of(trained)
    before = [parameter.clone() for parameter in average.parameters()]
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), before, strict=True))
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not any(module.training for module in average.modules())
    assert trained.training
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_averaging_leaves_the_trained_network_and_its_gradients_alone():
    trained, average = network(0), average_of(network(1))
    trained(torch.ones(4, 3)).sum().backward()
    before = [(parameter.clone(), parameter.grad.clone()) for parameter in trained.parameters()]
    average_into(average, trained, 0.5)
    for parameter, (value, gradient) in zip(trained.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, gradient)

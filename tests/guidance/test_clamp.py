"""The clamp keeps estimates in their range, image by image, and touches nothing that is in it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.diffusion.oracles import MixtureOracle
from noisette.guidance.clamp import clamp
from noisette.guidance.free import free

SIGMA = 0.8
LABEL = torch.tensor([0, 1, -1])
NOISY = 3 * torch.randn(3, 2, 5, 5, generator=generator(0, "clamp"), dtype=torch.float64)
SCALE = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64).reshape(3, 1, 1, 1)
"""The first image of `spread` stays in range, the last leaves it by far: each image has its own threshold."""


def spread(noisy: Tensor, noise_level: float, label: Tensor) -> Tensor:
    return SCALE * torch.tanh(noisy)


def test_a_wide_clamp_is_bit_for_bit_no_clamp():
    oracle = MixtureOracle([-0.5, 0.7], [0.6, 0.5], [0.4, 0.6])
    assert torch.equal(clamp(oracle, 100.0)(NOISY, SIGMA, LABEL), oracle(NOISY, SIGMA, LABEL))
    assert torch.equal(clamp(oracle, 100.0, 0.99)(NOISY, SIGMA, LABEL), oracle(NOISY, SIGMA, LABEL))


@pytest.mark.parametrize("limit", [0.1, 1.0, 2.5])
def test_a_static_clamp_clips_each_value(limit):
    expected = spread(NOISY, SIGMA, LABEL).apply_(lambda value: min(max(value, -limit), limit))
    assert torch.equal(clamp(spread, limit)(NOISY, SIGMA, LABEL), expected)


@pytest.mark.parametrize("limit", [1.0, 0.5])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995])
def test_dynamic_threshold_of_saharia_2022(limit, quantile):
    found = clamp(spread, limit, quantile)(NOISY, SIGMA, LABEL)
    for image, clamped in zip(spread(NOISY, SIGMA, LABEL).numpy(), found, strict=True):
        s = max(limit, float(np.quantile(np.abs(image), quantile)))
        expected = torch.from_numpy(np.clip(image, -s, s) / s * limit)
        torch.testing.assert_close(clamped, expected, rtol=1e-12, atol=1e-12)
    assert float(found.abs().max()) <= limit * (1 + 1e-12)
    assert torch.equal(found[0], spread(NOISY, SIGMA, LABEL)[0])


def test_the_clamp_composes_with_guidance_and_comes_last():
    oracle = MixtureOracle([-0.5, 0.7], [0.6, 0.5], [0.4, 0.6])
    composed = clamp(free(oracle, 9.0), 0.9)(NOISY, SIGMA, LABEL)
    expected = free(oracle, 9.0)(NOISY, SIGMA, LABEL).clamp(-0.9, 0.9)
    assert torch.equal(composed, expected)
    assert not torch.equal(composed, free(clamp(oracle, 0.9), 9.0)(NOISY, SIGMA, LABEL))


def test_the_clamp_hands_on_what_it_is_given():
    seen = []
    clamp(lambda *given: seen.append(given) or given[0])(NOISY, SIGMA, LABEL)
    ((noisy, noise_level, label),) = seen
    assert noisy is NOISY
    assert noise_level == SIGMA
    assert label is LABEL


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(Refusal, match="clamp limit"):
        clamp(spread, limit)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5, math.nan])
def test_a_quantile_that_is_not_a_share_is_refused(quantile):
    with pytest.raises(Refusal, match="clamp quantile"):
        clamp(spread, 1.0, quantile)

"""Steering is its formula with the exact Jacobian, and nothing at all where it should be nothing."""

import math

import pytest
import torch
from torch import nn

from noisette.base.errors import Refusal
from noisette.base.seeds import ImageNoise, generator
from noisette.base.shapes import NO_CLASS
from noisette.diffusion.noise import LevelRange, grid, level_table
from noisette.diffusion.oracles import GaussianOracle, MixtureOracle
from noisette.diffusion.precondition import PRECONDITIONS, denoiser
from noisette.diffusion.sample import sample, start_image
from noisette.diffusion.samplers import SAMPLERS, make_sampler
from noisette.guidance.clamp import clamp
from noisette.guidance.free import free
from noisette.guidance.steer import steer

SIGMA = 0.8
LABEL = torch.tensor([0, 1, NO_CLASS, 1, 0])
NOTHING = torch.full((5,), NO_CLASS)
NOISY = torch.randn(5, 1, 2, 3, generator=generator(0, "steer"), dtype=torch.float64)
WEIGHT = torch.tensor([[[0.5, -1.0, 2.0], [0.0, 0.3, -0.7]]], dtype=torch.float64)  # w, [C, H, W]
MIXTURE = MixtureOracle([-0.5, 0.7], [0.6, 0.5], [0.4, 0.6])


def linear(images, labels):
    """log p(asked | image) = w . image, up to a constant."""
    return (images * WEIGHT).sum((1, 2, 3))


def variance(oracle, noisy, sigma, label):
    """Var[clean | noisy] of a mixture's pixels, which is sigma^2 times the Jacobian of its denoiser: that of each
    component, and that of the components' means."""
    signal = oracle.variances
    total = signal + sigma**2
    each = (signal * noisy[..., None] + sigma**2 * oracle.means) / total
    density = oracle.weights / total.sqrt() * (-((noisy[..., None] - oracle.means) ** 2) / (2 * total)).exp()
    for row, asked in enumerate(label.tolist()):
        density[row, ..., [k for k in range(2) if asked not in (NO_CLASS, k)]] = 0
    share = density / density.sum(-1, keepdim=True)
    mean = (share * each).sum(-1)
    return (share * (signal * sigma**2 / total + (each - mean[..., None]) ** 2)).sum(-1)


# The proofs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("sigma", [0.01, 0.8, 40.0])
def test_a_gaussian_under_a_linear_judge_is_the_gaussian_whose_mean_moved(scale, sigma):
    """N(mean, s^2) times exp(scale w x) is N(mean + scale s^2 w, s^2)."""
    found = steer(GaussianOracle(0.3, 0.5), linear, scale)(NOISY, sigma, LABEL)
    shift = scale * 0.5**2 * WEIGHT
    expected = GaussianOracle(0.3, 0.5)(NOISY - shift, sigma) + shift
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_its_samples_have_the_mean_that_moved_and_the_variance_unchanged(name):
    levels, shift = grid(level_table("karras", 12, LevelRange())), 0.5**2 * WEIGHT
    noise, plain = (ImageNoise(0, "steer", range(3000), (1, 2, 3)) for _ in range(2))
    label, found = torch.zeros(3000, dtype=torch.int64), {}
    for key, stream, denoise in (
        ("steered", noise, steer(GaussianOracle(0.3, 0.5), linear, 1.0)),
        ("plain", plain, GaussianOracle(0.3, 0.5)),
    ):
        start = start_image(stream.draw().double(), levels[0], unit_start=False)
        *_, last = sample(denoise, make_sampler(name), levels, start, label, stream.draw)
        found[key] = last.denoised
    # Of the same noise: exactly the shift, but for what the first level does not know of the data's mean.
    torch.testing.assert_close(found["steered"] - found["plain"], shift.expand(3000, -1, -1, -1), rtol=0, atol=0.01)
    torch.testing.assert_close(found["steered"].mean(0), 0.3 + shift, rtol=0, atol=4 * 0.5 / math.sqrt(3000) + 0.01)
    torch.testing.assert_close(found["steered"].std(0), found["plain"].std(0), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("label", [LABEL, NOTHING], ids=["labelled", "without labels"])
def test_on_a_mixture_each_evaluation_has_the_analytic_jacobian(scale, label):
    found = steer(MIXTURE, linear, scale)(NOISY, SIGMA, label)
    expected = MIXTURE(NOISY, SIGMA, label) + scale * variance(MIXTURE, NOISY, SIGMA, label) * WEIGHT
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_judge_is_asked_about_the_estimate_and_the_label():
    """log p = -|x - target of the label|^2 / 2, whose gradient at the estimate is what it lacks to the target."""
    target = torch.tensor([1.0, -1.0, 0.25], dtype=torch.float64)[LABEL].reshape(-1, 1, 1, 1)

    def judge(images, labels):
        assert torch.equal(labels, LABEL)
        return -((images - target) ** 2).sum((1, 2, 3)) / 2

    denoised = MIXTURE(NOISY, SIGMA, LABEL)
    expected = denoised + variance(MIXTURE, NOISY, SIGMA, LABEL) * (target - denoised)
    torch.testing.assert_close(steer(MIXTURE, judge, 1.0)(NOISY, SIGMA, LABEL), expected, rtol=1e-12, atol=1e-12)


def test_it_composes_with_guidance_within_and_the_clamp_around_it():
    guided = free(MIXTURE, 3.0)
    both = [variance(MIXTURE, NOISY, SIGMA, label) for label in (LABEL, NOTHING)]
    jacobian = 3.0 * both[0] - 2.0 * both[1]
    expected = guided(NOISY, SIGMA, LABEL) + jacobian * WEIGHT
    torch.testing.assert_close(steer(guided, linear, 1.0)(NOISY, SIGMA, LABEL), expected, rtol=1e-12, atol=1e-12)
    composed = clamp(steer(guided, linear, 1.0), 0.9)(NOISY, SIGMA, LABEL)
    torch.testing.assert_close(composed, expected.clamp(-0.9, 0.9), rtol=1e-12, atol=1e-12)
    assert float((composed - steer(clamp(guided, 0.9), linear, 1.0)(NOISY, SIGMA, LABEL)).abs().max()) > 0.1


# Where it is nothing ------------------------------------------------------------------------------


def never(images, labels):
    raise AssertionError("the judge is asked for nothing")


@pytest.mark.parametrize(
    ("scale", "interval"), [(0.0, (0.0, math.inf)), (2.0, (0.81, math.inf)), (2.0, (0.0, 0.79)), (0.0, (0.81, 1.0))]
)
def test_at_scale_0_and_outside_its_interval_it_is_bit_for_bit_the_denoiser(scale, interval):
    assert torch.equal(steer(MIXTURE, never, scale, interval)(NOISY, SIGMA, LABEL), MIXTURE(NOISY, SIGMA, LABEL))


@pytest.mark.parametrize("interval", [(0.8, 1.0), (0.5, 0.8), (0.8, math.inf)])
def test_the_ends_of_its_interval_are_included(interval):
    found = steer(MIXTURE, linear, 1.0, interval)(NOISY, SIGMA, LABEL)
    assert torch.equal(found, steer(MIXTURE, linear, 1.0)(NOISY, SIGMA, LABEL))


def test_a_large_correction_is_shortened_image_by_image():
    """The first image's judge is ten times as loud as the others'."""
    loud = torch.tensor([10.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)

    def judge(images, labels):
        return loud * linear(images, labels)

    def correction(limit):
        return steer(MIXTURE, judge, 1.0, limit=limit)(NOISY, SIGMA, LABEL) - MIXTURE(NOISY, SIGMA, LABEL)

    whole = correction(math.inf)
    size = whole.square().mean((1, 2, 3)).sqrt()
    limit = float(size[1:].max()) * 1.01
    assert limit < float(size[0]) / 2
    cut = correction(limit)
    torch.testing.assert_close(cut[1:], whole[1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cut[0], whole[0] * limit / size[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limit", [0.5, math.inf])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_correction_that_is_not_finite_is_left_out_and_the_other_images_keep_theirs(limit, value):
    factor = torch.ones_like(NOISY)
    factor[3, 0, 1, 2] = value  # one pixel spoils its image
    found = steer(MIXTURE, lambda images, labels: linear(factor * images, labels), 1.0, limit=limit)
    expected = steer(MIXTURE, linear, 1.0, limit=limit)(NOISY, SIGMA, LABEL)
    expected[3] = MIXTURE(NOISY, SIGMA, LABEL)[3]
    torch.testing.assert_close(found(NOISY, SIGMA, LABEL), expected, rtol=1e-12, atol=1e-12)


# Networks -----------------------------------------------------------------------------------------


class Heeding(nn.Module):
    """A network that heeds its input, the level and the label."""

    def __init__(self):
        super().__init__()
        self.mix, self.table = nn.Linear(3, 3), nn.Embedding(3, 3)

    def forward(self, x, clock, label):
        return torch.tanh(self.mix(x) + clock[:, None, None, None] + self.table(label + 1)[:, None, None])


def test_it_works_under_inference_mode_and_without_gradients_alike():
    torch.manual_seed(0)
    network = Heeding().double().requires_grad_(False)
    denoise = steer(denoiser(network, PRECONDITIONS["edm"], 0.5), linear, 1.0, (0.1, 10.0))
    expected = denoise(NOISY, SIGMA, LABEL)
    assert not expected.requires_grad
    with torch.no_grad():
        assert torch.equal(denoise(NOISY, SIGMA, LABEL), expected)
    with torch.inference_mode():
        noisy, label = NOISY * 1, LABEL * 1  # made here: they may take no part in a gradient themselves
        assert noisy.is_inference()
        assert torch.equal(denoise(noisy, SIGMA, label), expected)
        assert torch.is_inference_mode_enabled()
    plain = denoiser(network, PRECONDITIONS["edm"], 0.5)
    assert torch.equal(denoise(NOISY, 20.0, LABEL), plain(NOISY, 20.0, LABEL))


def test_no_gradient_is_left_in_the_network():
    network = Heeding().double()
    steer(denoiser(network, PRECONDITIONS["edm"], 0.5), linear, 1.0)(NOISY, SIGMA, LABEL)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("scale", [-0.5, math.inf, math.nan])
def test_a_negative_or_endless_scale_is_refused(scale):
    with pytest.raises(Refusal, match="steering scale"):
        steer(MIXTURE, linear, scale)


@pytest.mark.parametrize("interval", [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_an_empty_interval_is_refused(interval):
    with pytest.raises(Refusal, match="steering interval"):
        steer(MIXTURE, linear, 2.0, interval)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(Refusal, match="steering limit"):
        steer(MIXTURE, linear, 2.0, limit=limit)

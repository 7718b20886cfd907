"""Classifier-free guidance is its formula, and nothing at all where it should be nothing."""

import math

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.base.shapes import NO_CLASS, NO_CLASS_NO_ATTENTION
from noisette.diffusion.oracles import DatasetOracle, MixtureOracle
from noisette.guidance.free import free

SIGMA = 0.8
LABEL = torch.tensor([0, 1, NO_CLASS, 1, 0])
NOTHING = torch.full((5,), NO_CLASS)
NOISY = torch.randn(5, 1, 2, 3, generator=generator(0, "free"), dtype=torch.float64)

ORACLES = {
    "mixture": MixtureOracle([-0.5, 0.7], [0.6, 0.5], [0.4, 0.6]),
    "dataset": DatasetOracle(
        torch.randn(6, 1, 2, 3, generator=generator(1, "free"), dtype=torch.float64),
        torch.tensor([0, 0, 0, 1, 1, 1]),
    ),
}
EVERY_ORACLE = pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES)


class Counted:
    """A denoiser that writes down how many images each of its calls held, and their labels."""

    def __init__(self, denoise) -> None:
        self.denoise, self.calls = denoise, []

    def __call__(self, noisy: Tensor, noise_level: float, label: Tensor) -> Tensor:
        assert len(noisy) == len(label)
        self.calls.append(label.tolist())
        return self.denoise(noisy, noise_level, label)


@EVERY_ORACLE
def test_scale_1_is_bit_for_bit_the_conditional_denoiser_at_one_evaluation(oracle):
    counted = Counted(oracle)
    assert torch.equal(free(counted, 1.0)(NOISY, SIGMA, LABEL), oracle(NOISY, SIGMA, LABEL))
    assert counted.calls == [LABEL.tolist()]


@EVERY_ORACLE
@pytest.mark.parametrize("label", [LABEL, torch.tensor([1, 1, 0, 1, 0])], ids=["mixed", "all labelled"])
def test_scale_0_is_bit_for_bit_the_unconditional_denoiser_at_one_evaluation(oracle, label):
    counted = Counted(oracle)
    assert torch.equal(free(counted, 0.0)(NOISY, SIGMA, label), oracle(NOISY, SIGMA, NOTHING))
    assert counted.calls == [NOTHING.tolist()]


@EVERY_ORACLE
@pytest.mark.parametrize("scale", [0.5, 2.0, 7.5])
def test_ho_salimans_formula_in_one_batch(oracle, scale):
    """unconditional + scale (conditional - unconditional), image by image, whatever its label."""
    counted = Counted(oracle)
    guided = free(counted, scale)(NOISY, SIGMA, LABEL)
    conditional, unconditional = oracle(NOISY, SIGMA, LABEL), oracle(NOISY, SIGMA, NOTHING)
    assert float((conditional - unconditional).abs().max()) > 0.1
    expected = (1 - scale) * unconditional + scale * conditional
    torch.testing.assert_close(guided, expected, rtol=1e-12, atol=1e-12)
    assert [len(call) for call in counted.calls] == [10]


@EVERY_ORACLE
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_an_image_without_a_label_is_left_as_it_is(oracle, scale):
    guided = free(oracle, scale)(NOISY, SIGMA, LABEL)
    expected = oracle(NOISY[2:3], SIGMA, NOTHING[:1])
    torch.testing.assert_close(guided[2:3], expected, rtol=1e-12, atol=1e-12)


@EVERY_ORACLE
@pytest.mark.parametrize("scale", [0.0, 2.0])
@pytest.mark.parametrize(
    ("interval", "inside"),
    [
        ((0.5, 1.0), True),
        ((0.8, 1.0), True),  # ends are included
        ((0.5, 0.8), True),
        ((0.81, math.inf), False),
        ((0.0, 0.79), False),
    ],
)
def test_outside_its_interval_guidance_is_the_conditional_denoiser_alone(oracle, interval, inside, scale):
    counted = Counted(oracle)
    guided = free(counted, scale, interval)(NOISY, SIGMA, LABEL)
    alone = oracle(NOISY, SIGMA, LABEL)
    if inside:
        torch.testing.assert_close(guided, free(oracle, scale)(NOISY, SIGMA, LABEL), rtol=0, atol=0)
        assert not torch.allclose(guided, alone)
    else:
        assert torch.equal(guided, alone)
        assert counted.calls == [LABEL.tolist()]


def test_what_it_leads_away_from_is_asked_for_by_its_label():
    counted = Counted(lambda noisy, noise_level, label: noisy * (label + 5)[:, None, None, None])
    guided = free(counted, 3.0, away_from=NO_CLASS_NO_ATTENTION)(NOISY, SIGMA, LABEL)
    assert counted.calls == [[*LABEL.tolist(), *[NO_CLASS_NO_ATTENTION] * 5]]
    torch.testing.assert_close(guided, NOISY * (3 + 3 * (LABEL + 2))[:, None, None, None])


@pytest.mark.parametrize("scale", [-0.5, math.inf, math.nan])
def test_a_negative_or_endless_scale_is_refused(scale):
    with pytest.raises(Refusal, match="guidance scale"):
        free(ORACLES["mixture"], scale)


@pytest.mark.parametrize("interval", [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_an_empty_interval_is_refused(interval):
    with pytest.raises(Refusal, match="guidance interval"):
        free(ORACLES["mixture"], 2.0, interval)

"""The loss is the weighted error of the denoiser; levels come from the distribution that is asked for."""

import math

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.diffusion.noise import LevelRange
from noisette.diffusion.objective import (
    LOSS_WEIGHTS,
    DiffusionConfig,
    Objective,
    trained_range,
    training_levels,
)
from noisette.diffusion.oracles import DatasetOracle
from noisette.diffusion.precondition import PRECONDITIONS, denoiser

STD = 0.5
B = 28  # equal to the width, so that a level or a weight along the wrong axis shows
LABEL = torch.arange(B) % 10
WEIGHTS = {
    "noise": lambda sigma: 1 / sigma**2,
    "min-snr": lambda sigma: min(1 / sigma**2, 5.0),
    "edm": lambda sigma: (sigma**2 + STD**2) / (sigma * STD) ** 2,
}


def network(x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
    """Nonlinear in the image, in the clock and in the label, each image by its own."""
    clock, kind = (values[:, None, None, None].to(x) for values in (c_noise, label))
    return torch.tanh(1.3 * x + clock) + 0.1 * torch.sin(kind + x)


def draw(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Clean images, unit noise, and a level for each."""
    chance = generator(0, "objective")
    clean, noise = torch.randn(2, B, 1, 2, B, generator=chance, dtype=dtype)
    return STD * clean, noise, torch.logspace(-2, 1.5, B, dtype=dtype)


def objective(parameterisation: str = "edm", loss_weight: str = "edm") -> Objective:
    return Objective(DiffusionConfig(parameterisation=parameterisation, loss_weight=loss_weight, data_std=STD))


# --- the loss


def test_every_weight_is_proved():
    assert set(WEIGHTS) == set(LOSS_WEIGHTS)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("row", PRECONDITIONS)
def test_loss_is_the_weighted_squared_error_of_the_denoiser(row, weight):
    clean, noise, sigma = draw()
    found = objective(row, weight).per_image_loss(network, clean, LABEL, sigma, noise)
    denoise = denoiser(network, PRECONDITIONS[row], STD)
    assert found.shape == (B,)
    for one in range(B):
        level, only = float(sigma[one]), slice(one, one + 1)
        denoised = denoise(clean[only] + level * noise[only], level, LABEL[only])
        error = float(((denoised - clean[only]) ** 2).mean())
        assert float(found[one]) == pytest.approx(WEIGHTS[weight](level) * error, rel=1e-9)


def test_noise_weight_on_noise_prediction_is_the_plain_mse_of_the_noise():
    clean, noise, sigma = draw(torch.float32)
    found = objective("noise", "noise").per_image_loss(network, clean, LABEL, sigma, noise)
    alpha_bar = (1 / (1 + sigma**2))[:, None, None, None]
    chain_image = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
    plain = (network(chain_image, sigma.log() / 4, LABEL) - noise).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-6)


def test_edm_weight_on_edm_prediction_is_the_plain_mse_of_the_target():
    """Karras et al. 2022, table 1: lambda c_out^2 = 1, so that no level outweighs another at birth."""
    clean, noise, sigma = draw()
    at_birth = objective("edm", "edm").per_image_loss(lambda x, *_: torch.zeros_like(x), clean, LABEL, sigma, noise)
    total = (sigma**2 + STD**2)[:, None, None, None]
    target = (column(sigma) * clean / STD - STD * noise) / total.sqrt()
    torch.testing.assert_close(at_birth, target.square().mean(dim=(1, 2, 3)))


def column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("row", PRECONDITIONS)
def test_the_network_of_an_exact_denoiser_has_no_loss(row, weight):
    clean, noise, sigma = draw()
    oracle = DatasetOracle(clean[:1])
    c_skip, c_out, c_in, _ = (column(c) for c in PRECONDITIONS[row](sigma, STD))

    def exact(x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        noisy = x / c_in
        return (oracle(noisy, 1.0, label) - c_skip * noisy) / c_out

    loss = objective(row, weight).per_image_loss(exact, clean[:1].expand_as(clean), LABEL, sigma, noise)
    assert float(loss.max()) < 1e-18


def test_half_precision_output_is_compared_in_full_precision():
    clean, noise, sigma = draw(torch.float32)
    loss = objective().per_image_loss(lambda x, *_: x.bfloat16(), clean, LABEL, sigma, noise)
    assert loss.dtype == torch.float32


def test_an_objective_needs_the_standard_deviation_of_the_data():
    with pytest.raises(Refusal, match="data_std left open"):
        Objective(DiffusionConfig())


# --- the levels


def test_table_levels_hit_every_entry_equally_often_and_nothing_else():
    config = DiffusionConfig(schedule="linear", table_steps=50, training_levels="table")
    u = (torch.arange(50 * 7) + 0.5) / (50 * 7)
    levels, counts = training_levels(config)(u).unique(return_counts=True)
    assert counts.tolist() == [7] * 50
    torch.testing.assert_close(levels, config.table().flip(0).float(), rtol=0, atol=0)


def test_table_levels_reach_both_ends():
    config = DiffusionConfig(schedule="linear", table_steps=1000, training_levels="table")
    below_one = torch.tensor([0.0, 1 - 2**-24])  # the largest float32 below 1
    first, last = training_levels(config)(below_one).tolist()
    assert (first, last) == pytest.approx((float(config.table()[0]), float(config.table()[-1])))
    assert training_levels(config)(torch.ones(1)).tolist() == [last]  # rounding may yield 1


def test_log_normal_levels_have_the_quantiles_of_ln_sigma():
    config = DiffusionConfig(training_levels="log-normal", noise_log_mean=-1.2, noise_log_std=1.3)
    shares = torch.special.ndtr(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64))
    found = training_levels(config)(shares).log().tolist()
    assert found == pytest.approx([-1.2 + 1.3 * z for z in (-2, -1, 0, 1, 2)], rel=1e-9)
    ends = training_levels(config)(torch.tensor([0.0, 1.0]))
    assert bool(ends.isfinite().all())
    assert bool((ends > 0).all())


def test_log_snr_levels_are_uniform_in_ln_sigma():
    within = LevelRange(noise_level_min=0.01, noise_level_max=100.0)
    config = DiffusionConfig(training_levels="log-snr", levels=within)
    levels = training_levels(config)(torch.linspace(0, 1, 5, dtype=torch.float64))
    assert levels.log10().tolist() == pytest.approx([-2, -1, 0, 1, 2], abs=1e-12)


def test_levels_come_in_the_precision_of_the_uniform_numbers():
    for kind in ("table", "log-normal", "log-snr"):
        draw_levels = training_levels(DiffusionConfig(training_levels=kind))
        for dtype in (torch.float32, torch.float64):
            assert draw_levels(torch.full((3,), 0.5, dtype=dtype)).dtype == dtype


def test_the_trained_range_is_the_tables_where_levels_come_from_it():
    table = DiffusionConfig(schedule="linear", table_steps=100, training_levels="table")
    alpha_bar = math.prod(1 - (1e-4 + (0.02 - 1e-4) * t / 99) for t in range(100))
    low, high = trained_range(table)
    assert (low, high) == pytest.approx((math.sqrt(1 / (1 - 1e-4) - 1), math.sqrt(1 / alpha_bar - 1)))
    within = LevelRange(noise_level_min=0.01, noise_level_max=70.0)
    assert trained_range(DiffusionConfig(levels=within)) == (0.01, 70.0)


# --- the configuration


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parameterisation": "nois"}, r"unknown parameterisation 'nois'.*did you mean 'noise'"),
        ({"loss_weight": "minsnr"}, r"unknown loss weight 'minsnr'.*did you mean 'min-snr'"),
        ({"schedule": "karas"}, r"unknown schedule 'karas'.*did you mean 'karras'"),
        ({"table_steps": 0}, "0 steps: expected at least 1"),
        ({"noise_log_std": 0.0}, "noise_log_std 0.0"),
        ({"snr_gamma": -1.0}, "snr_gamma -1.0"),
        ({"data_std": 0.0}, "data_std 0.0"),
    ],
)
def test_a_bad_configuration_is_refused(wrong, message):
    with pytest.raises(Refusal, match=message):
        DiffusionConfig(**wrong)


def test_an_unknown_kind_of_training_levels_is_refused():
    config = DiffusionConfig()
    object.__setattr__(config, "training_levels", "logsnr")  # the tests' type checker would refuse it first
    with pytest.raises(Refusal, match=r"unknown training_levels 'logsnr'.*did you mean 'log-snr'"):
        config.__post_init__()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid", "karras", "log-linear", "flow"])
def test_the_discrete_chains_are_linear_cosine_and_sigmoid(schedule):
    assert DiffusionConfig(schedule=schedule).is_chain() == (schedule in ("linear", "cosine", "sigmoid"))

"""Schedules make the tables that their papers give; the forward process has the law that its levels say."""

import math
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.diffusion.noise import (
    BETA_SCHEDULES,
    SCHEDULES,
    LevelRange,
    add_noise,
    betas_to_levels,
    forward_step,
    grid,
    level_table,
    levels_to_betas,
    per_image,
    pick,
    scaled,
    signal_left,
    unit_variance,
)

RANGE = LevelRange()
LEVELS = [0.0, *level_table("linear", 100, RANGE).flip(0).tolist()]
"""The laboratory's chain from the clean image up to its last level."""


def betas_of(schedule: str, steps: int, within: LevelRange = RANGE) -> Tensor:
    return levels_to_betas(level_table(schedule, steps, within))


def assert_near(found: Tensor, expected: Tensor, rtol: float) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=0)


# --- schedules


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 1000])
def test_every_table_falls_strictly_between_finite_positive_levels(schedule, steps):
    table = SCHEDULES[schedule](steps, RANGE)
    assert table.shape == (steps,)
    assert table.dtype == torch.float64
    assert bool(table.isfinite().all())
    assert bool((table > 0).all())
    assert bool((table.diff() < 0).all())


@given(st.lists(st.floats(1e-5, 0.999), min_size=1, max_size=60))
def test_betas_to_levels_and_back(betas):
    betas = torch.tensor(betas, dtype=torch.float64)
    levels = betas_to_levels(betas)
    assert_near(levels_to_betas(levels), betas, rtol=1e-9)
    assert_near(betas_to_levels(levels_to_betas(levels)), levels, rtol=1e-9)


def test_levels_are_those_of_alpha_bar():
    betas = torch.tensor([0.1, 0.5], dtype=torch.float64)
    levels = betas_to_levels(betas).tolist()
    assert levels == pytest.approx([math.sqrt(1 / (0.9 * 0.5) - 1), math.sqrt(1 / 0.9 - 1)], rel=1e-12)


@pytest.mark.parametrize(("steps", "alpha_bar"), [(100, 0.364), (300, 0.048), (500, 0.00635)])
def test_linear_ends_where_its_closed_form_says(steps, alpha_bar):
    last = level_table("linear", steps, RANGE)[0]
    closed_form = math.prod(1 - (1e-4 + (0.02 - 1e-4) * t / (steps - 1)) for t in range(steps))
    assert float(1 / (1 + last**2)) == pytest.approx(closed_form, rel=1e-12)
    assert closed_form == pytest.approx(alpha_bar, rel=5e-3)


def test_linear_equals_diffusers():
    theirs = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    assert_near(betas_of("linear", 1000), theirs.betas, rtol=1e-6)
    alpha_bar = 1 / (1 + level_table("linear", 1000, RANGE).flip(0) ** 2)
    assert_near(alpha_bar, theirs.alphas_cumprod, rtol=1e-4)  # theirs is a product of 1000 float32 numbers


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_cosine_equals_diffusers(steps):
    assert_near(betas_of("cosine", steps), betas_for_alpha_bar(steps), rtol=1e-6)


def test_cosine_of_1000_ends_near_20000():
    assert float(level_table("cosine", 1000, RANGE)[0]) == pytest.approx(20_291, rel=1e-3)


def test_sigmoid_equals_chen_2023_algorithm_1():
    def gamma(t: float, start: float = -3, end: float = 3, tau: float = 1) -> float:
        v_start, v_end = (1 / (1 + math.exp(-edge / tau)) for edge in (start, end))
        return (v_end - 1 / (1 + math.exp(-(t * (end - start) + start) / tau))) / (v_end - v_start)

    betas = [min(1 - gamma((t + 1) / 50) / gamma(t / 50), 0.999) for t in range(50)]
    assert_near(betas_of("sigmoid", 50), torch.tensor(betas, dtype=torch.float64), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"), [("karras", "use_karras_sigmas"), ("log-linear", "use_exponential_sigmas")]
)
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_karras_and_log_linear_equal_diffusers(ours, theirs, steps):
    scheduler = diffusers.EulerDiscreteScheduler(sigma_min=0.002, sigma_max=80.0, **{theirs: True})
    scheduler.set_timesteps(steps)
    assert_near(level_table(ours, steps, RANGE), scheduler.sigmas[:-1], rtol=1e-6)


def test_karras_bends_by_rho():
    within = LevelRange(noise_level_min=1.0, noise_level_max=9.0, rho=2.0)
    assert level_table("karras", 3, within).tolist() == pytest.approx([9.0, 4.0, 1.0])  # squares of 3, 2, 1


def test_flow_is_evenly_spaced_in_its_time():
    table = level_table("flow", 11, RANGE)
    t = table / (1 + table)
    assert_near(t.diff(), ((t[-1] - t[0]) / 10).expand(10), rtol=1e-9)
    assert (float(table[0]), float(table[-1])) == pytest.approx((80.0, 0.002))


@pytest.mark.parametrize("schedule", sorted(set(SCHEDULES) - set(BETA_SCHEDULES)))
def test_a_table_of_levels_keeps_the_ends_of_its_range(schedule):
    table = level_table(schedule, 5, LevelRange(noise_level_min=0.1, noise_level_max=3.0))
    assert (float(table[0]), float(table[-1])) == pytest.approx((3.0, 0.1))


def test_an_unknown_schedule_is_refused_with_the_nearest_name():
    with pytest.raises(Refusal, match=r"unknown schedule 'cosin'.*did you mean 'cosine'"):
        level_table("cosin", 10, RANGE)


def test_a_table_of_no_steps_is_refused():
    with pytest.raises(Refusal, match="0 steps: expected at least 1"):
        level_table("linear", 0, RANGE)


def test_a_table_that_reaches_infinity_is_refused():
    with pytest.raises(Refusal, match="does not fall strictly"):
        level_table("flow", 10, LevelRange(noise_level_max=1e300))


@pytest.mark.parametrize(
    "wrong",
    [
        {"beta_start": 0.0},
        {"beta_start": 0.03},
        {"beta_end": 1.0},
        {"noise_level_min": 0.0},
        {"noise_level_min": 90.0},
        {"noise_level_max": math.inf},
        {"noise_level_max": math.nan},
        {"rho": 0.0},
    ],
)
def test_a_bad_range_is_refused(wrong):
    with pytest.raises(Refusal, match=next(iter(wrong))):
        LevelRange(**wrong)


# --- how much signal a chain leaves


@pytest.mark.parametrize(("steps", "left"), [(100, 0.364), (300, 0.048), (500, 0.00635)])
def test_the_signal_that_fixed_betas_leave(steps, left):
    assert signal_left(steps, RANGE) == pytest.approx(left, rel=0.01)


@pytest.mark.parametrize("steps", [20, 100, 300, 500, 1000])
def test_scaled_betas_leave_what_500_steps_leave(steps):
    within = scaled(steps, signal_left(500, RANGE), RANGE)
    assert signal_left(steps, within) == pytest.approx(signal_left(500, RANGE), rel=1e-9)
    assert within.beta_start / RANGE.beta_start == pytest.approx(within.beta_end / RANGE.beta_end)
    assert (within.beta_start > RANGE.beta_start) == (steps < 500) or steps == 500
    assert bool((level_table("linear", steps, within).diff() < 0).all())


# --- picking from a table


@given(st.integers(1, 200), st.data())
def test_picked_levels_are_the_noisiest_and_others_of_the_table_evenly_spaced(T, data):
    steps = data.draw(st.integers(1, T))
    table = torch.arange(T, 0, -1).double()  # the level is its own one-based time
    picked = pick(table, steps).tolist()
    assert len(picked) == steps
    assert picked[0] == T
    assert set(picked) <= set(table.tolist())
    assert all(abs(a - b - T / steps) <= 1 for a, b in pairwise(picked))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 50, 999, 1000])
def test_picking_is_the_trailing_spacing_of_diffusers(steps):
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert pick(torch.arange(999, -1, -1).double(), steps).tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [0, 11])
def test_picking_nothing_or_more_than_there_is_is_refused(steps):
    with pytest.raises(Refusal, match=f"{steps} sampling steps: expected 1 to 10"):
        pick(level_table("linear", 10, RANGE), steps)


def test_a_grid_is_the_table_and_then_zero():
    table = level_table("karras", 3, RANGE)
    assert grid(table) == [*(float(level) for level in table), 0.0]


# --- the forward process


def constant(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def test_forward_steps_have_the_mean_and_variance_of_adding_noise_at_once():
    mean, variance = 0.7, 0.0
    for sigma, sigma_next in pairwise(LEVELS):
        b = float(forward_step(constant(0.0), sigma, sigma_next, constant(0.0)))
        a = float(forward_step(constant(1.0), sigma, sigma_next, constant(0.0))) - b
        c = float(forward_step(constant(0.0), sigma, sigma_next, constant(1.0))) - b
        mean, variance = a * mean + b, a**2 * variance + c**2
        at_once = [
            float(add_noise(constant(0.7), torch.tensor([sigma_next], dtype=torch.float64), constant(noise)))
            for noise in (0.0, 1.0)
        ]
        assert mean == pytest.approx(at_once[0], rel=1e-12)
        assert variance == pytest.approx((at_once[1] - at_once[0]) ** 2, rel=1e-12)
        assert variance == pytest.approx(sigma_next**2, rel=1e-12)


def test_the_laboratory_chain_is_the_forward_process_seen_at_unit_variance():
    """x <- sqrt(1 - beta) x + sqrt(beta) noise, path by path with the same noise, and its closed form."""
    chance = generator(0, "chain")
    clean = torch.randn(2, 1, 3, 3, generator=chance, dtype=torch.float64)
    ours, lab, alpha_bar = clean, clean, 1.0
    betas = np.linspace(1e-4, 0.02, 100)
    for beta, (sigma, sigma_next) in zip(betas, pairwise(LEVELS), strict=True):
        noise = torch.randn(clean.shape, generator=chance, dtype=torch.float64)
        ours = forward_step(ours, sigma, sigma_next, noise)
        lab = math.sqrt(1 - beta) * lab + math.sqrt(beta) * noise
        alpha_bar *= 1 - beta
        torch.testing.assert_close(unit_variance(ours, sigma_next), lab, rtol=1e-10, atol=1e-12)
        at_once = unit_variance(add_noise(clean, torch.full((2,), sigma_next).double(), noise), sigma_next)
        closed_form = math.sqrt(alpha_bar) * clean + math.sqrt(1 - alpha_bar) * noise
        torch.testing.assert_close(at_once, closed_form, rtol=1e-6, atol=1e-6)


def test_simulated_chains_have_the_closed_form_moments_at_every_step():
    """Both chains, 20,000 paths of their own noise, in our coordinates: mean = clean, variance = sigma^2."""
    chance, count, clean = generator(0, "paths"), 20_000, 0.7
    ours = lab = torch.full((count, 1, 1, 1), clean, dtype=torch.float64)
    betas = np.linspace(1e-4, 0.02, 100)
    for beta, (sigma, sigma_next) in zip(betas, pairwise(LEVELS), strict=True):
        noise, other = torch.randn(2, count, 1, 1, 1, generator=chance, dtype=torch.float64)
        ours = forward_step(ours, sigma, sigma_next, noise)
        lab = math.sqrt(1 - beta) * lab + math.sqrt(beta) * other
        for noisy in (ours, lab * math.sqrt(1 + sigma_next**2)):
            assert abs(float(noisy.mean()) - clean) < 4.5 * sigma_next / math.sqrt(count)
            assert abs(float(noisy.var()) / sigma_next**2 - 1) < 4.5 * math.sqrt(2 / (count - 1))


def test_a_forward_step_downwards_is_refused():
    with pytest.raises(Refusal, match="a step upwards"):
        forward_step(constant(0.0), 1.0, 0.5, constant(0.0))


def test_each_image_gets_its_own_level_even_where_the_batch_is_as_large_as_the_width():
    chance = generator(0, "trap")
    clean, noise = torch.randn(2, 28, 1, 28, 28, generator=chance)
    levels = torch.linspace(0.1, 5, 28)
    noisy = add_noise(clean, levels, noise)
    for one in range(28):
        torch.testing.assert_close(noisy[one], clean[one] + float(levels[one]) * noise[one])


def test_levels_that_are_not_one_an_image_are_refused():
    with pytest.raises(ValueError, match="expected one level an image"):
        per_image(torch.ones(28), torch.ones(3, 1, 28, 28))

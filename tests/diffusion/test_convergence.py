"""Samplers are as accurate as they declare: the error falls as steps^-order on data whose answer is known.

The grids run from 5 to 0.1: a grid that ends at 0 hides the order behind its last step, a mere denoising.
"""

import math
from itertools import pairwise
from statistics import linear_regression

import pytest
import torch
from torch import Tensor

from noisette.base.seeds import generator
from noisette.diffusion.noise import LevelRange, grid, level_table, pick
from noisette.diffusion.oracles import GaussianOracle, MixtureOracle
from noisette.diffusion.sample import sample, start_image
from noisette.diffusion.samplers import SAMPLERS, WITH_ETA, Sampler, make_sampler

STEPS = (64, 128, 256, 512)
HIGH, LOW = 5.0, 0.1
MEAN, STD = 0.3, 0.5

DETERMINISTIC = [name for name in SAMPLERS if not make_sampler(name).draws_noise]
DRAWING = [make_sampler(name) for name in SAMPLERS if make_sampler(name).draws_noise]
ETAS = pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
SCHEDULES = pytest.mark.parametrize("schedule", ["log-linear", "karras"])


def levels_between(schedule: str, steps: int) -> list[float]:
    return level_table(schedule, steps + 1, LevelRange(noise_level_min=LOW, noise_level_max=HIGH)).tolist()


def measured_order(errors: list[float]) -> float:
    """The least-squares slope of ln error against ln(1/STEPS)."""
    return -linear_regression([math.log(n) for n in STEPS], [math.log(error) for error in errors]).slope


@SCHEDULES
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_is_the_declared_one_on_the_exact_flow_of_a_mixture(name, schedule):
    sampler = make_sampler(name)
    oracle = MixtureOracle([-1.0, 0.2, 1.1], [0.3, 0.2, 0.4], [0.3, 0.3, 0.4])
    start = torch.linspace(-12, 12, 9, dtype=torch.float64).reshape(-1, 1, 1, 1)
    exact = oracle.flow(start, HIGH, LOW)
    errors = []
    for steps in STEPS:
        x, memory = start, None
        for sigma, sigma_next in pairwise(levels_between(schedule, steps)):
            x, _, memory, _ = sampler.step(oracle, x, memory, sigma, sigma_next, None)
        errors.append(float((x - exact).abs().max()))
    assert measured_order(errors) == pytest.approx(sampler.order, abs=0.1)


def sampled_moments(sampler: Sampler, levels: list[float], mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance at the end of the grid, exactly: on Gaussian data a step takes the image x and the last
    estimate d, on which it may lean, to A (x, d) + b + c noise. A, b and c are measured from the step itself.
    """
    oracle = GaussianOracle(MEAN, STD)
    m = torch.tensor([mean, 0.0], dtype=torch.float64)
    C = torch.diag(torch.tensor([variance, 0.0], dtype=torch.float64))
    before = None

    def step(x: float, d: float, noise: float, pair: tuple[float, float]) -> Tensor:
        images = [torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (x, d, noise)]
        memory = None if before is None else (before, images[1])
        done = sampler.step(oracle, images[0], memory, *pair, images[2])
        return torch.stack([done.x, done.denoised]).flatten()

    for pair in pairwise(levels):
        b = step(0.0, 0.0, 0.0, pair)
        A = torch.stack([step(1.0, 0.0, 0.0, pair) - b, step(0.0, 1.0, 0.0, pair) - b], dim=1)
        c = step(0.0, 0.0, 1.0, pair) - b
        m, C, before = A @ m + b, A @ C @ A.T + torch.outer(c, c), pair[0]
    return float(m[0]), float(C[0, 0])


@SCHEDULES
@pytest.mark.parametrize(
    "sampler", [*DRAWING, *(make_sampler(name, eta) for name in WITH_ETA for eta in (0.0, 0.5, 1.0))]
)
def test_weak_order_is_the_declared_one_in_the_variance_of_a_gaussian(sampler, schedule):
    errors = []
    for steps in STEPS:
        levels = levels_between(schedule, steps)
        mean, variance = sampled_moments(sampler, levels, MEAN, STD**2 + HIGH**2)
        assert mean == pytest.approx(MEAN, abs=1e-12)
        errors.append(abs(variance - (STD**2 + LOW**2)))
    assert measured_order(errors) == pytest.approx(sampler.order, abs=0.1)


def chain_moments(levels: list[float], eta: float) -> tuple[float, float]:
    """Mean and variance that ancestral sampling ends with from N(0, 1), by the papers' own formulas.

    In the chain's coordinates: the posterior of Ho et al. 2020, eq. 6 and 7 for eta = 1, otherwise Song et
    al. 2020, eq. 12 with sigma_t = eta sqrt(posterior variance); the clean image is E[clean | x].
    """
    m, v = 0.0, 1.0
    for sigma, sigma_next in pairwise(levels):
        A, A_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)  # alpha_bar
        beta = 1 - A / A_next
        posterior = (1 - A_next) / (1 - A) * beta
        # E[clean | x] = p x + q, by Bayes' rule for x = sqrt(A) clean + sqrt(1 - A) noise
        p = math.sqrt(A) * STD**2 / (A * STD**2 + 1 - A)
        q = MEAN * (1 - A) / (A * STD**2 + 1 - A)
        if eta == 1:
            on_clean = math.sqrt(A_next) * beta / (1 - A)
            on_x = math.sqrt(1 - beta) * (1 - A_next) / (1 - A)
        else:
            on_noise = math.sqrt(1 - A_next - eta**2 * posterior)  # noise = (x - sqrt(A) clean)/sqrt(1 - A)
            on_clean = math.sqrt(A_next) - on_noise * math.sqrt(A / (1 - A))
            on_x = on_noise / math.sqrt(1 - A)
        a, b = on_x + on_clean * p, on_clean * q
        m, v = a * m + b, a**2 * v + eta**2 * posterior
    return m, v


@ETAS
@pytest.mark.parametrize("steps", [1, 5, 25, 1000])
def test_ancestral_steps_have_exactly_the_moments_of_their_chain(eta, steps):
    levels = grid(pick(level_table("linear", 1000, LevelRange()), steps))
    moments = sampled_moments(make_sampler("ddim", eta), levels, 0.0, 1 + levels[0] ** 2)
    assert moments == pytest.approx(chain_moments(levels, eta), rel=1e-9)


@ETAS
@pytest.mark.parametrize("steps", [5, 25])
def test_sampling_has_the_moments_of_its_chain_within_four_standard_errors(eta, steps):
    levels = grid(pick(level_table("linear", 1000, LevelRange()), steps))
    chance, shape = generator(0, "moments", steps), (1000, 1, 10, 10)

    def draw() -> Tensor:
        return torch.randn(shape, generator=chance)

    start = start_image(draw(), levels[0], unit_start=True)
    label = torch.full(shape[:1], -1)
    *_, last = sample(GaussianOracle(MEAN, STD), make_sampler("ddim", eta), levels, start, label, draw)
    count, (m, v) = start.numel(), chain_moments(levels, eta)
    assert abs(float(last.noisy.double().mean()) - m) < 4 * math.sqrt(v / count)
    assert abs(float(last.noisy.double().var()) - v) < 4 * v * math.sqrt(2 / (count - 1))


@ETAS
def test_the_chain_tends_to_the_data_with_order_one_as_its_steps_double(eta):
    within = LevelRange(noise_level_min=0.002, noise_level_max=200.0)
    moments = [chain_moments(grid(level_table("log-linear", steps, within)), eta) for steps in STEPS]
    assert moments[-1] == pytest.approx((MEAN, STD**2), rel=0.05)
    assert measured_order([abs(v - STD**2) for _, v in moments]) == pytest.approx(1, abs=0.1)

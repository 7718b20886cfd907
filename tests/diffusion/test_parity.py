"""Every sampler that diffusers has too takes the same steps, given the same network, levels and noise.

diffusers works in its own coordinates: some schedulers on x/sqrt(1 + sigma^2), the discrete chain's image,
and some on x itself. Ours all work on x. The bounds leave room for the rounding of 50 steps.
"""

import math
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from noisette.diffusion.noise import LevelRange, grid, level_table, pick
from noisette.diffusion.sample import sample, start_image
from noisette.diffusion.samplers import Sampler, make_sampler

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

STEPS = pytest.mark.parametrize("steps", [1, 2, 10, 50])
PRECISIONS = pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
SHAPE = (3, 2, 4, 5)
NO_LABEL = torch.full(SHAPE[:1], -1)


def network(x: Tensor, t: float) -> Tensor:
    """Stands for a trained predictor of the noise: nonlinear in x and in t; a pixel bears on the next."""
    return torch.tanh((1 + t / 400) * x) + 0.3 * torch.sin(x.roll(1, -1) + t / 100)


def chain_image(x: Tensor, sigma: float) -> Tensor:
    return x / math.sqrt(1 + sigma**2)


def unit_noise(dtype: torch.dtype, seed: int, count: int) -> list[Tensor]:
    """What diffusers draws from the generator of this seed, call by call."""
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=chance, dtype=dtype) for _ in range(count)]


def our_walk(
    sampler: Sampler, levels: list[float], times: list[float], start: Tensor, noises: list[Tensor]
) -> list[tuple[Tensor, float]]:
    """The image and its level after each step; `times` are diffusers' names of the levels but the last."""
    time_of = dict(zip(levels[:-1], times, strict=True))

    def denoise(noisy: Tensor, noise_level: float, label: Tensor) -> Tensor:
        return noisy - noise_level * network(chain_image(noisy, noise_level), time_of[noise_level])

    walk = sample(denoise, sampler, levels, start, NO_LABEL, iter(noises).__next__)
    return [(state.noisy, state.noise_level) for state in walk]


def assert_same_walk(ours: list[Tensor], theirs: list[Tensor], bound: float) -> None:
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), start=1):
        error = float((a - b).abs().max() / b.abs().max())
        assert error < bound, f"step {number} of {len(ours)} differs by {error:.1e}"


def chain_scheduler(kind: Any, steps: int, dtype: torch.dtype, **settings: Any) -> tuple[Any, list[float]]:
    """A scheduler of the discrete chain and its levels.

    Its tables are float32; where float64 is asked for they are overwritten, and the levels are ours.
    """
    scheduler = kind(clip_sample=False, timestep_spacing="trailing", **settings)
    scheduler.set_timesteps(steps)
    if dtype == torch.float64:
        scheduler.betas = torch.linspace(1e-4, 0.02, 1000, dtype=dtype)
        scheduler.alphas = 1 - scheduler.betas
        scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
        return scheduler, grid(pick(level_table("linear", 1000, LevelRange()), steps))
    alpha_bar = scheduler.alphas_cumprod[scheduler.timesteps].double()
    return scheduler, [*((1 - alpha_bar) / alpha_bar).sqrt().tolist(), 0.0]


@STEPS
@PRECISIONS
def test_ddpm_equals_diffusers(steps, dtype, bound):
    scheduler, levels = chain_scheduler(diffusers.DDPMScheduler, steps, dtype, variance_type="fixed_small")
    (x,), noises, chance = (
        unit_noise(dtype, 0, 1),
        unit_noise(dtype, 1, steps),
        torch.Generator().manual_seed(1),
    )
    times = scheduler.timesteps.tolist()
    ours = our_walk(make_sampler("ddpm"), levels, times, start_image(x, levels[0], True), noises)
    theirs = []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, float(t)), t, x, generator=chance).prev_sample
        theirs.append(x)
    assert_same_walk([chain_image(*state) for state in ours], theirs, bound)


@STEPS
@PRECISIONS
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_equals_diffusers(steps, dtype, bound, eta):
    scheduler, levels = chain_scheduler(diffusers.DDIMScheduler, steps, dtype, set_alpha_to_one=True)
    (x,), noises = unit_noise(dtype, 0, 1), unit_noise(dtype, 1, steps)
    times = scheduler.timesteps.tolist()
    ours = our_walk(make_sampler("ddim", eta), levels, times, start_image(x, levels[0], True), noises)
    theirs = []
    for t, noise in zip(scheduler.timesteps, noises, strict=True):
        x = scheduler.step(network(x, float(t)), t, x, eta=eta, variance_noise=noise).prev_sample
        theirs.append(x)
    assert_same_walk([chain_image(*state) for state in ours], theirs, bound)


@STEPS
def test_euler_equals_diffusers(steps):
    scheduler = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    levels, times = scheduler.sigmas.tolist(), scheduler.timesteps.tolist()
    x = levels[0] * unit_noise(torch.float32, 0, 1)[0]
    ours = our_walk(make_sampler("euler"), levels, times, x, [])
    theirs = []
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), float(t)), t, x).prev_sample
        theirs.append(x)
    assert_same_walk([image for image, _ in ours], theirs, 1e-5)


@STEPS
def test_heun_equals_diffusers(steps):
    scheduler = diffusers.HeunDiscreteScheduler(timestep_spacing="trailing", clip_sample=False)
    scheduler.set_timesteps(steps)
    # There each inner level stands twice: for the end of one step and for the beginning of the next.
    levels, times = (list(dict.fromkeys(each.tolist())) for each in (scheduler.sigmas, scheduler.timesteps))
    x = levels[0] * unit_noise(torch.float32, 0, 1)[0]
    ours = our_walk(make_sampler("heun"), levels, times, x, [])
    theirs = []
    for number, t in enumerate(scheduler.timesteps, start=1):
        x = scheduler.step(network(scheduler.scale_model_input(x, t), float(t)), t, x).prev_sample
        if scheduler.state_in_first_order or number == len(scheduler.timesteps):
            theirs.append(x)
    assert_same_walk([image for image, _ in ours], theirs, 1e-5)


@STEPS
@pytest.mark.parametrize(("algorithm", "eta"), [("dpmsolver++", 0.0), ("sde-dpmsolver++", 1.0)])
def test_dpmpp_2m_equals_diffusers(steps, algorithm, eta):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type=algorithm,
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    levels, times = scheduler.sigmas.tolist(), scheduler.timesteps.tolist()
    (x,), noises = unit_noise(torch.float32, 0, 1), unit_noise(torch.float32, 1, steps)
    ours = our_walk(make_sampler("dpmpp-2m", eta), levels, times, start_image(x, levels[0], True), noises)
    theirs = []
    for t, noise in zip(scheduler.timesteps, noises, strict=True):
        x = scheduler.step(network(x, float(t)), t, x, variance_noise=noise).prev_sample
        theirs.append(x)
    assert_same_walk([chain_image(*state) for state in ours], theirs, 1e-5)

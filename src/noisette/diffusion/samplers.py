"""Samplers: each is one step from a noise level to a smaller one.

All work in the variance-exploding form, where the probability flow is dx/dsigma = (x - denoised)/sigma
(Karras et al. 2022, eq. 3 with s = 1). The step to level 0 returns the denoised image in every sampler.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from noisette.base.config import require
from noisette.base.registry import Registry
from noisette.base.shapes import Images


@runtime_checkable
class BoundDenoiser(Protocol):
    """A denoiser whose labels are settled: (noisy, noise_level) -> denoised."""

    def __call__(self, noisy: Images, noise_level: float, /) -> Images: ...


class Step(NamedTuple):
    """What a step leaves: the image at the next level, its estimate of the clean one, history, calls of the
    denoiser."""

    x: Images
    denoised: Images
    memory: Any
    evaluations: int


@runtime_checkable
class StepFunction(Protocol):
    """(denoise, x, memory of the last step, sigma, sigma_next < sigma, unit noise or None) -> Step."""

    def __call__(
        self,
        denoise: BoundDenoiser,
        x: Images,
        memory: Any,
        sigma: float,
        sigma_next: float,
        noise: Images | None,
        /,
    ) -> Step: ...


@dataclass(frozen=True)
class Sampler:
    """A step and what is promised of it.

    order: global order of convergence (weak order where `draws_noise`): halving every step divides the error by
    2^order.
    evaluations: calls of the denoiser a step; the last step always takes one.
    """

    step: StepFunction
    order: int
    evaluations: int
    draws_noise: bool


SAMPLERS: Registry[Callable[[float], Sampler]] = Registry("sampler")
"""Name -> maker of the sampler, given eta: the share of ancestral noise, which only `ddim` heeds."""


def make_sampler(name: str, eta: float | None = None) -> Sampler:
    """The sampler called `name`. eta in [0, 1] is ddim's share of ancestral noise; refused for the others."""
    make = SAMPLERS[name]
    require(eta is None or name == "ddim", f"eta {eta} with sampler {name!r}", "no eta, or sampler 'ddim'")
    require(eta is None or 0 <= eta <= 1, f"eta {eta}", "a number from 0 to 1")
    return make(eta or 0.0)


def ancestral(eta: float) -> Sampler:
    """DDIM with noise share eta (Song et al. 2020, eq. 12 and 16).

    In these coordinates the reverse step of the chain is the bridge between sigma and the clean estimate: eta = 1 is
    DDPM with the posterior's variance (Ho et al. 2020, eq. 7), eta = 0 is Euler's step of the probability flow.
    """

    def step(
        denoise: BoundDenoiser,
        x: Images,
        memory: Any,
        sigma: float,
        sigma_next: float,
        noise: Images | None,
        /,
    ) -> Step:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            return Step(denoised, denoised, None, 1)
        sigma_up = eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2)
        sigma_down = math.sqrt(sigma_next**2 - sigma_up**2)
        x = denoised + (sigma_down / sigma) * (x - denoised)
        if eta > 0:
            assert noise is not None, "a sampler that draws noise is handed noise"
            x = x + sigma_up * noise
        return Step(x, denoised, None, 1)

    return Sampler(step, order=1, evaluations=1, draws_noise=eta > 0)


SAMPLERS.add("ddpm", lambda eta: ancestral(1.0))
SAMPLERS.add("ddim", ancestral)
SAMPLERS.add("euler", lambda eta: ancestral(0.0))


def heun_step(
    denoise: BoundDenoiser, x: Images, memory: Any, sigma: float, sigma_next: float, noise: Images | None, /
) -> Step:
    """Heun's second-order step (Karras et al. 2022, algorithm 1)."""
    denoised = denoise(x, sigma)
    if sigma_next == 0:
        return Step(denoised, denoised, None, 1)
    slope = (x - denoised) / sigma
    predicted = x + (sigma_next - sigma) * slope
    slope_next = (predicted - denoise(predicted, sigma_next)) / sigma_next
    return Step(x + (sigma_next - sigma) * (slope + slope_next) / 2, denoised, None, 2)


def dpmpp_2m_step(
    denoise: BoundDenoiser, x: Images, memory: Any, sigma: float, sigma_next: float, noise: Images | None, /
) -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), with lambda = -ln sigma.

    Memory: the previous level and estimate, from which the estimate's slope in lambda is taken.
    """
    denoised = denoise(x, sigma)
    if sigma_next == 0:
        return Step(denoised, denoised, (sigma, denoised), 1)
    D = denoised
    if memory is not None:
        sigma_previous, denoised_previous = memory
        r = math.log(sigma_previous / sigma) / math.log(sigma / sigma_next)
        D = denoised + (denoised - denoised_previous) / (2 * r)
    ratio = sigma_next / sigma  # exp(-h)
    return Step(ratio * x + (1 - ratio) * D, denoised, (sigma, denoised), 1)


def dpmpp_2s_step(
    denoise: BoundDenoiser, x: Images, memory: Any, sigma: float, sigma_next: float, noise: Images | None, /
) -> Step:
    """DPM-Solver++(2S) with the midpoint in lambda = -ln sigma (Lu et al. 2022, algorithm 1, r = 1/2)."""
    denoised = denoise(x, sigma)
    if sigma_next == 0:
        return Step(denoised, denoised, None, 1)
    sigma_middle = math.sqrt(sigma * sigma_next)
    half = sigma_middle / sigma
    middle = denoise(half * x + (1 - half) * denoised, sigma_middle)
    ratio = sigma_next / sigma
    return Step(ratio * x + (1 - ratio) * middle, denoised, None, 2)


SAMPLERS.add("heun", lambda eta: Sampler(heun_step, order=2, evaluations=2, draws_noise=False))
SAMPLERS.add("dpmpp-2m", lambda eta: Sampler(dpmpp_2m_step, order=2, evaluations=1, draws_noise=False))
SAMPLERS.add("dpmpp-2s", lambda eta: Sampler(dpmpp_2s_step, order=2, evaluations=2, draws_noise=False))

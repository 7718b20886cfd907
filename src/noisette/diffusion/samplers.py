"""Samplers: each is one step from a noise level to a smaller one.

All work in the variance-exploding form, where the probability flow is dx/dsigma = (x - denoised)/sigma
(Karras et al. 2022, eq. 3 with s = 1). The step to level 0 returns the denoised image in every sampler.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
"""Name -> maker of the sampler, given eta: the share of ancestral noise, which only those in `WITH_ETA` heed."""
WITH_ETA = ("ddim", "dpmpp-2m")


def make_sampler(name: str, eta: float | None = None) -> Sampler:
    """The sampler called `name`. eta in [0, 1] is the share of ancestral noise in `ddim` and `dpmpp-2m`, 0 when left
    out; refused for the others."""
    make = SAMPLERS[name]
    require(
        eta is None or name in WITH_ETA,
        f"eta {eta} with sampler {name!r}",
        f"no eta, or sampler {' or '.join(map(repr, WITH_ETA))}",
    )
    require(eta is None or 0 <= eta <= 1, f"eta {eta}", "a number from 0 to 1")
    return make(eta or 0.0)


def split(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(down, up): the level that a step goes down to, and the deviation of the noise that then brings it up to
    sigma_next. At eta = 1 the noise is the posterior's (Ho et al. 2020, eq. 7), at eta = 0 there is none (Song et al.
    2020, eq. 16)."""
    up = eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2)
    return math.sqrt(sigma_next**2 - up**2), up


def noised(x: Images, up: float, noise: Images | None) -> Images:
    """x + up * noise; without noise where none is asked for."""
    if up == 0:
        return x
    assert noise is not None, "a sampler that draws noise is handed noise"
    return x + up * noise


def with_noise(step: Callable[..., Step], eta: float, order: int) -> Sampler:
    """The sampler of a step that takes its noise share eta first, and one evaluation."""
    return Sampler(partial(step, eta), order, evaluations=1, draws_noise=eta > 0)


def ancestral_step(
    eta: float, denoise: BoundDenoiser, x: Images, memory: Any, sigma: float, sigma_next: float, noise: Images | None, /
) -> Step:
    """DDIM with noise share eta (Song et al. 2020, eq. 12 and 16).

    In these coordinates the reverse step of the chain is the bridge between sigma and the clean estimate: eta = 1 is
    DDPM, eta = 0 is Euler's step of the probability flow.
    """
    denoised = denoise(x, sigma)
    if sigma_next == 0:
        return Step(denoised, denoised, None, 1)
    down, up = split(sigma, sigma_next, eta)
    x = denoised + (down / sigma) * (x - denoised)
    return Step(noised(x, up, noise), denoised, None, 1)


SAMPLERS.add("ddpm", lambda eta: with_noise(ancestral_step, 1.0, order=1))
SAMPLERS.add("ddim", lambda eta: with_noise(ancestral_step, eta, order=1))
SAMPLERS.add("euler", lambda eta: with_noise(ancestral_step, 0.0, order=1))


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
    eta: float, denoise: BoundDenoiser, x: Images, memory: Any, sigma: float, sigma_next: float, noise: Images | None, /
) -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), with lambda = -ln sigma; with noise share eta as in DDIM, at
    eta = 1 SDE-DPM-Solver++(2M) (eq. 18).

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
    down, up = split(sigma, sigma_next, eta)
    ratio = down / sigma  # exp(-h), without noise
    return Step(noised(ratio * x + (1 - ratio) * D, up, noise), denoised, (sigma, denoised), 1)


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
SAMPLERS.add("dpmpp-2m", lambda eta: with_noise(dpmpp_2m_step, eta, order=2))
SAMPLERS.add("dpmpp-2s", lambda eta: Sampler(dpmpp_2s_step, order=2, evaluations=2, draws_noise=False))

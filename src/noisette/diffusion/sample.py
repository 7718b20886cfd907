"""The driver: one generator walks the grid for every sampler and yields a snapshot after each step."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.shapes import Images, Labels
from noisette.diffusion.precondition import Denoiser
from noisette.diffusion.samplers import Sampler


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state after a step.

    step: steps taken, from 1 to `steps`. noise_level: the level that `noisy` is at now (0 after the last step).
    noisy, denoised: [B, C, H, W]; after the last step both are the sample. evaluations: calls of the denoiser so far.
    """

    step: int
    steps: int
    noise_level: float
    noisy: Images
    denoised: Images
    evaluations: int


def check_grid(levels: Sequence[float], trained: tuple[float, float] | None = None) -> None:
    """Refuse a grid that does not fall strictly from a finite level to 0; warn where it leaves the trained range."""
    if len(levels) < 2 or levels[-1] != 0:
        raise Refusal(f"a grid of {len(levels)} levels that ends in {levels[-1:]}: expected at least 2 that end in 0")
    if not all(math.isfinite(level) and level > after for level, after in itertools.pairwise(levels)):
        raise Refusal("the grid's noise levels do not fall strictly from a finite level to 0")
    if trained is not None:
        low, high = trained
        slack = 1e-6  # a table that is worked out twice may differ in the last bits
        if levels[0] > high * (1 + slack) or levels[-2] < low * (1 - slack):
            warnings.warn(
                f"the grid runs from {levels[0]:.4g} to {levels[-2]:.4g}, "
                f"but the model was trained from {high:.4g} to {low:.4g}",
                stacklevel=3,
            )


def start_image(noise: Images, noise_level: float, unit_start: bool) -> Images:
    """Where sampling starts: sqrt(1 + sigma^2) * noise for beta tables (the chain's N(0, I)), else sigma * noise."""
    return (math.sqrt(1 + noise_level**2) if unit_start else noise_level) * noise


def sample(
    denoise: Denoiser,
    sampler: Sampler,
    levels: Sequence[float],
    start: Images,
    label: Labels,
    draw_noise: Callable[[], Tensor] | None = None,
    trained: tuple[float, float] | None = None,
) -> Iterator[Snapshot]:
    """Walk `levels` (strictly falling, the last 0) from the noisy image `start` [B, C, H, W] at levels[0].

    draw_noise returns the next unit noise [B, C, H, W]; needed when the sampler draws noise. It is called once a step
    except the last. `trained` is the range of levels the denoiser knows: leaving it is warned about.
    Raises Refusal for a bad grid or missing noise. The denoiser is never called at level 0.
    """
    check_grid(levels, trained)
    if sampler.draws_noise and draw_noise is None:
        raise Refusal("this sampler draws noise: expected draw_noise, found None")
    return _walk(denoise, sampler, levels, start, label, draw_noise)


def _walk(
    denoise: Denoiser,
    sampler: Sampler,
    levels: Sequence[float],
    x: Images,
    label: Labels,
    draw_noise: Callable[[], Tensor] | None,
) -> Iterator[Snapshot]:
    def bound(noisy: Images, noise_level: float, /) -> Images:
        return denoise(noisy, noise_level, label)

    steps, memory, evaluations = len(levels) - 1, None, 0
    for number, (sigma, sigma_next) in enumerate(itertools.pairwise(levels), start=1):
        noise = None
        if sampler.draws_noise and sigma_next > 0:
            assert draw_noise is not None
            noise = draw_noise().to(x)
        x, denoised, memory, spent = sampler.step(bound, x, memory, sigma, sigma_next, noise)
        evaluations += spent
        yield Snapshot(number, steps, sigma_next, x, denoised, evaluations)

"""Steering: the estimate is led towards what makes a judge of clean images more certain."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import Images, Labels
from noisette.diffusion.precondition import Denoiser

LogProbability = Callable[[Tensor, Tensor], Tensor]
"""(estimates of clean images [B, C, H, W], labels [B]) -> log p(what is asked | image) [B], differentiable."""


def steer(
    denoise: Denoiser,
    log_probability: LogProbability,
    scale: float,
    interval: tuple[float, float] = (0.0, math.inf),
    limit: float = math.inf,
) -> Denoiser:
    """D(x) + sigma^2 * scale * grad_x log p(asked | D(x)), the gradient taken through the denoiser D.

    Tweedie's formula D = x + sigma^2 grad log p(x), with the score of p(x) p(asked | x)^scale in place of that of p(x)
    (Dhariwal & Nichol 2021, section 4.1), and the judge asked about the estimate of the clean image instead of the
    noisy one (Chung et al. 2023, eq. 10; Bansal et al. 2023). Steering clamped estimates would find no gradient where
    they are cut off, so a clamp goes around it, not within.

    Only at noise levels within `interval`, ends included; elsewhere, and at scale 0, it is bit for bit the denoiser.
    limit: the largest root mean square of the correction over an image's pixels, in the units of the images; a larger
    one is shortened, image by image. A correction that is not finite is left out. The rows of a batch must not
    heed each other. Works under inference mode. Raises Refusal for a scale that is negative or not finite, an interval
    that is empty, or a limit that is not positive.
    """
    low, high = interval
    require(math.isfinite(scale) and scale >= 0, f"steering scale {scale}", "a finite number of at least 0")
    require(0 <= low < high, f"steering interval {low} to {high}", "two rising noise levels")
    require(limit > 0, f"steering limit {limit}", "a positive number")

    def steered(noisy: Images, noise_level: float, label: Labels, /) -> Images:
        if scale == 0 or not low <= noise_level <= high:
            return denoise(noisy, noise_level, label)
        # What was made under inference mode may not take part in a gradient: copies may.
        with torch.inference_mode(False), torch.enable_grad():
            x, asked = noisy.detach().clone().requires_grad_(), label.clone()
            denoised = denoise(x, noise_level, asked)
            (gradient,) = torch.autograd.grad(log_probability(denoised, asked).sum(), x)
        correction = noise_level**2 * scale * gradient
        size = correction.square().flatten(1).mean(1).sqrt()  # [B]
        kept = (limit / size).clamp(max=1).where(size.isfinite(), 0)
        return denoised.detach() + kept.reshape(-1, 1, 1, 1) * correction.where(correction.isfinite(), 0)

    return steered

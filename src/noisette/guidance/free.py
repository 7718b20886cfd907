"""Classifier-free guidance, also away from the network without its attention."""

import math

import torch

from noisette.base.config import require
from noisette.base.shapes import NO_CLASS, Images, Labels
from noisette.diffusion.precondition import Denoiser


def free(
    denoise: Denoiser, scale: float, interval: tuple[float, float] = (0.0, math.inf), away_from: int = NO_CLASS
) -> Denoiser:
    """unconditional + scale * (conditional - unconditional) (Ho & Salimans 2022, in the form where 1 is no guidance).

    away_from: the label of the unconditional half; NO_CLASS_NO_ATTENTION perturbs its attention too (Ahn et al. 2024),
    so that guidance leads away from what is not put together well, not only from other classes.

    Only at noise levels within `interval`, ends included; elsewhere the conditional denoiser alone (Kynkaanniemi et al.
    2024). Both halves run as one batch. Scale 1 is bit for bit the conditional and scale 0 the unconditional denoiser,
    each with one evaluation. Raises Refusal for a scale that is negative or not finite, or an interval that is empty.
    """
    low, high = interval
    require(math.isfinite(scale) and scale >= 0, f"guidance scale {scale}", "a finite number of at least 0")
    require(0 <= low < high, f"guidance interval {low} to {high}", "two rising noise levels")

    def guided(noisy: Images, noise_level: float, label: Labels, /) -> Images:
        inside = low <= noise_level <= high
        if scale == 1 or not inside:
            return denoise(noisy, noise_level, label)
        nothing = torch.full_like(label, away_from)
        if scale == 0:
            return denoise(noisy, noise_level, nothing)
        both = denoise(torch.cat([noisy, noisy]), noise_level, torch.cat([label, nothing]))
        conditional, unconditional = both.chunk(2)
        return torch.lerp(unconditional, conditional, scale)

    return guided

"""Value clamping: the clean estimate is kept in the range that images have."""

from noisette.base.config import require
from noisette.base.shapes import Images, Labels
from noisette.diffusion.precondition import Denoiser


def clamp(denoise: Denoiser, limit: float = 1.0, quantile: float | None = None) -> Denoiser:
    """Clip the estimate to [-limit, limit]; with a quantile in (0, 1), by dynamic threshold (Saharia et al. 2022,
    section 2.3).

    Dynamic: each image is clipped at the larger of `limit` and its own quantile of |value|, then scaled back to the
    limit.
    """
    require(limit > 0, f"clamp limit {limit}", "a positive number")
    require(quantile is None or 0 < quantile < 1, f"clamp quantile {quantile}", "a number between 0 and 1")

    def clamped(noisy: Images, noise_level: float, label: Labels, /) -> Images:
        denoised = denoise(noisy, noise_level, label)
        if quantile is None:
            return denoised.clamp(-limit, limit)
        threshold = denoised.abs().flatten(1).quantile(quantile, dim=1).clamp(min=limit)  # [B]
        threshold = threshold.reshape(-1, *[1] * (denoised.ndim - 1))
        return denoised.clamp(-threshold, threshold) * (limit / threshold)

    return clamped

"""Causes that lie in the noise levels and in how samples are drawn."""

from noisette.base.errors import NoisetteError
from noisette.diffusion.noise import BETA_CAP, level_table, scaled, signal_left
from noisette.diffusion.objective import DiffusionConfig, trained_range
from noisette.report.words import percent
from noisette.weights.model_file import TRAINED
from noisette.workflows.doctor.evidence import FOUND, SUSPECTED, Diagnosis, Evidence

PURE, NEARLY_PURE = 0.01, 0.03
"""Shares of signal at the noisiest level: no harm is seen below the first (the laboratory's 500 steps end at 0.006),
faint samples from the second on (its 300 end at 0.048), blobs at 0.36 (its 100)."""
GOAL = 0.0064
"""What a better table leaves: as much as the laboratory's 500 steps."""
STRONG_GUIDANCE = 6.0
FEWEST_STEPS = {"ddpm": 50, "ddim": 10, "euler": 10}
OTHER_STEPS = 6
LOUD = 100.0
"""A noise level from which an error of the predicted noise, times the level, leaves [-1, 1] by far."""


def not_pure_noise(evidence: Evidence) -> Diagnosis | None:
    """A table whose last level leaves signal, though sampling starts from noise alone."""
    if evidence.config is None:
        return None
    diffusion = evidence.config.diffusion
    level = trained_range(diffusion)[1]
    if diffusion.is_chain():
        if evidence.config.sampling.grid == TRAINED:  # it starts where the table does, wherever training went
            level = min(level, float(diffusion.table()[0]))
        left, name = 1 / (1 + level**2), "alpha-bar"
    else:
        contents = evidence.data.report.contents if evidence.data else None
        std = diffusion.data_std or (contents.standard_deviation if contents else 0.5)
        left, name = std**2 / (std**2 + level**2), "the image's share of the variance"
    if left <= PURE:
        return None
    lines = (
        f"schedule {diffusion.schedule}, {diffusion.table_steps} steps, ends at noise level {level:.4g}: "
        f"{name} {left:.3g}",
        f"there {percent(left)} of the variance is still image, and sampling starts without it",
    )
    return Diagnosis(FOUND if left > NEARLY_PURE else SUSPECTED, lines, _longer(diffusion))


def _longer(diffusion: DiffusionConfig) -> str:
    """How the table reaches noise."""
    if not diffusion.is_chain():
        return f"--noise-level-max {max(80.0, 2 * diffusion.levels.noise_level_max):g}"
    if diffusion.schedule != "linear":
        return "--table-steps 1000"
    within, steps = diffusion.levels, diffusion.table_steps
    wanted = next((n for n in range(50, 5001, 50) if n > steps and signal_left(n, within) < GOAL), 1000)
    scaled_to = scaled(steps, GOAL, within)
    rates = f"--beta-start {scaled_to.beta_start:.3g} --beta-end {scaled_to.beta_end:.3g}"
    if scaled_to.beta_end >= BETA_CAP:
        return f"--table-steps {wanted} (with as many sampling steps for ddpm)"
    factor = scaled_to.beta_start / within.beta_start
    return f"{rates}: both betas times {factor:.3g}, as many steps; or --table-steps {wanted}"


def leaves_trained_range(evidence: Evidence) -> Diagnosis | None:
    """A sampling grid with levels that the network never saw."""
    if evidence.config is None:
        return None
    sampling, diffusion = evidence.config.sampling, evidence.config.diffusion
    if sampling.grid == TRAINED:
        return None
    low, high = trained_range(diffusion)
    try:
        grid = level_table(sampling.grid, sampling.steps, diffusion.levels).tolist()
    except NoisetteError:
        return None
    if grid[0] <= high * 1.01 and grid[-1] >= low * 0.99:
        return None
    line = (
        f"sampling goes from noise level {grid[0]:.4g} to {grid[-1]:.4g} (grid {sampling.grid}), "
        f"training from {high:.4g} to {low:.4g}"
    )
    return Diagnosis(FOUND, (line,), f"--grid {TRAINED}")


def guidance_untrained(evidence: Evidence) -> Diagnosis | None:
    """Guidance by a network that was never trained without labels."""
    if evidence.config is None or evidence.config.training.label_drop > 0:
        return None
    scale = evidence.config.sampling.guidance_scale
    if scale == 1 or evidence.config.init is not None:
        return None
    line = f"guidance scale {scale:g} needs the network without a label, which label_drop 0 never trained"
    return Diagnosis(FOUND, (line,), "--guidance-scale 1 when sampling, or train with --label-drop 0.1")


def labels_dropped(evidence: Evidence) -> Diagnosis | None:
    """Classes that training hides from the network."""
    if evidence.config is None or evidence.config.training.label_drop < 0.9:
        return None
    if evidence.data is not None and len(evidence.data.report.classes) < 2:
        return None
    line = f"label_drop {evidence.config.training.label_drop:g}: nearly every image was trained without its class"
    return Diagnosis(FOUND, (line,), "--label-drop 0.1")


def guidance_too_strong(evidence: Evidence) -> Diagnosis | None:
    """Guidance that pushes estimates out of [-1, 1]."""
    if evidence.config is None:
        return None
    sampling = evidence.config.sampling
    if sampling.guidance_scale < STRONG_GUIDANCE:
        return None
    line = (
        f"guidance scale {sampling.guidance_scale:g} at noise levels {sampling.guidance_from:g} to "
        f"{sampling.guidance_to:g}: beyond about 3 images become saturated and alike"
    )
    sure = SUSPECTED if sampling.clamp else FOUND
    return Diagnosis(sure, (line,), "--guidance-scale 2 --guidance-from 0.3 --guidance-to 4")


def too_few_sampling_steps(evidence: Evidence) -> Diagnosis | None:
    """A grid too coarse for its sampler."""
    if evidence.config is None:
        return None
    sampling = evidence.config.sampling
    fewest = FEWEST_STEPS.get(sampling.sampler, OTHER_STEPS)
    if sampling.steps >= fewest:
        return None
    line = f"{sampling.steps} steps of {sampling.sampler}, which needs about {fewest} to follow the noise down"
    better = "--steps 18" if sampling.sampler != "ddpm" else "--sampler dpmpp-2m --steps 18"
    return Diagnosis(SUSPECTED, (line,), better)


def noise_unclamped(evidence: Evidence) -> Diagnosis | None:
    """A predicted noise whose error is multiplied by a huge level, and nothing that keeps the estimate in range."""
    if evidence.config is None:
        return None
    diffusion, sampling = evidence.config.diffusion, evidence.config.sampling
    level = trained_range(diffusion)[1]
    if diffusion.parameterisation != "noise" or sampling.clamp or level < LOUD:
        return None
    line = (
        f"the network predicts noise, and at the first level, {level:,.0f}, an error of 1 % of it moves the estimate "
        f"by {level / 100:,.3g}, in images of -1 to 1; estimates are not clamped"
    )
    return Diagnosis(SUSPECTED, (line,), "--clamp when sampling (or train with --parameterisation velocity)")

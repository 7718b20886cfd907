"""Causes that lie in how the network learned: rates, length, average, precision."""

import numpy as np

from noisette.report.words import percent
from noisette.workflows.doctor.evidence import FOUND, SUSPECTED, Course, Diagnosis, Evidence, Numbers

USUAL_RATE = {"adamw": 1e-3, "muon": 0.02}
"""Learning rates: adamw's is the default of `TrainingConfig`, muon's that of the recipes."""
FEW_STEPS = 100
WINDOWS = 10
ROSE = 1.5
"""Times its lowest window: a loss that learns does not rise so."""
SPIKE, SPIKES = 3.0, 3
"""A loss this many times the median of the 20 before it; so many of them."""
JUMPED = 3.0
"""Times the first loss, of a network that returns 0."""
FAR = 10.0
"""Times the size of the weights at birth."""
FAR_BELOW = 1000
"""Times the usual rate: whatever the figures show, nobody means so little."""
LITTLE_MOVED = 0.05
"""Of the size of the weights at birth. A network that learns moves by a third and more."""
NOTHING_LEARNED = 0.95
"""Of the loss of a denoiser that knows mean and deviation only. Digits end at a fifth of it."""
WORSE = 1.05
"""A ratio of two losses of the same images that is more than their chance."""
OVERFIT_FACTOR = 5.0
"""How many times a small batch's loss must fall."""
GAP, RISE = 1.15, 1.03
"""Overfitting: loss of held-out over training images; last over best validation."""


def windows(values: Numbers, count: int = WINDOWS) -> Numbers:
    """Means of so many equal parts, [count]; empty when there are fewer than 5 values a part."""
    if len(values) < 5 * count:
        return np.empty(0)
    return np.array([part.mean() for part in np.array_split(values, count)])


def spikes(loss: Numbers) -> int:
    """How often a loss stands out from the 20 before it."""
    if len(loss) <= 20:
        return 0
    before = np.median(np.lib.stride_tricks.sliding_window_view(loss, 20)[:-1], axis=1)
    return int((loss[20:] > SPIKE * before).sum())


def worse(one: Numbers, other: Numbers) -> bool:
    """Whether losses `one` exceed `other`, image by image, by WORSE and by more than chance (3 standard errors)."""
    excess = one - other
    certain = excess.mean() > 3 * excess.std() / max(1, len(excess)) ** 0.5
    return bool(one.mean() > WORSE * other.mean() and certain)


def not_finite(evidence: Evidence) -> Diagnosis | None:
    """Weights that are NaN or infinite: all that is drawn with them is."""
    if evidence.not_finite is None:
        return None
    line = f"parameter {evidence.not_finite} holds values that are not finite"
    return Diagnosis(FOUND, (line,), "sample from best.safetensors, or train anew with a quarter of --learning-rate")


def rate_too_high(evidence: Evidence) -> Diagnosis | None:
    """A learning rate that the gradients do not bear."""
    course, config = evidence.course, evidence.config
    if course is None or config is None or len(course.loss) == 0:
        return None
    rate, usual = config.training.learning_rate, USUAL_RATE[config.training.optimizer]
    lines, found = [], False
    means = windows(course.loss)
    if len(means) and means[-1] > ROSE * means.min():
        lines.append(f"the loss rose from {means.min():.4g} to {means[-1]:.4g} in the last tenth of the steps")
        found = True
    if (count := spikes(course.loss)) >= SPIKES:
        lines.append(f"{count} of {len(course.loss)} losses are more than {SPIKE:g} times the median of the 20 before")
    if (grown := _growth(course)) > 10:
        lines.append(f"gradient norms grew {grown:.3g} times, to {course.norm[-1]:.3g}")
        found = found or course.diverged is not None
    if config.init is None and course.loss.max() > JUMPED * course.loss[0]:
        lines.append(f"the loss jumped from {course.loss[0]:.4g}, the first, to {course.loss.max():.4g}")
        found = True
    moved = evidence.measured.moved if evidence.measured else None
    if moved is not None and moved > FAR and rate > 4 * usual:
        lines.append(f"{len(course.loss):,} steps moved the weights by {moved:,.0f} times their size at birth")
        found = True
    learned_nothing = nothing_learned(evidence) is not None
    if course.diverged is not None:
        lines.append(course.diverged)
    elif learned_nothing and rate > 4 * usual:
        lines.append(f"validation loss {course.validation[-1]:.4g}: no better than knowing mean and deviation alone")
        found = True
    if not lines:
        return None
    clip = config.training.gradient_clip
    if clip:
        lines.append(f"{percent(float(np.mean(course.norm > clip)))} of the gradients were clipped to norm {clip:g}")
    lines.append(f"learning rate {rate:g}; usual is {usual:g} with {config.training.optimizer}")
    sure = FOUND if found or (course.diverged is not None and rate > 4 * usual) else SUSPECTED
    return Diagnosis(sure, tuple(lines), f"--learning-rate {min(rate / 4, usual):.2g}")


def _growth(course: Course) -> float:
    """How many times the gradients' norm grew: the largest of the last ten steps over the median of the rest."""
    if len(course.norm) < 3:
        return 1.0
    before = course.norm[: -min(10, len(course.norm) // 2)]
    return float(course.norm[-10:].max() / max(float(np.median(before)), 1e-30))


def rate_too_low(evidence: Evidence) -> Diagnosis | None:
    """A rate, or a warm-up, that moves the weights too little."""
    course, config, measured = evidence.course, evidence.config, evidence.measured
    if course is None or config is None or len(course.rate) < FEW_STEPS or config.init is not None:
        return None
    training = config.training
    highest, usual = float(course.rate.max()), USUAL_RATE[training.optimizer]
    if highest > usual / 10:
        return None
    lines = [f"the highest learning rate was {highest:.2g}; usual is {usual:g} with {training.optimizer}"]
    moved = measured.moved if measured else None
    first, middle, last = windows(course.loss, 3)
    linear = middle - last > 0.5 * (first - middle) > 0
    if moved is not None:
        lines.append(f"{len(course.rate):,} steps moved the weights by {percent(moved)} of their size at birth")
    if linear:
        lines.append(f"the loss still fell at an even pace at the end: {first:.4g}, {middle:.4g}, {last:.4g} by thirds")
    shown = linear or (moved is not None and moved <= LITTLE_MOVED) or nothing_learned(evidence) is not None
    if not shown and highest > usual / FAR_BELOW:  # muon's rate may be next to nothing while adamw learns beside it
        return None
    sure = FOUND if moved is not None and moved <= LITTLE_MOVED else SUSPECTED
    if highest < training.learning_rate / 2 and training.learning_rate > usual / 10:
        warmup = f"its warm-up of {training.warmup_images:,} images was not over at {course.seen[-1]:,.0f}"
        return Diagnosis(sure, (*lines, warmup), f"--warmup-images {int(course.seen[-1] / 10)}")
    return Diagnosis(sure, tuple(lines), f"--learning-rate {usual:g}")


def too_short(evidence: Evidence) -> Diagnosis | None:
    """A run of too few steps to have learned anything."""
    course, config = evidence.course, evidence.config
    if course is None or config is None or course.diverged is not None or not 0 < len(course.seen) < FEW_STEPS:
        return None
    steps, seen = len(course.seen), course.seen[-1]
    line = f"{steps} optimiser steps, {seen:,.0f} images: hundreds of steps make blobs, thousands digits"
    return Diagnosis(FOUND, (line,), f"go on with a longer horizon: --images {2000 * config.training.batch_size}")


def nothing_learned(evidence: Evidence) -> Diagnosis | None:
    """A validation loss that is no better than a denoiser's without any network, or that never got better."""
    course, trivial = evidence.course, evidence.trivial
    if course is None or trivial is None or len(course.validation) == 0 or len(course.seen) < FEW_STEPS:
        return None
    best, advice = float(course.validation.min()), "--overfit, which tells whether the set-up can learn at all"
    if best > NOTHING_LEARNED * trivial:
        lines = (
            f"the best validation loss is {best:.4g}, of {len(course.validation)} validations",
            f"a denoiser that knows only the mean and the deviation of all pixels has {trivial:.4g} at these levels",
        )
        return Diagnosis(FOUND, lines, advice)
    if len(course.validation) >= 4 and course.validation.argmin() == 0:
        first, last = course.validation[0], course.validation[-1]
        later = len(course.validation) - 1
        line = f"none of {later} later validations was better than the first: {first:.4g}, now {last:.4g}"
        return Diagnosis(SUSPECTED, (line,), advice)
    return None


def overfitting(evidence: Evidence) -> Diagnosis | None:
    """Images learned by heart."""
    course, measured = evidence.course, evidence.measured
    if course is None or len(course.validation) < 3:
        return None
    at = int(course.validation.argmin())
    best, last = course.validation[at], course.validation[-1]
    before = course.loss[course.seen <= course.validated[at]][-20:]
    after = course.loss[-20:]
    if last < RISE * best or len(before) == 0 or after.mean() >= before.mean():
        return None
    lines = [
        f"validation loss rose from {best:.4g} at {course.validated[at]:,.0f} images to {last:.4g} at the end",
        f"training loss fell meanwhile from {before.mean():.4g} to {after.mean():.4g}",
    ]
    gap = measured is not None and measured.average.mean() > GAP * measured.training.mean()
    if measured is not None and gap:
        lines.append(
            f"now {measured.average.mean():.4g} on held-out images, {measured.training.mean():.4g} on training ones"
        )
    if evidence.data and evidence.data.report.contents:
        images = evidence.data.report.contents.train.images
        lines.append(f"each of {images:,} training images was seen {course.seen[-1] / images:,.0f} times")
    return Diagnosis(
        FOUND if gap else SUSPECTED, tuple(lines), f"more images, or stop there: --images {course.validated[at]:.0f}"
    )


def average_behind(evidence: Evidence) -> Diagnosis | None:
    """An average of the weights that still remembers the first ones."""
    config, measured, course = evidence.config, evidence.measured, evidence.course
    if config is None or measured is None or measured.raw is None or course is None or len(course.seen) == 0:
        return None
    if not worse(measured.average, measured.raw):
        return None
    training, seen = config.training, course.seen[-1]
    halflife = min(float(training.ema_halflife_images), training.ema_ramp * seen)
    lines = (
        f"on the same held-out images the average has loss {measured.average.mean():.4g}, the weights themselves "
        f"{measured.raw.mean():.4g}",
        f"the average's half-life is {halflife:,.0f} images, and the run has seen {seen:,.0f}",
    )
    return Diagnosis(FOUND, lines, f"--ema-halflife-images {max(1, round(min(halflife / 4, seen / 20)))}")


def precision(evidence: Evidence) -> Diagnosis | None:
    """Weights that bfloat16 does not bear."""
    measured, course, config = evidence.measured, evidence.course, evidence.config
    if course is not None and course.diverged is not None and config is not None and evidence.precision == "bfloat16":
        if config.training.learning_rate > USUAL_RATE[config.training.optimizer]:
            return None
        lines = (course.diverged, "the gradients are bfloat16, the learning rate is a usual one")
        return Diagnosis(SUSPECTED, lines, "--precision float32")
    if measured is None:
        return None
    plain, rounded = measured.average.mean(), measured.rounded.mean()
    if np.isfinite(rounded) and not worse(measured.rounded, measured.average):
        return None
    line = f"on the same held-out images the average has loss {plain:.4g} in float32 and {rounded:.4g} in bfloat16"
    if evidence.precision == "bfloat16":
        return Diagnosis(FOUND, (line, "the run's gradients are bfloat16"), "--precision float32")
    drawn = "the run's gradients are float32, but sampling takes bfloat16 where the processor has it"
    return Diagnosis(FOUND, (line, drawn), "noisette sample RUN --precision float32")


def cannot_overfit(evidence: Evidence) -> Diagnosis | None:
    """A set-up that does not even learn one small batch by heart."""
    trial = evidence.overfit
    if trial is None or trial.last <= trial.first / OVERFIT_FACTOR:
        return None
    line = (
        f"a new network of this configuration, {trial.steps} steps on the same {trial.images} images with the same "
        f"noise: loss {trial.first:.4g} to {trial.last:.4g}; expected a {OVERFIT_FACTOR:g}th of it"
    )
    return Diagnosis(FOUND, (line,), "train --recipe demo and no other flag, then bring your changes back one by one")

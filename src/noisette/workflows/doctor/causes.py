"""Every cause that is looked for, the gravest first.

A new one is a function `(evidence) -> Diagnosis | None` and its line here.
"""

from noisette.workflows.doctor import data_causes as data
from noisette.workflows.doctor import learning_causes as learning
from noisette.workflows.doctor import noise_causes as noise
from noisette.workflows.doctor.evidence import FOUND, Cause, Diagnosis, Evidence

CAUSES: dict[str, Cause] = {
    "labels outside the classes": data.labels_outside,
    "data that training refuses": data.unsound,
    "value range": data.value_range,
    "images of one colour": data.one_colour,
    "classes without images": data.classes_without_images,
    "labels that tell nothing": data.labels_tell_nothing,
    "mislabelled images": data.mislabelled,
    "weights that are not finite": learning.not_finite,
    "learning rate too high": learning.rate_too_high,
    "learning rate too low": learning.rate_too_low,
    "too little training": learning.too_short,
    "noise never pure": noise.not_pure_noise,
    "average not warmed up": learning.average_behind,
    "precision": learning.precision,
    "cannot learn one batch": learning.cannot_overfit,
    "sampling outside the trained levels": noise.leaves_trained_range,
    "guidance never trained": noise.guidance_untrained,
    "labels dropped": noise.labels_dropped,
    "overfitting": learning.overfitting,
    "guidance too strong": noise.guidance_too_strong,
    "too few sampling steps": noise.too_few_sampling_steps,
    "predicted noise not clamped": noise.noise_unclamped,
    "few images": data.few_images,
    "nothing learned": learning.nothing_learned,
}

EXPLAINED = {
    "mislabelled images": ("images of one colour",),  # the same picture under every label
    "data that training refuses": ("labels outside the classes",),
    "cannot learn one batch": ("value range", "learning rate too high", "learning rate too low"),
    "nothing learned": (
        *("value range", "images of one colour", "weights that are not finite", "learning rate too high"),
        *("learning rate too low", "average not warmed up", "cannot learn one batch", "overfitting"),
    ),
}
"""What is only the consequence of another cause is not told beside it."""


def diagnose(evidence: Evidence) -> dict[str, Diagnosis]:
    """What the evidence shows, by the name of the cause: what is found before what is suspected, the gravest first."""
    shown = {name: seen for name, cause in CAUSES.items() if (seen := cause(evidence)) is not None}
    told = {name: seen for name, seen in shown.items() if not set(EXPLAINED.get(name, ())) & shown.keys()}
    return dict(sorted(told.items(), key=lambda item: item[1].sure != FOUND))

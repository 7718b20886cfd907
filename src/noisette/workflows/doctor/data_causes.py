"""Causes that lie in the data: values, labels, numbers of images."""

from noisette.data.checks import FEW_IMAGES, Contents
from noisette.report.words import percent
from noisette.workflows.doctor.evidence import FOUND, SUSPECTED, Diagnosis, Evidence

SLIVER = 32
"""Grey levels between darkest and brightest, of 256: no more is next to no contrast (stored as 0 to 1 they span 1)."""
SMALL_DEVIATION = 0.05
"""Of all values in [-1, 1]. MNIST has 0.62; a hundredth of white pixels on black has 0.2."""
FEW_IN_ALL = 300
"""Training images; a network that begins from nothing needs thousands."""
MANY_OF_ONE_COLOUR, SOME_OF_ONE_COLOUR = 0.1, 0.01
ONE_PAIR = 0.2
"""Of the contradicted images: from here on one pair of classes stands out."""
AGREEING, CONTRADICTED = 0.25, 0.12
"""Mislabelled: shares of images whose neighbours agree, and of those that bear another label. mnist-5k: 0.75 and 0.02;
with a fifth of its labels drawn anew 0.39 and 0.17. Where pixels tell little of the class, neighbours do not agree."""


def _contents(evidence: Evidence) -> Contents | None:
    return evidence.data.report.contents if evidence.data else None


def labels_outside(evidence: Evidence) -> Diagnosis | None:
    """Labels that are the number of no class."""
    if evidence.data is None or evidence.data.report.label_range is None:
        return None
    report = evidence.data.report
    low, high = evidence.data.report.label_range
    if not report.classes or (low >= 0 and high < len(report.classes)):
        return None
    line = f"labels lie in {low} to {high}, but there are {len(report.classes)} classes: 0 to {len(report.classes) - 1}"
    return Diagnosis(FOUND, (line,), "number the labels from 0 in the order of the classes' names")


def unsound(evidence: Evidence) -> Diagnosis | None:
    """Data that training refuses."""
    if evidence.data is None or not evidence.data.report.problems:
        return None
    report = evidence.data.report
    return Diagnosis(FOUND, report.problems, f"mend the data until `noisette check {report.name}` finds no problem")


def value_range(evidence: Evidence) -> Diagnosis | None:
    """Pixels without contrast, so that in [-1, 1] nearly everything is one value."""
    found = _contents(evidence)
    if evidence.data is None or found is None:
        return None
    values, span = evidence.data.values, found.highest - found.lowest
    lines = (
        f"pixels lie in {found.lowest} to {found.highest}, of 0 to 255",
        f"in [-1, 1] their standard deviation is {found.standard_deviation:.3g} (MNIST: 0.62)",
    )
    if set(values) == {0, 1, 255}:
        cast = "the only pixel values are 0, 1 and 255: what images in [-1, 1] become when they are cast to uint8"
        return Diagnosis(FOUND, (cast, *lines), "store the images as (x + 1) * 127.5, rounded, before the cast")
    times = f"multiply the stored values by {255 / max(1, found.highest):.4g} before they become uint8"
    if span <= SLIVER:
        stretched = times if found.lowest <= SLIVER else f"stretch {found.lowest} to {found.highest} over 0 to 255"
        return Diagnosis(FOUND, lines, stretched)
    if found.standard_deviation < SMALL_DEVIATION:
        return Diagnosis(SUSPECTED, lines, "look at some images: nearly every pixel is the same; scale to 0 to 255")
    return None


def one_colour(evidence: Evidence) -> Diagnosis | None:
    """Images that show nothing."""
    found = _contents(evidence)
    images = found.train.images + found.validation.images if found else 0
    if found is None or found.constant <= SOME_OF_ONE_COLOUR * images:
        return None
    line = f"{found.constant:,} of {images:,} images are of one colour, {found.black:,} of them black"
    sure = FOUND if found.constant > MANY_OF_ONE_COLOUR * images else SUSPECTED
    return Diagnosis(sure, (line,), "leave the images of one colour out, or mend what decodes them")


def classes_without_images(evidence: Evidence) -> Diagnosis | None:
    """Classes that cannot be learned, or that are all there is."""
    found = _contents(evidence)
    if evidence.data is None or found is None or len(evidence.data.report.classes) < 2:
        return None
    rows = dict(zip(evidence.data.report.classes, found.train.per_class, strict=True))
    absent = [name for name, images in rows.items() if images == 0]
    if not absent:
        return None
    if len(absent) == len(rows) - 1:
        (only,) = (name for name in rows if name not in absent)
        line = f"every label is {only!r}, though there are {len(rows)} classes: labels carry nothing"
    else:
        line = f"{len(absent)} of {len(rows)} classes have no training image: {', '.join(absent[:10])}"
    return Diagnosis(FOUND, (line,), "give each class its images, or leave its name out")


def labels_tell_nothing(evidence: Evidence) -> Diagnosis | None:
    """Labels that have nothing to do with the images: shuffled, or of another order."""
    found = evidence.data.neighbours if evidence.data else None
    if found is None or found.right > found.chance + 4 * (found.chance * (1 - found.chance) / found.images) ** 0.5:
        return None
    line = (
        f"of {found.images} held-out images {percent(found.right)} have the label that the nearest training images "
        f"suggest; by chance it would be {percent(found.chance)}"
    )
    return Diagnosis(SUSPECTED, (line,), "check that labels and images are in the same order; look at ten of a class")


def mislabelled(evidence: Evidence) -> Diagnosis | None:
    """Many labels that near images contradict."""
    found = evidence.data.neighbours if evidence.data else None
    if found is None or labels_tell_nothing(evidence) is not None:
        return None
    if found.agreed < AGREEING * found.images or found.contradicted < CONTRADICTED * found.agreed:
        return None
    line = (
        f"of {found.agreed} held-out images whose nearest training images agree on a label, {found.contradicted} "
        f"({percent(found.contradicted / found.agreed)}) bear another one (mnist-5k: 2 %)"
    )
    pairs = ", ".join(f"{bears!r} looks like {looks!r} ({images})" for bears, looks, images in found.pairs[:4])
    bears, looks, images = found.pairs[0]
    where = (
        f"images labelled {bears!r} for {looks!r} among them"
        if images > ONE_PAIR * found.contradicted
        else "some of each class"
    )
    return Diagnosis(SUSPECTED, (line, f"most often: {pairs}"), f"look at {where}, and label them anew")


def few_images(evidence: Evidence) -> Diagnosis | None:
    """Too few images of a class, or in all."""
    found = _contents(evidence)
    if evidence.data is None or found is None:
        return None
    rows = zip(evidence.data.report.classes, found.train.per_class, strict=True)
    few = [f"{name} ({images})" for name, images in rows if 0 < images < FEW_IMAGES]
    lines = []
    if few:
        lines.append(f"classes with fewer than {FEW_IMAGES} training images: {', '.join(few[:10])}")
    if found.train.images < FEW_IN_ALL:
        lines.append(f"{found.train.images} training images in all")
        if evidence.course is not None and len(evidence.course.seen):
            epochs = evidence.course.seen[-1] / found.train.images
            lines.append(f"the run has seen each of them {epochs:,.0f} times")
    if not lines or (evidence.config is not None and evidence.config.init is not None):
        return None
    model = "mnist" if evidence.data.report.shape[3] == 1 else "MODEL"
    return Diagnosis(FOUND if few else SUSPECTED, tuple(lines), f"begin from a trained model: --init {model}")

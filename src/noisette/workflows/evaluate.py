"""`noisette evaluate`: measure samples against real images, every number beside what real images score."""

import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import noisette
from noisette.base.config import require, require_storable
from noisette.base.errors import Refusal
from noisette.base.progress import Progress, silent
from noisette.base.shapes import NO_CLASS
from noisette.data.form import Form
from noisette.data.images import to_model
from noisette.evaluation.distances import frechet_interval, kernel_interval
from noisette.evaluation.intervals import Interval, wilson
from noisette.evaluation.labels import accuracy, chi_square_p, confusion, diversity_interval, histogram
from noisette.evaluation.manifold import manifold_intervals
from noisette.evaluation.memorisation import CLOSEST, Memorisation, Nearest, memorisation, nearest
from noisette.perception.fit import FitConfig, fit
from noisette.perception.read import read
from noisette.report.pictures import Pixels
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model
from noisette.workflows.real_statistics import (
    Against,
    Part,
    Priors,
    Real,
    RealStatistics,
    Seen,
    as_points,
    draw_rows,
    load_real,
    matched,
    read_images,
    real_statistics,
    yardsticks,
)
from noisette.workflows.sources import (
    FEWEST,
    Samples,
    Source,
    check_fits,
    draw,
    labelled,
    labels_for,
    name_of,
    open_samples,
    rows_of,
)

FORMAT = "noisette-evaluation-1"
RECORD = "evaluation.json"
"""Of the last evaluation of a run, in its folder."""
USEFULNESS_IMAGES = 50_000
"""Images that each of the two classifiers behind the usefulness sees: a minute or so."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
BETTER = {
    **dict.fromkeys(("label_accuracy", "precision", "recall", "density", "coverage", "usefulness"), "up"),
    "diversity": "near",
    **dict.fromkeys(("frechet", "kernel", "memorised_feature", "memorised_pixel"), "down"),
}


@dataclass(frozen=True)
class EvaluationRequest:
    """What to measure, and against what."""

    data: str = "mnist"
    """The real images: a data set's name or path, as `noisette train` reads it."""
    against: Against | None = None
    """Its test part, or a validation split of its training part; left out, the latter where there is no test part."""
    count: int = 10_000
    """Samples drawn of a model, or used of a file; rounded down to equal class counts."""
    priors: Priors | None = None
    """Equal class counts against equal ones, or the data's own against the same; left out: own for samples without
    labels, else equal."""
    classifier: str = "mnist"
    """Measures in its features: a name that ships, or a file that noisette perceive wrote."""
    inception: Path | None = None
    """Measures in the 2048 features of Inception v3 instead: a .safetensors file of its weights. Slow without a GPU."""
    seed: int = 0
    """Decides what is drawn."""
    usefulness: bool = False
    """Also train a classifier on the samples and test it on real images: a minute or two."""
    validation_fraction: float = 0.2
    """Share held out where it is the validation split that is held against."""
    split_seed: int = 0
    """Decides which images those are."""
    form: Form = Form()

    def __post_init__(self) -> None:
        require(self.count >= FEWEST, f"count {self.count}", f"at least {FEWEST}")
        require_storable(self)

    def settled_priors(self, by_class: bool) -> Priors:
        """The priors of samples asked for by class, or of no class. Raises Refusal for equal ones of no class."""
        if self.priors == "equal" and not by_class:
            raise Refusal("samples of no class in particular have no equal class counts: expected --priors own")
        return self.priors or ("equal" if by_class else "own")

    def load_real(self, data_dir: Path | None = None, progress: Progress = silent) -> Real:
        """The real images that are asked for, and the classifier."""
        split = self.validation_fraction, self.split_seed
        asked = self.data, data_dir, self.against, self.classifier, *split, self.inception
        return load_real(*asked, self.form, progress)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The record, and what pictures are made of."""

    record: dict[str, Any]
    samples: Samples
    guesses: Tensor  # int64 [N], what the classifier reads
    neighbours: tuple[Pixels, Pixels]
    """The samples nearest to a training image in feature space, nearest first, and the training image of each."""


def evaluate(
    source: Source | Path,
    request: EvaluationRequest,
    data_dir: Path | None = None,
    progress: Progress = silent,
    sampling: SamplingConfig | None = None,
) -> dict[str, Any]:
    """The record of a model (drawn from as `sampling` says, or its defaults), of samples or of a sample file.

    Raises Refusal, before any work, for what does not fit the data.
    """
    source = open_samples(source) if isinstance(source, Path) else source
    real = request.load_real(data_dir, progress)
    check_source(source, real, request, sampling)
    known = real_statistics(real, progress)
    return measure(take(source, real, request, sampling, progress), known, request, progress).record


def check_source(
    source: Source, real: Real, request: EvaluationRequest, sampling: SamplingConfig | None = None
) -> None:
    """Refuse, before any work, what cannot be measured as asked for."""
    check_fits(source, real.data)
    by_class = labelled(source)
    require(by_class or not request.usefulness, f"usefulness of {name_of(source)}, without labels", "labels to learn")
    priors = request.settled_priors(by_class)
    if isinstance(source, Model):
        source.file.spec.sampling_grid(sampling or source.sampling)
        count = len(labels_for(by_class, _count(real, request, priors), priors, real, request.seed))
    else:
        count = len(rows_of(source, _count(real, request, priors), priors, real))
    require(count >= FEWEST, f"{name_of(source)}: {priors} class counts leave {count} samples", f"at least {FEWEST}")
    real.require_reference(priors)


def take(
    source: Source,
    real: Real,
    request: EvaluationRequest,
    sampling: SamplingConfig | None = None,
    progress: Progress = silent,
) -> Samples:
    """As many samples as asked for, or as there are: drawn from a model, or picked from a file that was checked."""
    by_class = labelled(source)
    priors = request.settled_priors(by_class)
    count = _count(real, request, priors)
    there = request.count if isinstance(source, Model) else len(source.labels)
    if min(there, request.count) > count:
        warnings.warn(
            f"{name_of(source)}: {count:,} samples are measured, since {len(real.train.rows):,} training images give "
            "no draws of more to compare with",
            stacklevel=2,
        )
    if isinstance(source, Samples):
        return source.pick(rows_of(source, count, priors, real))
    _warn_of_seen_images(source, real, request)
    what = f"drawing from {source.name}"
    return draw(
        source,
        labels_for(by_class, count, priors, real, request.seed),
        request.seed,
        sampling or source.sampling,
        lambda done, images: progress(what, done, images),
    )


def _count(real: Real, request: EvaluationRequest, priors: Priors) -> int:
    """How many samples at most."""
    return min(request.count, real.most(priors))


def _warn_of_seen_images(model: Model, real: Real, request: EvaluationRequest) -> None:
    """Warn where the model trained on images that are held against."""
    card = model.file.card
    if real.against != "validation" or card.get("data_digest") != real.data.digest:
        return
    try:
        split = card["config"]["dataset"]
        fraction, seed = float(split["validation_fraction"]), split["split_seed"]
    except (KeyError, TypeError, ValueError):  # a card is free
        return
    if seed != request.split_seed or fraction < request.validation_fraction:
        warnings.warn(
            f"{model.name} trained on some of the images that it is held against: it held out {fraction:g} by split "
            f"seed {seed}, here it is {request.validation_fraction:g} by {request.split_seed}",
            stacklevel=2,
        )


# Measuring ----------------------------------------------------------------------------------------


class _Stopwatch:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - began, 2)


def measure(
    samples: Samples, known: RealStatistics, request: EvaluationRequest, progress: Progress = silent
) -> Evaluation:
    """Measure samples that `take` has picked."""
    real, watch = known.real, _Stopwatch()
    priors = request.settled_priors(samples.labelled)
    name, classes = samples.source["name"], real.data.classes or real.classifier.spec.classes
    rows = real.reference_rows(priors)
    reference = known.reference.pick(rows)

    with watch.time("reading"):
        guesses, features = read_images(real, samples.images, progress, f"reading {name}")
        fake = Seen(samples.labels, guesses, features)
    with watch.time("yardsticks"):
        real_scores = yardsticks(known, len(samples.labels), priors, progress, samples.labelled)
    with watch.time("distances"):
        progress(f"distances of {name}", 0, 3)
        found = _distances(fake, reference, priors)
    with watch.time("memorisation"):
        progress(f"nearest training images of {name}", 1, 3)
        held_out = Nearest(known.feature_distances[rows], rows), Nearest(known.pixel_distances[rows], rows)
        in_features = nearest(features, known.train.features)
        in_pixels = nearest(as_points(samples.images), as_points(real.train.images))
        by_feature = memorisation(in_features, held_out[0])
        by_pixel = memorisation(in_pixels, held_out[1])

    metrics = {
        name: _metric(name, found[name], real_scores[name].mean, real_scores[name].spread) for name in real_scores
    }
    by_class = bool(real.data.classes)
    real_accuracy = accuracy(known.reference.guesses, known.reference.labels).value if by_class else None
    if samples.labelled and real_accuracy is not None:
        metrics["label_accuracy"] = _metric("label_accuracy", accuracy(guesses, samples.labels), real_accuracy, None)
    metrics["memorised_feature"] = _metric("memorised_feature", by_feature.share, CLOSEST, None)
    metrics["memorised_pixel"] = _metric("memorised_pixel", by_pixel.share, CLOSEST, None)
    if request.usefulness:
        with watch.time("usefulness"):
            metrics["usefulness"] = _usefulness(samples, known, priors, request.seed, progress)

    counts = histogram(guesses, len(classes))
    expected = histogram(known.train.guesses, len(classes))  # as of the samples: what it misreads is no difference
    comparable = not samples.labelled and bool((expected > 0).all())
    record = {
        "format": FORMAT,
        "source": {
            **dict.fromkeys(("model_digest", "seed", "sampling", "evaluations", "seconds", "dtype")),
            **samples.source,
            "digest": samples.digest(),
            "count": len(samples.labels),
        },
        "data": {
            "name": real.data.name,
            "part": real.against,
            "digest": real.reference.digest,
            "train_digest": real.train.digest,
            "reference_count": len(rows),
            "priors": priors,
        },
        "classifier": {
            "name": request.classifier,
            "digest": real.classifier.digest,
            "features": features.shape[1],
            "accuracy": real_accuracy,
            "trained_on": real.classifier.card.get("data"),
            "inception": None if real.inception is None else real.inception.digest,
        },
        "metrics": metrics,
        "confusion": confusion(guesses, samples.labels, len(classes)).tolist(),
        "histogram": counts.tolist(),
        "chi_square_p": chi_square_p(counts, (expected.double() / expected.sum()).tolist()) if comparable else None,
        "classes": list(classes),
        "nearest": {
            **_pairs(by_feature, samples, real.train),
            "quantiles": list(QUANTILES),
            "feature": _spread(in_features, held_out[0], by_feature),
            "pixel": _spread(in_pixels, held_out[1], by_pixel) | _pairs(by_pixel, samples, real.train),
        },
        "timings": watch.seconds,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "noisette": noisette.__version__,
        },
    }
    neighbours = samples.images[by_feature.samples.numpy()], real.train.images[by_feature.training.numpy()]
    return Evaluation(record, samples, guesses, neighbours)


def _distances(fake: Seen, reference: Seen, priors: Priors) -> dict[str, Interval]:
    """What needs no training images, each with its interval; `yardsticks` does the same to real images."""
    some, others = matched(fake, reference, priors)
    labelled = bool((fake.labels != NO_CLASS).all())

    def fixed(seen: Seen) -> Tensor | None:
        """The classes, where their counts do not vary from one set of samples to the next."""
        return seen.labels if priors == "equal" else None

    return {
        "frechet": frechet_interval(fake.features, reference.features, fixed(fake)),
        "kernel": kernel_interval(fake.features, reference.features, fixed(fake)),
        **manifold_intervals(others.features, some.features, fixed(some)),
        "diversity": diversity_interval(fake.features, fake.labels if labelled else fake.guesses),
    }


def _metric(name: str, found: Interval, real: float, spread: float | None) -> dict[str, Any]:
    """One metric of the record; the Frechet distance also in units of what real images score.

    Not so the kernel distance: of real images it is about 0, as often below as above.
    """
    metric: dict[str, Any] = {**vars(found), "real": real, "real_spread": spread, "better": BETTER[name]}
    return metric | {"floors": found.value / real} if name == "frechet" else metric


def _pairs(found: Memorisation, samples: Samples, train: Part) -> dict[str, Any]:
    """The pairs nearest to one another, as places in the sample file and in the data set."""
    return {
        "samples": samples.index[found.samples].tolist(),
        "training": train.rows[found.training].tolist(),
        "distances": found.distances.tolist(),
    }


def _spread(fake: Nearest, held_out: Nearest, found: Memorisation) -> dict[str, Any]:
    """How far the nearest training image is, at QUANTILES: of samples, and of real images never trained on."""
    at = torch.tensor(QUANTILES, dtype=torch.float64)
    return {
        "threshold": found.threshold,
        "of_samples": fake.distances.double().quantile(at).tolist(),
        "of_real": held_out.distances.double().quantile(at).tolist(),
    }


def _usefulness(
    samples: Samples, known: RealStatistics, priors: Priors, seed: int, progress: Progress
) -> dict[str, Any]:
    """Accuracy on the real reference of a classifier trained on the samples, beside one trained on as many real ones.

    Same network, same budget. The interval is of the test images alone: another training would move it a little too.
    """
    real = known.real
    rows = draw_rows(known.train.labels, len(samples.labels), priors, seed)
    sets = {
        "samples": (samples.images, samples.labels),
        "real images": (real.train.images[rows.numpy()], known.train.labels[rows]),
    }
    found = []
    for what, (images, labels) in sets.items():
        network = real.classifier.spec.new_network()
        for done in fit(network, to_model(images), labels, FitConfig(seed=seed, images=USEFULNESS_IMAGES)):
            progress(f"usefulness: training on {what}", done.epoch, done.epochs)
        right = read(network, to_model(real.reference.images)).guesses == known.reference.labels
        found.append(wilson(int(right.sum()), len(right)))
    return _metric("usefulness", found[0], found[1].value, None)

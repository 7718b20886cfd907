"""Each cause is planted into the evidence of a healthy run, and it alone is found; the healthy run has none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisette.data.split import split
from noisette.diffusion.noise import LevelRange
from noisette.workflows.doctor.causes import CAUSES, EXPLAINED, diagnose
from noisette.workflows.doctor.data_causes import mislabelled
from noisette.workflows.doctor.evidence import Evidence, Overfit
from noisette.workflows.doctor.examine import data_evidence
from noisette.workflows.recipes import load_recipe, recipe_names


def with_data(evidence, data, **changes):
    changed = replace(data, **changes)
    return replace(evidence, data=data_evidence(changed, *split(changed.labels)))


def with_pixels(change):
    return lambda evidence, data: with_data(evidence, data, images=change(data.images.copy()))


def with_labels(change):
    return lambda evidence, data: with_data(evidence, data, labels=change(data.labels.copy()))


def blackened(images, every=5):
    images[::every] = 0
    return images


def partly_anew(labels):
    random = np.random.default_rng(0)
    chosen = random.random(len(labels)) < 0.4
    labels[chosen] = random.integers(0, 3, chosen.sum())
    return labels


def rarely(labels):
    return np.where((labels == 2) & (np.arange(len(labels)) > 20), 0, labels)


def with_config(**parts):
    """Settings of training, diffusion and sampling, changed."""

    def plant(evidence, data):
        config = evidence.config
        changed = {name: replace(getattr(config, name), **values) for name, values in parts.items()}
        return replace(evidence, config=replace(config, **changed))

    return plant


def with_course(**columns):
    """Columns of the log, each a function of the old one."""

    def plant(evidence, data):
        course = evidence.course
        return replace(
            evidence, course=replace(course, **{name: make(getattr(course, name)) for name, make in columns.items()})
        )

    return plant


def with_losses(**factors):
    """Losses of the weights times a factor."""

    def plant(evidence, data):
        measured = evidence.measured
        changed = {name: getattr(measured, name) * factor for name, factor in factors.items()}
        return replace(evidence, measured=replace(measured, **changed))

    return plant


def both(*plants):
    def plant(evidence, data):
        for one in plants:
            evidence = one(evidence, data)
        return evidence

    return plant


def slow(evidence, data):
    evidence = with_config(training={"learning_rate": 1e-6})(evidence, data)
    falling = with_course(rate=lambda rate: rate * 1e-3, loss=lambda loss: np.linspace(1.6, 1.5, len(loss)))
    return replace(falling(evidence, data), measured=replace(evidence.measured, moved=0.002))


def short(evidence, data):
    return with_course(**{name: lambda column: column[:40] for name in ("seen", "loss", "rate", "norm")})(
        evidence, data
    )


CHAIN = {"schedule": "linear", "parameterisation": "noise", "training_levels": "table", "loss_weight": "noise"}

PLANTED = {
    "labels outside the classes": with_labels(lambda labels: labels + 1),
    "data that training refuses": with_pixels(lambda images: images.astype(np.float32)),
    "value range": with_pixels(lambda images: (images > 100).astype(np.uint8)),
    "images of one colour": with_pixels(blackened),
    "classes without images": with_labels(lambda labels: labels.clip(max=1)),
    "labels that tell nothing": with_labels(np.random.default_rng(0).permutation),
    "mislabelled images": with_labels(partly_anew),
    "weights that are not finite": lambda evidence, data: replace(evidence, not_finite="stem.weight", measured=None),
    "learning rate too high": with_course(loss=lambda loss: np.append(loss[:-20], np.linspace(1, 9, 20))),
    "learning rate too low": slow,
    "too little training": short,
    "noise never pure": with_config(diffusion={**CHAIN, "table_steps": 100}, sampling={"steps": 50}),
    "average not warmed up": with_losses(average=2.0, rounded=2.0, training=2.0),
    "precision": with_losses(rounded=1.2),
    "cannot learn one batch": lambda evidence, data: replace(evidence, overfit=Overfit(200, 8, 1.0, 0.9)),
    "sampling outside the trained levels": with_config(
        diffusion={**CHAIN, "table_steps": 500}, sampling={"grid": "karras"}
    ),
    "guidance never trained": with_config(training={"label_drop": 0.0}),
    "labels dropped": with_config(training={"label_drop": 1.0}),
    "overfitting": both(
        with_course(validation=lambda loss: np.array([0.5, 0.4, *[0.6] * (len(loss) - 2)])), with_losses(training=0.5)
    ),
    "guidance too strong": with_config(sampling={"guidance_scale": 9.0}),
    "too few sampling steps": with_config(sampling={"steps": 3}),
    "predicted noise not clamped": with_config(
        diffusion={"parameterisation": "noise", "schedule": "cosine", "training_levels": "table"}
    ),
    "few images": with_labels(rarely),
    "nothing learned": with_course(validation=lambda loss: np.full_like(loss, 1.01)),
}


def test_a_healthy_run_has_nothing(healthy):
    assert diagnose(healthy) == {}
    # Nothing is found because nothing is there, not because nothing was looked at.
    assert healthy.precision == "float32"
    assert healthy.trivial == pytest.approx(1.0)  # edm's weight is one over the error of this denoiser
    assert healthy.overfit.last < healthy.overfit.first / 10
    assert len(healthy.course.seen) == 120
    assert healthy.data.neighbours.images >= 100
    assert healthy.measured.moved > 0.1
    assert len(healthy.measured.raw) == len(healthy.measured.average) == 120


@pytest.mark.parametrize("name", CAUSES)
def test_a_planted_cause_is_found_and_it_alone(name, healthy, data):
    found = diagnose(PLANTED[name](healthy, data))
    assert list(found) == [name]
    assert found[name].evidence
    assert all(any(sign.isdigit() for sign in line) or "stem.weight" in line for line in found[name].evidence[:1])
    assert found[name].advice


def test_every_cause_is_planted_and_every_explanation_is_a_cause():
    assert PLANTED.keys() == CAUSES.keys()
    assert EXPLAINED.keys() | {name for names in EXPLAINED.values() for name in names} <= CAUSES.keys()


def test_the_page_has_a_row_for_each_cause():
    page = Path(__file__).parents[3] / "docs/doctor.md"
    rows = [line.split("|")[1].strip() for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert rows[2:] == list(CAUSES)


def test_what_is_found_is_told_before_what_is_suspected(healthy, data):
    several = both(PLANTED["too few sampling steps"], PLANTED["labels that tell nothing"], PLANTED["precision"])
    found = diagnose(several(healthy, data))
    assert [seen.sure for seen in found.values()] == ["found", "suspected", "suspected"]
    assert list(found) == ["precision", "labels that tell nothing", "too few sampling steps"]


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_is_at_fault(name):
    assert diagnose(Evidence(config=load_recipe(name))) == {}


@pytest.mark.parametrize("steps", [50, 100, 300])
def test_the_advice_for_a_short_chain_mends_it(steps, healthy, data):
    sick = with_config(diffusion={**CHAIN, "table_steps": steps}, sampling={"steps": 50})(healthy, data)
    words = diagnose(sick)["noise never pure"].advice.replace(":", "").split()
    start, end, longer = (
        float(words[words.index(flag) + 1]) for flag in ("--beta-start", "--beta-end", "--table-steps")
    )
    for better in ({"levels": LevelRange(start, end)}, {"table_steps": int(longer)}):
        assert diagnose(with_config(diffusion=better)(sick, data)) == {}
    assert longer == 500


def test_a_chain_that_sampling_starts_on_counts_even_where_training_went_further(healthy, data):
    short = {**CHAIN, "table_steps": 100, "training_levels": "log-normal"}
    sick = with_config(diffusion=short, sampling={"steps": 50})(healthy, data)
    assert "alpha-bar 0.364" in diagnose(sick)["noise never pure"].evidence[0]
    assert "noise never pure" not in diagnose(with_config(sampling={"grid": "karras"})(sick, data))


def test_next_to_no_rate_is_suspected_though_other_weights_learned_beside_it(healthy, data):
    found = diagnose(with_course(rate=lambda rate: np.full_like(rate, 1e-6))(healthy, data))
    assert [(name, seen.sure) for name, seen in found.items()] == [("learning rate too low", "suspected")]
    assert diagnose(with_course(rate=lambda rate: np.full_like(rate, 1e-3))(healthy, data)) == {}


def test_pictures_of_one_colour_explain_that_their_labels_disagree(healthy, data):
    sick = with_pixels(lambda images: blackened(images, every=2))(healthy, data)
    assert mislabelled(sick) is not None
    assert list(diagnose(sick)) == ["images of one colour"]


def test_a_rate_too_high_shows_in_a_jump_and_in_weights_that_went_far(healthy, data):
    high = with_config(training={"learning_rate": 20.0})
    assert diagnose(high(healthy, data)) == {}  # a rate alone is no evidence
    far = replace(healthy, measured=replace(healthy.measured, moved=500.0))
    jumped = with_course(loss=lambda loss: np.concatenate([loss[:1], 4 * loss[:1], loss[2:]]))(healthy, data)
    for sick, line in ((high(far, data), "moved the weights by 500 times"), (jumped, "the loss jumped from")):
        (found,) = diagnose(sick).items()
        assert found[0] == "learning rate too high"
        assert found[1].sure == "found"
        assert any(line in evidence for evidence in found[1].evidence)
    assert diagnose(far) == {}  # a long run goes far at a usual rate, too


def test_a_rate_too_high_explains_that_nothing_was_learned(healthy, data):
    sick = both(PLANTED["nothing learned"], with_config(training={"learning_rate": 20.0}))(healthy, data)
    found = diagnose(sick)
    assert list(found) == ["learning rate too high"]
    assert found["learning rate too high"].advice == "--learning-rate 0.001"


def test_data_cast_from_minus_one_to_one_is_known_by_its_values(healthy, data):
    sharper = (data.images.astype(np.float32) - 100).clip(0, 20) / 10 - 1  # in [-1, 1], and reaches both
    images = sharper.astype(np.int64).astype(np.uint8)
    found = diagnose(with_data(healthy, data, images=images))
    assert "cast" in found["value range"].evidence[0]


def test_divergence_in_bfloat16_at_a_usual_rate_suspects_the_precision(healthy, data):
    diverged = replace(healthy, course=replace(healthy.course, diverged="loss nan"), precision="bfloat16")
    usual = with_config(training={"learning_rate": 1e-3})(diverged, data)
    assert list(diagnose(usual)) == ["learning rate too high", "precision"]
    assert {seen.sure for seen in diagnose(usual).values()} == {"suspected"}
    assert list(diagnose(with_config(training={"learning_rate": 1.0})(diverged, data))) == ["learning rate too high"]

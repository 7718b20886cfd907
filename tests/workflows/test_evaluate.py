"""Samples against real images: what is held against what, what is refused, what is kept, and what the numbers say."""

import dataclasses
import hashlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.tensor_file import read_tensors, write_tensors
from noisette.data.images import to_model
from noisette.diffusion.objective import DiffusionConfig
from noisette.evaluation.distances import frechet
from noisette.evaluation.labels import diversity
from noisette.evaluation.yardstick import DRAWS, draw_equal, draw_own
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, save_classifier
from noisette.perception.inception import Inception, InceptionFile
from noisette.report.pictures import columns_for, grid_picture
from noisette.weights.model_file import save_model
from noisette.workflows import real_statistics as real_side
from noisette.workflows.evaluate import EvaluationRequest, check_source, evaluate, measure, take
from noisette.workflows.evaluation_shown import nearest_picture, save_pictures, show, worst_picture
from noisette.workflows.model import Model
from noisette.workflows.real_statistics import kept, matched, real_statistics, yardsticks
from noisette.workflows.sources import open_samples, open_source

METRICS = {
    *("frechet", "kernel", "precision", "recall", "density", "coverage", "diversity"),
    *("label_accuracy", "memorised_feature", "memorised_pixel"),
}


@pytest.fixture
def request_of(blobs):
    """Makes a request about the blobs."""

    def make(**options):
        return EvaluationRequest(**{"data": "blobs", "classifier": blobs.classifier} | options)

    return make


@pytest.fixture
def model(tiny_model, blobs):
    """A model of blobs that was never trained, in a file."""
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, sampler="euler", steps=2))
    return open_source(str(blobs.folder / "model.safetensors"), "cpu", "float32")


@pytest.fixture
def good(blobs):
    """A sample file of real blobs that were in no part."""
    data = blobs.draw(100, 7)
    return blobs.write("good.npz", data.images, data.labels)


def tally(labels):
    return np.bincount(labels, minlength=3).tolist()


# What is held against what ------------------------------------------------------------------------


def test_unseen_real_images_score_as_real_ones(request_of, good):
    record = evaluate(good, request_of())
    metrics = record["metrics"]
    assert set(metrics) == METRICS
    for name in ("frechet", "kernel", "coverage", "density", "precision", "recall", "diversity"):
        found = metrics[name]
        assert found["low"] <= found["value"] <= found["high"]
        reach = found["high"] - found["low"] + 4 * found["real_spread"]
        assert abs(found["value"] - found["real"]) < reach, name
    assert metrics["label_accuracy"]["value"] > 0.95
    assert metrics["memorised_pixel"]["value"] < 0.05
    assert metrics["memorised_pixel"]["real"] == metrics["memorised_feature"]["real"] == 0.01
    assert metrics["frechet"]["floors"] == metrics["frechet"]["value"] / metrics["frechet"]["real"]


def test_what_is_wrong_with_samples_moves_its_number(request_of, blobs):
    dim, right = blobs.draw(100, 7, bright=60), blobs.draw(100, 8)
    train = blobs.data["train"]
    sets = {
        "dim": (dim.images, dim.labels),
        "swapped": (right.images, np.roll(right.labels, 1)),
        "repeated": (np.repeat(right.images[:3], 100, axis=0), np.repeat(right.labels[:3], 100)),
        "learnt by heart": (train.images[:300], train.labels[:300]),
    }
    found = {name: evaluate(blobs.write("x.npz", *arrays), request_of())["metrics"] for name, arrays in sets.items()}
    assert found["dim"]["frechet"]["floors"] > 10
    assert found["dim"]["frechet"]["low"] > found["dim"]["frechet"]["real"]
    assert found["swapped"]["label_accuracy"]["high"] < 0.05
    assert found["repeated"]["coverage"]["high"] < 0.2
    assert found["repeated"]["diversity"]["high"] < 0.1 * found["repeated"]["diversity"]["real"]
    assert found["learnt by heart"]["memorised_pixel"]["low"] > 0.9
    assert found["learnt by heart"]["memorised_feature"]["low"] > 0.9


def test_the_record_says_what_was_measured(request_of, blobs, good):
    record = evaluate(good, request_of(count=200, seed=3))
    images, labels = np.load(good)["images"], np.load(good)["labels"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["format"] == "noisette-evaluation-1"
    source = record["source"]
    assert (source["name"], source["kind"], source["count"]) == (str(good), "samples", 198)  # 66 of each class
    used = open_samples(good).pick(draw_equal(torch.from_numpy(labels), 66).sort().values)
    assert source["digest"] == hashlib.sha256(used.images.tobytes()).hexdigest() == used.digest()
    assert record["data"] == {
        "name": "blobs",
        "part": "test",
        "digest": blobs.data["test"].digest,
        "train_digest": blobs.data["train"].digest,
        "reference_count": 300,
        "priors": "equal",
    }
    assert record["classifier"]["name"] == blobs.classifier
    assert record["classifier"]["features"] == 64
    assert record["classifier"]["trained_on"] == "blobs"
    assert [sum(row) for row in record["confusion"]] == [66, 66, 66]
    assert sum(record["histogram"]) == 198
    assert record["chi_square_p"] is None
    assert record["classes"] == ["left", "middle", "right"]
    near = record["nearest"]
    assert len(near["samples"]) == len(near["training"]) == len(near["distances"]) == 10
    assert near["distances"] == sorted(near["distances"])
    assert near["feature"]["of_samples"][0] == near["distances"][0]
    assert near["feature"]["threshold"] == near["feature"]["of_real"][1]
    one, other = (array.astype(float) / 255 for array in (images, blobs.data["train"].images))
    sample, training = near["pixel"]["samples"][0], near["pixel"]["training"][0]
    assert np.linalg.norm(one[sample] - other[training]) == pytest.approx(near["pixel"]["distances"][0], rel=1e-5)
    assert set(record["timings"]) == {"reading", "yardsticks", "distances", "memorisation"}
    assert set(record["versions"]) == {"python", "torch", "noisette"}


def test_the_reference_has_equal_class_counts(request_of, blobs):
    test = blobs.data["test"]
    rows = np.r_[np.flatnonzero(test.labels == 0)[:40], np.flatnonzero(test.labels != 0)]
    blobs.data["test"] = dataclasses.replace(test, images=test.images[rows], labels=test.labels[rows])
    real = request_of().load_real()
    assert tally(real.reference.labels) == [40, 100, 100]
    equal = real.reference_rows("equal")
    assert tally(real.reference.labels[equal]) == [40, 40, 40]
    assert torch.equal(equal, real.reference_rows("equal"))
    assert len(real.reference_rows("own")) == 240


def test_the_floor_is_the_mean_of_eight_draws_as_large_as_the_samples(request_of, good, monkeypatch):
    assert DRAWS == 8
    monkeypatch.setattr(real_side, "DRAWS", DRAWS)
    record = evaluate(good, request_of())
    known = real_statistics(request_of().load_real())
    reference = known.reference.pick(known.real.reference_rows("equal")).features
    draws = [known.train.pick(draw_equal(known.train.labels, 100, seed)).features for seed in range(8)]
    distances = torch.tensor([frechet(draw, reference) for draw in draws], dtype=torch.float64)
    assert record["metrics"]["frechet"]["real"] == pytest.approx(distances.mean().item(), rel=1e-9)
    assert record["metrics"]["frechet"]["real_spread"] == pytest.approx(distances.std().item(), rel=1e-9)


@pytest.mark.parametrize(("fake", "real"), [(60, 90), (90, 60), (60, 60)])
def test_manifolds_are_of_equal_counts(fake, real):
    def seen(per_class):
        labels = torch.arange(3).repeat_interleave(per_class)
        return real_side.Seen(labels, labels, torch.randn(3 * per_class, 2))

    for side in matched(seen(fake), seen(real), "equal"):
        assert tally(side.labels) == [60] * 3
    assert [len(side.labels) for side in matched(seen(fake), seen(real), "own")] == [180, 180]


def test_samples_of_no_class_are_held_against_the_datas_own_frequencies(request_of, blobs):
    data = blobs.draw(100, 7)
    two = data.images[data.labels != 2]
    record = evaluate(blobs.write("none.npz", two, np.full(200, -1)), request_of())
    assert record["data"]["priors"] == "own"
    assert set(record["metrics"]) == METRICS - {"label_accuracy"}
    assert record["histogram"][2] < 10
    assert record["chi_square_p"] < 1e-6
    whole = evaluate(blobs.write("all.npz", data.images, np.full(300, -1)), request_of())
    assert whole["chi_square_p"] > 0.5
    assert whole["confusion"] == [[0] * 3] * 3


def test_samples_of_no_class_are_held_against_what_is_read_of_the_real_images(request_of, blobs):
    """Half of the training images bear the first label, whatever they show."""
    train = blobs.data["train"]
    blobs.data["train"] = dataclasses.replace(train, labels=np.where(np.arange(900) < 450, 0, train.labels))
    known = real_statistics(request_of().load_real())
    by_label = yardsticks(known, 300, "own")["diversity"].mean
    record = evaluate(blobs.write("none.npz", blobs.draw(100, 7).images, np.full(300, -1)), request_of())
    assert record["chi_square_p"] > 0.5
    draws = [known.train.pick(draw_own(known.train.labels, 300, seed)) for seed in range(real_side.DRAWS)]
    by_guess = np.mean([diversity(draw.features, draw.guesses) for draw in draws])
    assert record["metrics"]["diversity"]["real"] == pytest.approx(by_guess, rel=1e-9)
    assert by_label > 1.05 * by_guess


def test_images_of_no_class_are_measured_by_a_classifier_of_any(request_of, blobs):
    labelled = dict(blobs.data)
    for name, data in labelled.items():
        blobs.data[name] = dataclasses.replace(data, labels=np.full(len(data.labels), -1), classes=())
    data = blobs.draw(100, 7)
    record = evaluate(blobs.write("none.npz", data.images, np.full(300, -1)), request_of())
    assert set(record["metrics"]) == METRICS - {"label_accuracy"}
    assert record["data"]["priors"] == "own"
    assert record["data"]["reference_count"] == 300
    assert record["classifier"]["accuracy"] is None
    assert record["classes"] == ["left", "middle", "right"]  # that it reads, since the data have none
    assert sum(record["histogram"]) == 300
    assert record["chi_square_p"] > 0.5  # against what it reads of the real images
    assert 0.5 < record["metrics"]["frechet"]["floors"] < 2
    assert record["metrics"]["diversity"]["value"] == pytest.approx(record["metrics"]["diversity"]["real"], rel=0.2)
    two = evaluate(blobs.write("two.npz", data.images[data.labels != 2], np.full(200, -1)), request_of())
    assert two["metrics"]["frechet"]["floors"] > 10
    assert two["chi_square_p"] < 1e-6
    console = Console(file=io.StringIO(), width=200)
    show([record], console)
    assert "none.npz" in console.file.getvalue()
    with pytest.raises(Refusal, match="labels 0 to 2: expected"):
        evaluate(blobs.write("labelled.npz", data.images, data.labels), request_of())


def test_unequal_counts_are_made_equal_unless_asked_for(request_of, blobs):
    data = blobs.draw(100, 7)
    rows = np.flatnonzero((data.labels != 1) | (np.arange(300) < 150))
    path = blobs.write("unequal.npz", data.images[rows], data.labels[rows])
    real = request_of().load_real()
    equal, own = (take(open_samples(path), real, request_of(priors=priors)) for priors in ("equal", "own"))
    assert tally(equal.labels) == [50, 50, 50]
    assert equal.index.tolist() == sorted(equal.index.tolist())
    assert np.array_equal(equal.images, data.images[rows][equal.index.numpy()])
    assert tally(own.labels) == [100, 50, 100]


def test_no_more_are_measured_than_draws_of_real_images_can_match(request_of, blobs):
    data = blobs.draw(200, 7)
    samples = open_samples(blobs.write("many.npz", data.images, data.labels))
    real = request_of().load_real()
    with pytest.warns(UserWarning, match=r"450 samples are measured, since 900 training images give no draws of more"):
        assert tally(take(samples, real, request_of()).labels) == [150] * 3  # half of 300


def test_without_a_test_part_the_validation_split_is_held_against():
    real = EvaluationRequest("mnist-5k", validation_fraction=0.1).load_real()
    assert (real.against, len(real.train.rows), len(real.reference.rows)) == ("validation", 4500, 500)


def test_a_test_part_of_other_classes_is_refused(request_of, blobs):
    blobs.data["test"] = dataclasses.replace(blobs.data["test"], classes=("left", "right", "middle"))
    with pytest.raises(Refusal, match="blobs with a test part of classes left, right, middle: expected left, middle, "):
        request_of().load_real()


def test_the_validation_split_can_be_held_against(request_of, good, tiny_model, blobs):
    request = request_of(against="validation", validation_fraction=0.25, split_seed=4)
    real = request.load_real()
    both = torch.cat([real.train.rows, real.reference.rows])
    assert sorted(both.tolist()) == list(range(900))
    assert tally(real.reference.labels) == [75] * 3
    record = evaluate(good, request)
    assert record["data"]["part"] == "validation"
    assert record["data"]["digest"] == real.reference.digest != blobs.data["train"].digest
    assert set(record["nearest"]["training"]) <= set(real.train.rows.tolist())

    def warned(fraction, seed):
        file = tiny_model(blobs.classes, steps=1)
        dataset = {"validation_fraction": fraction, "split_seed": seed}
        file.card.update(data_digest=blobs.data["train"].digest, config={"dataset": dataset})
        model = Model("m", file, torch.device("cpu"))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            take(model, real, dataclasses.replace(request, count=100))
        return any("trained on some of the images" in str(warning.message) for warning in told)

    assert [warned(0.25, 4), warned(0.3, 4), warned(0.1, 4), warned(0.25, 5)] == [False, False, True, True]


# Models -------------------------------------------------------------------------------------------


def test_a_model_is_drawn_from_by_class(request_of, model, blobs):
    sampling = dataclasses.replace(model.sampling, steps=3, guidance_scale=2.0)
    told = []
    record = evaluate(model, request_of(count=151, seed=5), None, lambda *what: told.append(what), sampling)
    source = record["source"]
    images = model.sample([number % 3 for number in range(150)], seed=5, steps=3, guidance_scale=2.0)
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    assert source["digest"] == hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
    assert (source["kind"], source["count"], source["seed"], source["evaluations"]) == ("model", 150, 5, 6)
    assert source["sampling"]["guidance_scale"] == 2
    assert "guidance_to" not in source["sampling"]  # infinite
    file = blobs.folder / "model.safetensors"
    assert source["model_digest"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert source["dtype"] == "float32"
    assert [sum(row) for row in record["confusion"]] == [50] * 3
    drawn = [done for what, done, total in told if what.startswith("drawing from")]
    assert drawn == sorted(drawn)
    assert drawn[-1] == 150


def test_own_priors_ask_for_classes_as_often_as_the_data_have_them(request_of, model, blobs):
    train = blobs.data["train"]
    rows = np.flatnonzero((train.labels != 0) | (np.arange(900) < 90))  # 30 of class 0
    blobs.data["train"] = dataclasses.replace(train, images=train.images[rows], labels=train.labels[rows])
    request = request_of(count=300, priors="own")
    drawn = take(model, request.load_real(), request)
    few, *many = tally(drawn.labels)
    assert few < 30
    assert min(many) > 110


def test_a_model_without_classes_draws_without(request_of, tiny_model):
    model = Model("free", tiny_model((), steps=1), torch.device("cpu"))
    record = evaluate(model, request_of(count=120))
    assert record["source"]["count"] == 120
    assert record["source"]["model_digest"] is None  # it never was a file
    assert record["data"]["priors"] == "own"
    assert record["chi_square_p"] is not None


def test_usefulness_is_what_a_classifier_learns_from_the_samples(request_of, blobs, good, monkeypatch):
    monkeypatch.setattr("noisette.workflows.evaluate.USEFULNESS_IMAGES", 3000)
    data = blobs.draw(100, 7)
    swapped = blobs.write("swapped.npz", data.images, (data.labels + 1) % 3)
    useful, useless = (evaluate(path, request_of(usefulness=True)) for path in (good, swapped))
    assert useful["metrics"]["usefulness"]["value"] > 0.9
    assert useless["metrics"]["usefulness"]["high"] < 0.1
    assert useful["metrics"]["usefulness"]["real"] == useless["metrics"]["usefulness"]["real"] > 0.9
    assert useful["timings"]["usefulness"] > 0


# What is refused ----------------------------------------------------------------------------------


def arrays_of(blobs, **changes):
    data = blobs.draw(100, 7)
    return {"images": data.images, "labels": data.labels} | changes


BAD_FILES = {
    "no labels": (lambda b: {"images": b.draw(40, 7).images}, "no array 'labels': expected the arrays images and"),
    "floats": (lambda b: arrays_of(b, images=np.full((300, 8, 10, 1), np.nan)), r"images float64 .*expected uint8"),
    "flat": (lambda b: arrays_of(b, images=np.zeros((300, 80), np.uint8)), r"images uint8 \[300, 80\]: expected"),
    "short labels": (lambda b: arrays_of(b, labels=np.zeros(3, int)), r"labels int64 \[3\]: expected int64 \[300\]"),
    "type of labels": (lambda b: arrays_of(b, labels=np.zeros(300, np.uint8)), r"labels uint8 .*expected int64"),
    "pickled": (lambda b: arrays_of(b, labels=np.array([{}] * 300)), "is not a readable sample file: .*Python objects"),
    "few": (lambda b: {"images": b.draw(33, 7).images, "labels": b.draw(33, 7).labels}, "99 samples: expected at"),
    "mixed": (lambda b: arrays_of(b, labels=np.arange(300) % 2 - 1), "150 of 300 labels are -1: expected all or none"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_sample_file_is_refused(case, blobs):
    make, message = BAD_FILES[case]
    np.savez(blobs.folder / "bad.npz", **make(blobs))
    with pytest.raises(Refusal, match=rf"bad\.npz.*{message}"):
        open_samples(blobs.folder / "bad.npz")


def test_a_damaged_sample_file_is_refused(good):
    whole = good.read_bytes()
    for damaged in (b"", b"not a zip", whole[: len(whole) // 2], whole[:300] + b"\0" * 300 + whole[600:]):
        good.write_bytes(damaged)
        with pytest.raises(Refusal, match="is not a readable sample file"):
            open_samples(good)
    np.save(good.with_suffix(".npy"), np.zeros(3))
    good.with_suffix(".npy").rename(good)
    with pytest.raises(Refusal, match="is not a readable sample file"):
        open_samples(good)
    good.unlink()
    with pytest.raises(Refusal, match="no sample file at"):
        open_samples(good)


def test_what_does_not_fit_is_refused_before_any_work(request_of, blobs, good, tiny_model, monkeypatch):
    def refused(source, message, **options):
        with pytest.raises(Refusal, match=message):
            evaluate(source, request_of(**options), None, lambda *what: pytest.fail(f"it began: {what}"))

    def model(**options):
        return Model("m", tiny_model(**{"classes": blobs.classes} | options), torch.device("cpu"))

    data = blobs.draw(100, 7)
    wide = blobs.write("wide.npz", np.zeros((300, 28, 28, 1), np.uint8), data.labels)
    refused(wide, r"wide\.npz: images \[28, 28, 1\] \[H, W, C\]: expected \[8, 10, 1\], those of blobs")
    refused(blobs.write("many.npz", data.images, data.labels + 1), r"labels 1 to 3: expected 0 to 2, or -1 for none")
    refused(blobs.write("two.npz", data.images, data.labels % 2), r"equal class counts leave 0 samples: expected at")
    none = blobs.write("none.npz", data.images, np.full(300, -1))
    refused(none, "no class in particular .*expected --priors own", priors="equal")
    refused(none, "usefulness of .*none.npz, without labels", usefulness=True)
    chain = model(steps=20)
    diffusion = DiffusionConfig(schedule="linear", table_steps=10, data_std=0.5)
    file = dataclasses.replace(chain.file, spec=dataclasses.replace(chain.file.spec, diffusion=diffusion))
    refused(dataclasses.replace(chain, file=file), "20 .*10")
    refused(model(size=(1, 8, 8)), r"m: images \[8, 8, 1\]")
    refused(model(classes=("a", "b", "c")), "m draws the classes a, b, c: expected those of blobs, left, middle, right")
    refused(good, "unknown data set 'blob'", data="blob")
    refused(good, "mnist-5k has no test part: use its validation split", data="mnist-5k", against="test")
    refused(good, r"classifier mnist reads images \[28, 28, 1\].* as noisette perceive blobs", classifier="mnist")
    spec = ClassifierSpec(ClassifierConfig(features=64), 1, 8, 10, ("left", "right", "middle"))
    save_classifier(blobs.folder / "other.safetensors", spec, spec.new_network(), {})
    other = str(blobs.folder / "other.safetensors")
    refused(good, r"other\.safetensors reads .* as left, right, middle: expected", classifier=other)
    refused(good, "no classifier 'mnits'.*did you mean 'mnist'", classifier="mnits")
    with pytest.raises(Refusal, match="count 99: expected at least 100"):
        request_of(count=99)
    blobs.data["test"] = dataclasses.replace(
        data, images=data.images[data.labels > 0], labels=data.labels[data.labels > 0]
    )
    refused(good, "blobs has a class without a test image")


@pytest.mark.parametrize("priors", ["equal", "own"])
def test_too_few_real_images_are_refused_before_any_work(request_of, blobs, good, priors):
    blobs.data["test"] = blobs.draw(13, 1)
    message = f"blobs: {priors} class counts leave 39 test images to measure against: expected at least 40"
    with pytest.raises(Refusal, match=message):
        evaluate(good, request_of(priors=priors), None, lambda *what: pytest.fail(f"it began: {what}"))


def test_features_that_are_no_numbers_stop_the_work(request_of, own_cache):
    request = request_of()
    real = request.load_real()
    next(real.classifier.network.body.parameters()).data.fill_(float("nan"))
    with pytest.raises(NoisetteError, match="the features are not finite") as told:
        real_statistics(real)
    assert told.value.exit_code == 1


class Coarse(Inception):
    """Stands in for Inception: the mean of each quarter of an image, and its weight is no use."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def test_inception_gives_the_features_and_the_classifier_the_classes(request_of, good, tmp_path, monkeypatch):
    plain = evaluate(good, request_of())
    asked = []

    def load(path, device):
        asked.append(path)
        return InceptionFile(Coarse(), "d" * 64)

    monkeypatch.setattr(real_side, "load_inception", load)
    found = evaluate(good, request_of(inception=tmp_path / "i.safetensors"))
    assert asked == [tmp_path / "i.safetensors"]
    assert (plain["classifier"]["features"], plain["classifier"]["inception"]) == (64, None)
    assert (found["classifier"]["features"], found["classifier"]["inception"]) == (4, "d" * 64)
    assert found["metrics"]["label_accuracy"] == plain["metrics"]["label_accuracy"]
    assert found["metrics"]["memorised_pixel"] == plain["metrics"]["memorised_pixel"]
    samples, reference = np.load(good)["images"], real_side.load_data("blobs", None, "test").images
    expected = frechet(*(Coarse()(to_model(images)).detach() for images in (samples, reference)))
    assert found["metrics"]["frechet"]["value"] == pytest.approx(expected, rel=1e-4)
    assert found["metrics"]["frechet"]["real"] < plain["metrics"]["frechet"]["real"]
    assert "features of Inception v3" in printed([found], 200)
    assert "Inception" not in printed([plain], 200)


def test_missing_inception_weights_are_refused(request_of, good):
    with pytest.raises(Refusal, match=r"no Inception weights .* at none\.safetensors: found nothing there"):
        evaluate(good, request_of(inception=Path("none.safetensors")))


# The cache ----------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(blobs, monkeypatch):
    """An empty cache of the test's own."""
    monkeypatch.setenv("NOISETTE_CACHE", str(blobs.folder / "cache"))


@pytest.fixture
def count_readings(own_cache, monkeypatch):
    """How many real images were read so far, [count]."""
    seen = [0]
    true = real_side.read_images

    def count(real, images, *more):
        seen[0] += len(images)
        return true(real, images, *more)

    monkeypatch.setattr(real_side, "read_images", count)
    return seen


def test_the_real_side_is_worked_out_once(request_of, good, count_readings, blobs):
    first = evaluate(good, request_of())
    assert count_readings[0] == 1200
    again = evaluate(good, request_of())
    assert count_readings[0] == 1200
    assert {**first, "timings": 0} == {**again, "timings": 0}
    # Other data, or the other part, are other statistics.
    evaluate(good, request_of(against="validation"))
    assert count_readings[0] == 2100
    pixels = blobs.data["test"].images.copy()
    pixels[0, 0, 0, 0] ^= 1
    blobs.data["test"] = dataclasses.replace(blobs.data["test"], images=pixels)
    evaluate(good, request_of())
    assert count_readings[0] == 3300


def test_another_classifier_is_another_key(request_of, good, count_readings, blobs):
    evaluate(good, request_of())
    tensors = load_file(blobs.classifier)
    with safe_open(blobs.classifier, "pt") as file:
        header = file.metadata()
    tensors["head.bias"] += 1e-3
    save_file(tensors, blobs.classifier, header)
    evaluate(good, request_of())
    assert count_readings[0] == 2400


def test_count_and_priors_are_part_of_the_yardsticks_key(request_of, own_cache):
    known = real_statistics(request_of().load_real())
    equal, fewer, own = (yardsticks(known, *how) for how in ((300, "equal"), (150, "equal"), (300, "own")))
    assert len({found["frechet"].mean for found in (equal, fewer, own)}) == 3
    assert fewer["frechet"].mean > 1.3 * equal["frechet"].mean  # its bias goes as 1 / n
    assert yardsticks(known, 300, "equal") == equal


def test_a_damaged_or_foreign_cache_is_not_believed(blobs, own_cache):
    worked = []

    def work_out():
        worked.append(1)
        return {"x": torch.arange(100.0)}

    def found():
        return kept({"a": 1}, work_out)["x"].tolist()

    right = found()
    (path,) = (blobs.folder / "cache" / "real").iterdir()
    whole = path.read_bytes()
    assert found() == right
    assert len(worked) == 1

    header, tensors = read_tensors(path, "cache", real_side.FORMAT)
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    bad = [b"", b"noise", whole[:-10], bytes(flipped)]
    other = tensors["x"] + 1
    for change in ({"x": other}, {"y": tensors["x"]}, {"x": tensors["x"].double()}):
        write_tensors(path, change, header)
        bad.append(path.read_bytes())
    for change in ({"key": '{"a": 2}'}, {"format": "noisette-model-1"}, {"digest": "0"}):
        write_tensors(path, tensors, header | change)
        bad.append(path.read_bytes())
    for number, content in enumerate(bad, 2):
        path.write_bytes(content)
        assert found() == right
        assert len(worked) == number
        assert path.read_bytes() == whole  # and it is sound again


def test_a_cache_that_cannot_be_written_does_not_stop_the_work(blobs, own_cache):
    (blobs.folder / "cache").write_text("a file")
    with pytest.warns(UserWarning, match="real statistics are not kept: cannot write"):
        assert kept({"a": 1}, lambda: {"x": torch.ones(1)})["x"] == 1


# What is shown ------------------------------------------------------------------------------------


def printed(records, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(records, console)
    return console.file.getvalue()


def test_the_table_has_a_row_for_each_and_one_for_real_images(request_of, blobs, good):
    data = blobs.draw(100, 8)
    other = blobs.write("[red]other.npz", data.images, data.labels)
    none = blobs.write("none.npz", data.images, np.full(300, -1))
    records = [evaluate(path, request_of()) for path in (good, other, none)]
    text = printed(records, 200)
    rows = [line for line in text.splitlines() if "300 " in line]
    assert [row.split()[0] for row in rows if "real" in row] == ["real", "real"]
    assert "[red]other.npz" in text.replace("\n", "")
    assert len(rows) == 5  # the labelled two share their row of real images
    assert text.count("chi-square p = ") == 1
    metrics = records[0]["metrics"]["frechet"]
    line = next(row for row in rows if f"{metrics['value']:.3g}" in row)
    assert f"{metrics['floors']:.3g}" in line
    assert f"{metrics['low']:.3g} to {metrics['high']:.3g}" in text
    assert f"± {metrics['real_spread']:.3g}" in text


def test_a_narrow_terminal_cuts_no_number(request_of, good):
    record = evaluate(good, request_of())
    wide, narrow = printed([record], 200), printed([record], 60)
    assert "…" not in narrow
    numbers = [word for line in wide.splitlines()[3:-2] for word in line.split() if any(map(str.isdigit, word))]
    shown = narrow.split()
    assert all(number in shown for number in numbers if "/" not in number)
    assert all(len(line) <= 60 for line in narrow.splitlines())
    assert "coverage" in narrow


def test_pictures_show_pairs_and_what_was_misread(request_of, blobs, tmp_path):
    data = blobs.draw(100, 7)
    labels = data.labels.copy()
    labels[[0, 1]] = labels[[1, 0]]  # two are asked for as something else
    path = blobs.write("x.npz", data.images, labels)
    request = request_of()
    real = request.load_real()
    evaluation = measure(take(open_samples(path), real, request), real_statistics(real), request)
    near = evaluation.record["nearest"]
    samples, training = evaluation.neighbours
    assert np.array_equal(samples, data.images[near["samples"]])
    assert np.array_equal(training, blobs.data["train"].images[near["training"]])
    strip = np.asarray(nearest_picture(samples, training).resize((122, 22), Image.Resampling.NEAREST))
    assert np.array_equal(strip[2:10, 2:12], samples[0, ..., 0])
    assert np.array_equal(strip[12:20, 2:12], training[0, ..., 0])
    wrong = evaluation.guesses != torch.from_numpy(labels)
    assert bool(wrong[:2].all())
    written = save_pictures(evaluation, tmp_path / "new")
    assert [file.name for file in written] == ["nearest.png", "worst.png", "confusion.png", "confusion.svg"]
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    with Image.open(tmp_path / "new" / "worst.png") as worst:
        assert worst.size == grid_picture(samples[: int(wrong.sum())], columns_for(int(wrong.sum()), 0)).size


def test_nothing_is_misread_without_labels(request_of, blobs, tmp_path):
    data = blobs.draw(100, 7)
    request = request_of()
    real = request.load_real()
    samples = open_samples(blobs.write("none.npz", data.images, np.full(300, -1)))
    check_source(samples, real, request)
    evaluation = measure(take(samples, real, request), real_statistics(real), request)
    assert worst_picture(evaluation) is None
    assert [file.name for file in save_pictures(evaluation, tmp_path / "new")] == ["nearest.png"]

"""A classifier of any labelled images, measured on what it has not seen; and the one that ships."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from noisette.base.errors import Refusal
from noisette.data.datasets import load_data
from noisette.data.images import ImageData, to_model
from noisette.data.split import split
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import load_classifier
from noisette.perception.fit import FitConfig, fit
from noisette.perception.read import read
from noisette.workflows.perceive import SHIPPED, load_perception, perceive, shipped_perceptions

SHORT = FitConfig(images=640, batch_size=32)


def striped(count, seed, classes=("upright", "flat"), size=(9, 12, 3)):
    """Stripes that stand or lie, a class each."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(classes)
    rows, columns = np.mgrid[: size[0], : size[1]]
    place = np.where(labels[:, None, None] % 2, rows, columns) + random.integers(0, 4, (count, 1, 1))
    bars = np.where(place % 4 < 2, 200, 50)[..., None]
    return ImageData(
        "stripes", (bars + random.integers(0, 40, (count, *size))).astype(np.uint8), labels, classes, "made up"
    )


@pytest.fixture
def parts(parts_of):
    """The parts that the data set "stripes" has; tests change them."""
    return parts_of(striped(80, 0), striped(30, 1))


def made(out, fitting=SHORT, network="plain", **options):
    return perceive("stripes", out, ClassifierConfig(network, 64), fitting, device="cpu", **options)


@pytest.mark.parametrize("network", ["plain", "residual"])
def test_it_trains_on_one_part_and_is_measured_on_the_other(parts, tmp_path, network):
    out = tmp_path / "new" / "stripes.safetensors"
    file = made(out, network=network, command="noisette perceive stripes")
    again = load_classifier(out)
    assert file.digest == again.digest
    assert file.spec.config.network == network
    assert (file.spec.channels, file.spec.height, file.spec.width) == (3, 9, 12)
    assert file.spec.classes == ("upright", "flat")
    card = again.card
    assert (card["data"], card["data_digest"]) == ("stripes", parts["train"].digest)
    assert (card["measured_on"], card["measured_digest"]) == ("test", parts["test"].digest)
    assert (card["training_images"], card["measured_images"]) == (80, 30)
    assert card["accuracy"] > 0.9
    assert card["command"] == "noisette perceive stripes"
    assert card["fitting"]["images"] == 640
    assert 0 < card["training_seconds"] < 600


def test_what_the_card_says_is_measured_of_the_stored_weights(parts, tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(
        "noisette.workflows.perceive.read",
        lambda network, images: measured.append(network.head.weight.clone()) or read(network, images),
    )
    random = np.random.default_rng(5)
    noisy = random.integers(0, 256, parts["test"].images.shape).astype(np.uint8)  # so that it errs
    parts["test"] = dataclasses.replace(parts["test"], images=noisy)
    out = tmp_path / "a.safetensors"
    file = made(out)
    with safe_open(out, framework="pt") as stored:
        weight = stored.get_tensor("head.weight")
    assert weight.dtype == torch.float16
    (found,) = measured
    assert torch.equal(found, weight.float())
    guesses = read(file.network, to_model(noisy)).guesses.numpy()
    assert file.card["accuracy"] == (guesses == parts["test"].labels).mean()
    assert 0 < file.card["accuracy"] < 1


def test_without_a_test_part_a_fifth_of_each_class_is_held_out(parts, tmp_path, monkeypatch):
    del parts["test"]
    seen = []
    monkeypatch.setattr("noisette.workflows.perceive.fit", noted(seen))
    card = made(tmp_path / "a.safetensors").card
    kept, held_out = split(parts["train"].labels)
    assert card["measured_on"] == "held-out fifth of the training"
    assert (card["training_images"], card["measured_images"]) == (64, 16)
    ((images, labels),) = seen
    assert torch.equal(images[torch.arange(64)], to_model(parts["train"].images[kept]))
    assert torch.equal(images[torch.tensor([5, 3])], to_model(parts["train"].images[kept[[5, 3]]]))
    assert labels.tolist() == parts["train"].labels[kept].tolist()
    file = load_classifier(tmp_path / "a.safetensors")
    found = read(file.network, to_model(parts["train"].images[held_out])).guesses.numpy()
    assert card["accuracy"] == (found == parts["train"].labels[held_out]).mean()


def noted(seen):
    """`fit` that notes what it is handed."""

    def fit_noted(network, images, labels, config, precision):
        seen.append((images, labels))
        return fit(network, images, labels, config, precision)

    return fit_noted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_trains_in_the_precision_that_the_processor_is_fast_in(parts, tmp_path, monkeypatch, dtype):
    given = []
    monkeypatch.setattr("noisette.workflows.perceive.choose_precision", lambda name, device: dtype)

    def fit_noted(*args):
        given.append(args[-1])
        return fit(*args)

    monkeypatch.setattr("noisette.workflows.perceive.fit", fit_noted)
    assert made(tmp_path / "a.safetensors").card["precision"] == str(dtype).removeprefix("torch.")
    assert given == [dtype]


def test_each_epoch_is_told(parts, tmp_path):
    told = []
    made(tmp_path / "a.safetensors", FitConfig(images=240, batch_size=40), progress=told.append)
    assert [(fitted.epoch, fitted.epochs) for fitted in told] == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupted_training_leaves_nothing(parts, tmp_path):
    def interrupt(fitted):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "a.safetensors", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


FLOATS = np.zeros((80, 9, 12, 3), np.float32)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("train", {"labels": np.full(80, -1), "classes": ()}, "images of 0 classes: expected at least 2"),
        ("train", {"labels": np.zeros(80, np.int64)}, "images of 1 classes: expected at least 2"),
        ("train", {"labels": np.arange(79) % 2}, "labels have shape"),
        ("test", {"labels": np.arange(79) % 2}, "labels have shape"),
        ("train", {"labels": np.arange(80) % 3}, "labels lie in 0 to 2"),
        ("test", {"labels": np.arange(80) % 3}, "labels lie in 0 to 2"),
        ("train", {"labels": np.arange(80) / 80}, "labels are float64"),
        ("test", {"labels": np.arange(80) / 80}, "labels are float64"),
        ("train", {"images": FLOATS}, "images are float32, expected uint8"),
        ("test", {"images": FLOATS}, "images are float32, expected uint8"),
        ("both", {"images": np.zeros((80, 7, 12, 3), np.uint8)}, "images of 3 x 7 x 12: expected at least"),
        ("test", {"images": np.zeros((80, 9, 12, 1), np.uint8)}, r"a test part of .*\(9, 12, 1\).*: expected "),
        ("test", {"classes": ("a", "b")}, "a test part of .*'a', 'b'.*: expected .*'upright', 'flat'"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_before_any_work(parts, tmp_path, part, changes, message):
    for name in ("train", "test") if part == "both" else (part,):
        parts[name] = dataclasses.replace(striped(80, 2), **changes)
    refused(tmp_path, message)


def test_one_image_a_class_leaves_nothing_to_hold_out(parts, tmp_path):
    del parts["test"]
    parts["train"] = striped(2, 0)
    refused(tmp_path, "one image a class: expected more, to hold some out")


def refused(tmp_path, message, name="a.safetensors", **options):
    with pytest.raises(Refusal, match=message):
        made(tmp_path / name, progress=lambda fitted: pytest.fail("it trained"), **options)
    assert not (tmp_path / name).exists()


def test_a_false_test_part_is_refused_and_not_replaced(parts, tmp_path, monkeypatch):
    def load(name, data_dir, part, *how):
        if part == "test":
            raise Refusal("t10k-images: cut short")
        return parts[part]

    monkeypatch.setattr("noisette.workflows.perceive.load_data", load)
    refused(tmp_path, "cut short")


def test_a_place_that_cannot_be_written_is_refused_before_the_data_are_read(parts, tmp_path, monkeypatch):
    monkeypatch.setattr("noisette.workflows.perceive.load_data", lambda *_: pytest.fail("data were read"))
    (tmp_path / "file").write_text("mine")
    refused(tmp_path, "cannot write", "file/a.safetensors")
    refused(tmp_path, "expected a .safetensors file", "a.npz")


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(Refusal, match="unknown data set 'mnits'"):
        perceive("mnits", tmp_path / "a.safetensors", ClassifierConfig(), SHORT)


# --- classifiers by name


def test_a_classifier_is_loaded_by_name_or_from_its_file(parts, tmp_path):
    written = made(tmp_path / "a.safetensors", FitConfig(images=64, batch_size=32))
    assert load_perception(tmp_path / "a.safetensors").digest == written.digest
    assert load_perception(str(tmp_path / "a.safetensors"), "cpu").digest == written.digest
    assert load_perception("mnist").spec.classes == tuple("0123456789")


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"no classifier 'mnits': .*one that ships \(mnist\); did you mean 'mnist'"):
        load_perception("mnits")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal, match="is not a readable classifier"):
        load_perception(tmp_path / "file")
    with pytest.raises(Refusal, match="unknown device 'gpu'"):
        load_perception("mnist", "gpu")


def test_what_ships_is_small_and_as_good_as_promised():
    assert shipped_perceptions() == ["mnist"]
    file = load_perception("mnist")
    assert (SHIPPED / "mnist.safetensors").stat().st_size < 1_000_000
    assert 64 <= file.spec.config.features <= 128
    assert file.card["measured_on"] == "test"
    assert file.card["measured_images"] == 10_000
    assert file.card["accuracy"] >= 0.994
    assert file.card["training_cpu_seconds"] <= 300


def test_the_card_beside_it_is_its_own():
    text = (SHIPPED / "mnist.md").read_text(encoding="utf-8")
    file = load_perception("mnist")
    for fact in (file.digest, file.card["data_digest"], file.card["command"], f"{file.card['accuracy']:.2%}"):
        assert fact in text
    assert not re.search(r"(?<!\w)/\w+/", text + str(file.card))  # no folder of the machine that made it


def test_what_ships_knows_digits():
    data = load_data("mnist-5k")
    found = read(load_perception("mnist").network, to_model(data.images[::10])).guesses.numpy()
    assert (found == data.labels[::10]).mean() > 0.99

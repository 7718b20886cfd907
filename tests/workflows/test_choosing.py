"""What images are chosen by: scores that count, and the same as a reward that gradients go through."""

import dataclasses

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.shapes import NO_CLASS
from noisette.data.datasets import load_data
from noisette.data.images import to_model
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, save_classifier
from noisette.workflows.choosing import Choice, Chooser


@pytest.fixture(scope="module")
def digits():
    """The last digit of each class of those that ship: images, labels."""
    data = load_data("mnist-5k")
    rows = [int(np.flatnonzero(data.labels == label)[-1]) for label in range(10)]
    return data.images[rows], torch.arange(10)


def _other(folder):
    """A classifier of digits that was never trained, of another make than the one that ships."""
    spec = ClassifierSpec(ClassifierConfig("residual", features=64), 1, 28, 28, tuple("0123456789"))
    save_classifier(folder / "other.safetensors", spec, spec.new_network(), {"data": "made up"})
    return folder / "other.safetensors"


@pytest.mark.parametrize("by", [("clip",), ("classifier",), ("both",)])
def test_what_rewards_is_the_logarithm_of_what_chooses(by, digits, tmp_path):
    """At the scorers' temperatures, bad prompts and all, and of several the lowest."""
    images, labels = digits
    chooser = Chooser(Choice(by, measure=str(_other(tmp_path)), data="mnist-5k"), None, "cpu")
    chooser.calibrate(20)
    asked = labels.roll(1) if by == ("clip",) else labels  # a wrong class has a score as well
    scores, _ = chooser.score(images, asked)
    pixels = to_model(images).requires_grad_()
    rewards = chooser.log_probability(pixels, asked)
    assert torch.allclose(rewards.double().exp(), scores, rtol=1e-3, atol=1e-9)
    (gradient,) = torch.autograd.grad(rewards.sum(), pixels)
    assert bool((gradient.flatten(1).abs().sum(1) > 0).all())
    assert not chooser.log_probability(pixels, torch.full((10,), NO_CLASS)).any()


def test_no_more_are_measured_than_draws_of_real_images_can_match(choice, blobs):
    train = blobs.data["train"]
    rows = np.flatnonzero((train.labels != 2) | (np.arange(900) < 240))  # 80 of the last class
    blobs.data["train"] = dataclasses.replace(train, images=train.images[rows], labels=train.labels[rows])
    drawn = blobs.draw(100, 5)
    assert Chooser(choice, None, "cpu").measure(drawn.images, drawn.labels.tolist())["count"] == 3 * 40  # half of 80


def test_too_few_real_images_to_measure_against_are_refused_at_once(choice, blobs):
    blobs.data["test"] = blobs.draw(13, 1)
    with pytest.raises(Refusal, match=r"blobs: equal class counts leave 39 test images .*: expected at least 40"):
        Chooser(choice, None, "cpu")

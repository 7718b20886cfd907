"""Scorers by name: the first columns are the classes, the others say that an image is bad; what does not fit."""

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.data.images import to_model
from noisette.perception.clip import load_clip
from noisette.workflows.perceive import load_perception
from noisette.workflows.scorers import BAD, load_scorer, score_pixels

DIGITS = tuple("0123456789")
SHAPE = (1, 28, 28)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (130, 28, 28, 1), dtype=np.uint8)


def test_a_classifier_scores_its_classes_in_its_own_features(pixels):
    scorer = load_scorer("classifier", DIGITS, SHAPE, templates=("ignored",), bad=("ignored",))
    found = score_pixels(scorer, pixels)
    with torch.no_grad():
        logits, features = load_perception("mnist").network(to_model(pixels))
    torch.testing.assert_close(found.scores, logits.log_softmax(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-4)
    assert (scorer.kind, scorer.scorer.prompts, scorer.bad) == ("classifier", DIGITS, ())
    assert scorer.digest == load_perception("mnist").digest
    assert load_scorer("mnist", DIGITS, SHAPE).digest == scorer.digest


def test_a_clip_model_scores_classes_and_then_what_is_bad(pixels, tiny_clip):
    templates = ("A handwritten number {label}", "A clear number {word}")
    scorer = load_scorer(str(tiny_clip()), DIGITS, SHAPE, templates, ("a blurry number", "a number"))
    found = score_pixels(scorer, pixels)
    clip = load_clip(tiny_clip())
    seven = ("A handwritten number 7", "A clear number seven")
    assert scorer.texts[7] == seven
    assert scorer.scorer.prompts == (*DIGITS, "a blurry number", "a number")
    assert scorer.bad == ("a blurry number", "a number")
    with torch.no_grad():
        pair = clip.scorer((seven, "a blurry number"))(to_model(pixels))
        embedded = clip.of_images(to_model(pixels))
    # A softmax over more prompts keeps the differences of logits.
    torch.testing.assert_close(found.scores[:, 7] - found.scores[:, 10], pair[:, 0] - pair[:, 1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.features, embedded, rtol=1e-4, atol=1e-4)
    assert found.scores.shape == (130, 12)


def test_progress_is_told(pixels):
    told = []
    score_pixels(load_scorer("classifier", DIGITS, SHAPE), pixels, lambda *step: told.append(step), "looking")
    assert told == [("looking", 0, 130), ("looking", 100, 130)]


REFUSED = {
    "no such name": ("clasifier", DIGITS, SHAPE, {}, "no CLIP model 'clasifier'"),
    "other classes": ("classifier", ("cat", "dog"), SHAPE, {}, "classifier mnist reads .* as 0, 1.*: expected .*cat"),
    "another size": ("classifier", DIGITS, (1, 32, 32), {}, r"images \[1, 28, 28\].*expected \[1, 32, 32\]"),
    "a missing classifier": ("none.safetensors", DIGITS, SHAPE, {}, "no classifier 'none.safetensors'"),
    "no classes": ("classifier", (), SHAPE, {}, "classes: none: expected at least 2"),
    "a template without a place": ("tiny", DIGITS, SHAPE, {"templates": ("a number",)}, "expected a place"),
    "a bad prompt of a class": ("tiny", DIGITS, SHAPE, {"bad": ("a bad {label}",)}, "has a place for a class"),
    "an empty text": ("tiny", DIGITS, SHAPE, {"bad": (" ",)}, "prompt ' ': expected a text"),
    "channels": ("tiny", DIGITS, (2, 28, 28), {}, "images of 2 channels .*: expected 1 or 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, tiny_clip):
    name, classes, shape, more, message = REFUSED[case]
    with pytest.raises(Refusal, match=message):
        load_scorer(str(tiny_clip()) if name == "tiny" else name, classes, shape, **more)


def test_without_a_model_that_ships_clip_says_what_to_name(tmp_path, monkeypatch):
    monkeypatch.setattr("noisette.workflows.scorers.SHIPPED", tmp_path)
    with pytest.raises(Refusal, match="no CLIP model ships with this version: expected a folder, or owner/name"):
        load_scorer("clip", DIGITS, SHAPE)


def test_what_ships_as_clip_is_found(tmp_path, monkeypatch, tiny_clip):
    (tmp_path / "mnist-clip").symlink_to(tiny_clip())
    monkeypatch.setattr("noisette.workflows.scorers.SHIPPED", tmp_path)
    assert load_scorer("clip", DIGITS, SHAPE).scorer.prompts == (*DIGITS, BAD)

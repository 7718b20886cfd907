"""Refining: images drawn again from the middle of the grid, kept where they score more and are not alike."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from noisette.base.errors import Refusal
from noisette.data.images import to_model
from noisette.weights.model_file import save_model
from noisette.workflows.choice_shown import save_refined, show_refined
from noisette.workflows.drawing import Sampled
from noisette.workflows.model import load
from noisette.workflows.refine import Refine, RefineRequest
from noisette.workflows.sources import open_drawn


@pytest.fixture
def model(tiny_model, blobs):
    """A model of blobs that was never trained, in a file."""
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, sampler="euler", steps=8))
    return load(str(blobs.folder / "model.safetensors"), "cpu", "float32")


@pytest.fixture
def samples(blobs):
    """120 real blobs, of which the last of each class, 10 of 40, are of another."""
    data = blobs.draw(40, 7)
    labels = data.labels.copy()
    labels[90:] = (labels[90:] + 1) % 3
    return open_drawn(str(blobs.write("given.npz", data.images, labels)))


@pytest.fixture
def real_drawing(monkeypatch, blobs):
    """What is drawn again are real blobs of the class that is asked for; what was asked of the drawing is kept."""
    data = blobs.draw(200, 9)
    by_class = [data.images[data.labels == label] for label in range(3)]
    calls = []

    def draw(model, labels, seed, index, sampling, progress, clean, first):
        calls.append({"labels": labels, "seed": seed, "clean": clean, "first": first})
        images = [by_class[label][number] for label, number in zip(labels, index, strict=True)]
        return np.stack(images), Sampled(len(index), 0.5, 3.0)

    monkeypatch.setattr("noisette.workflows.refine.draw_pixels", draw)
    return calls


def test_the_rejected_give_way_and_another_classifier_sees_it(model, choice, samples, real_drawing):
    refined = Refine(model, RefineRequest(choice, tries=2), samples).run()
    record = refined.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["before"]["label_accuracy"]["value"] == pytest.approx(0.75, abs=0.03)
    assert record["after"]["label_accuracy"]["low"] > 0.95
    assert record["before"]["count"] == record["after"]["count"] == 120
    for row in record["by_class"]:
        assert row["images"] == 40
        assert 10 <= row["new"] <= 20
        assert row["score_after"] > row["score_before"] + 0.15
    (call,) = real_drawing
    assert call["labels"] == [0] * 20 + [1] * 20 + [2] * 20  # a quarter of 40, twice each
    origin, new = (torch.tensor(record["images"][name]) for name in ("origin", "new"))
    assert not torch.isin(origin[~new], torch.arange(90, 120)).any()
    asked = torch.tensor([label for label in range(3) for _ in range(40)])
    assert torch.equal(samples.labels[origin], asked)  # also of those that are new
    assert record["price"]["evaluations"] == pytest.approx(3 * 60 / 120)
    assert record["price"]["looks"] == pytest.approx(180 / 120)


@pytest.mark.parametrize("take", ["rejected", "best"])
def test_those_are_drawn_again_that_score_least_or_most(model, choice, samples, real_drawing, take):
    refine = Refine(model, RefineRequest(choice, take=take, share=0.2, tries=3, seed=5), samples)
    refined = refine.run()
    scores, _ = refine.chooser.score(samples.images, samples.labels)
    (call,) = real_drawing
    clean = call["clean"].reshape(3, 8, 3, *call["clean"].shape[1:])  # class, image, try
    assert torch.equal(clean[:, :, 0], clean[:, :, 2])
    sign = -1 if take == "best" else 1
    for label in range(3):
        own = (samples.labels == label).nonzero().flatten()
        order = sorted(own.tolist(), key=lambda row: sign * float(scores[row]))[:8]
        expected = {to_model(samples.images[[row]]).numpy().tobytes() for row in order}
        assert {each.numpy().tobytes() for each in clean[label, :, :1]} == expected
    assert call["seed"] != 5  # the noise that an image was born from would lead back to it
    assert refined.record["take"] == take


def test_a_new_image_that_scores_less_changes_nothing(model, choice, samples, monkeypatch):
    def draw(model, labels, *how, **more):
        return np.zeros((len(labels), 8, 10, 1), np.uint8), Sampled(len(labels), 0.5, 3.0)

    monkeypatch.setattr("noisette.workflows.refine.draw_pixels", draw)
    kept = dataclasses.replace(choice, near=0.0)
    refined = Refine(model, RefineRequest(kept, take="best", share=0.1), samples).run()
    first = refined.before[0]
    assert [each.number for each in refined.after[0] if each.number < 120][:20] == [each.number for each in first][:20]
    assert refined.record["by_class"][0]["score_after"] >= refined.record["by_class"][0]["score_before"]


def test_copies_of_the_best_do_not_displace_the_others(model, choice, samples, monkeypatch):
    """Drawn again exactly as it was, the best is too like itself; too few being apart, the old ones stay."""
    monkeypatch.setattr(
        "noisette.workflows.refine.draw_pixels",
        lambda model, labels, *how, clean, first: (
            ((clean + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy(),
            Sampled(len(labels), 0.5, 3.0),
        ),
    )
    refined = Refine(model, RefineRequest(dataclasses.replace(choice, space="pixels"), take="best"), samples).run()
    for before, after in zip(refined.before, refined.after, strict=True):
        assert sorted(each.number for each in after) == sorted(each.number for each in before)


def test_a_drawing_begins_with_the_largest_level_that_is_small_enough(model, choice, samples, real_drawing):
    levels = model.file.spec.sampling_grid(model.sampling)
    for asked, first in ((levels[3], 3), (levels[3] * 1.01, 3), (levels[3] * 0.99, 4), (1e9, 0)):
        refine = Refine(model, RefineRequest(choice, noise_level=asked), samples)
        assert (refine.first, refine.level) == (first, levels[first])
    with pytest.raises(Refusal, match=r"noise_level 1e-06: expected at least .*, the grid's last"):
        Refine(model, RefineRequest(choice, noise_level=1e-6), samples)


def test_of_a_model_it_refines_what_that_draws(model, choice):
    refined = Refine(model, RefineRequest(choice, per_class=34, tries=1, noise_level=0.5)).run()
    record = refined.record
    assert record["source"]["kind"] == "model"
    assert record["source"]["count"] == 102
    plain = model.sample([0, 1, 2], index=[0, 1, 2])
    by_number = {each.number: each for pool in refined.before for each in pool}
    for row in range(3):
        assert float((to_model(by_number[row].image[None]) - plain[row]).abs().max()) < 0.02
    assert record["evaluations_before"] == 8
    assert record["evaluations_again"] == 8 - next(
        number for number, level in enumerate(model.file.spec.sampling_grid(model.sampling)) if level <= 0.5
    )
    drawn_again = sum(math.ceil(0.25 * 34) for _ in range(3))
    assert record["price"]["evaluations"] == pytest.approx(8 + record["evaluations_again"] * drawn_again / 102)


def test_table_and_figures(model, choice, samples, real_drawing, tmp_path):
    refined = Refine(model, RefineRequest(choice), samples).run()
    console = Console(record=True, width=120)
    show_refined(refined.record, console)
    text = " ".join(console.export_text().split())
    assert "The worst 25 % of each class were noised to level" in text
    assert "before, 120" in text
    written = save_refined(refined, tmp_path)
    assert [path.name for path in written] == ["images.png", "measured.png"]


REFUSED = {
    "share": ({"share": 0.0}, "share 0.0: expected above 0"),
    "level": ({"noise_level": 0.0}, "noise_level 0.0: expected a positive number"),
    "tries": ({"tries": 0}, "tries 0: expected at least 1"),
    "per class": ({"per_class": 0}, "per_class 0: expected at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    options, message = REFUSED[case]
    with pytest.raises(Refusal, match=message):
        RefineRequest(**options)


def test_images_of_no_class_are_refused(model, choice, blobs):
    path = blobs.write("none.npz", blobs.draw(40, 7).images, np.full(120, -1))
    with pytest.raises(Refusal, match="images of no class: expected labels"):
        Refine(model, RefineRequest(choice), open_drawn(str(path)))

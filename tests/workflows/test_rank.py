"""Ranking: the best of what was drawn, measured by a classifier that took no part, with its price."""

import dataclasses
import gc
import json
import tracemalloc

import numpy as np
import pytest
import torch
from rich.console import Console

from noisette.base.errors import NoisetteError, Refusal
from noisette.evaluation.labels import accuracy
from noisette.weights.model_file import save_model
from noisette.workflows.choice_shown import measures, save_ranked, show_ranked
from noisette.workflows.choosing import Choice, Chooser
from noisette.workflows.drawing import Sampled, draw_pixels
from noisette.workflows.model import load
from noisette.workflows.rank import Rank, RankRequest, draw_best, shard_of


@pytest.fixture
def model(tiny_model, blobs):
    """A model of blobs that was never trained, in a file."""
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, sampler="euler", steps=2))
    return load(str(blobs.folder / "model.safetensors"), "cpu", "float32")


@pytest.fixture
def real_drawing(monkeypatch, blobs):
    """What the model draws are real blobs, of which every third is of another class than was asked for."""
    data = blobs.draw(400, 3)
    by_class = [data.images[data.labels == label] for label in range(3)]
    looks = []

    def draw(model, labels, seed, index, sampling, progress=None, *watch):
        shown = [(label + (number % 9 < 3)) % 3 for label, number in zip(labels, index, strict=True)]
        looks.append(len(index))
        images = [by_class[label][number] for label, number in zip(shown, index, strict=True)]
        return np.stack(images), Sampled(len(index), 0.5, 5.0)

    monkeypatch.setattr("noisette.workflows.rank.draw_pixels", draw)
    return looks


def test_the_best_are_kept_and_another_classifier_sees_it(model, choice, real_drawing):
    ranked = Rank(model, RankRequest(choice, per_class=40, candidates=120)).run()
    record = ranked.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    before, after = record["before"]["label_accuracy"], record["after"]["label_accuracy"]
    assert before["value"] == pytest.approx(2 / 3, abs=0.05)
    assert after["low"] > 0.95
    assert record["before"]["count"] == record["after"]["count"] == 120
    assert real_drawing == [100, 100, 100, 60]
    for pool, row in zip(ranked.kept, record["by_class"], strict=True):
        scores = [each.score for each in pool]
        assert len(pool) == row["kept"] == 40
        assert scores == sorted(scores, reverse=True)
        assert row["score"] == pytest.approx(np.mean(scores))
        assert row["score"] > row["plain_score"] + 0.2
    assert record["images"]["index"] == [each.number for pool in ranked.kept for each in pool]
    assert [len(pool) for pool in ranked.worst] == [5, 5, 5]
    assert all(each.score < 0.1 for pool in ranked.worst for each in pool)


def test_they_are_exactly_the_best_where_nothing_is_too_alike(model, choice, blobs):
    """Worked out again from all that the model draws with this seed."""
    request = RankRequest(dataclasses.replace(choice, near=0.0), per_class=7, candidates=50, seed=4)
    rank = Rank(model, request)
    ranked = rank.run()
    labels = [number % 3 for number in range(150)]
    images, _ = draw_pixels(model, labels, 4, range(150), model.sampling)
    scores, _ = rank.chooser.score(images, torch.tensor(labels))
    for label, pool in enumerate(ranked.kept):
        expected = sorted(range(label, 150, 3), key=lambda number: (-float(scores[number]), number))[:7]
        assert [each.number for each in pool] == expected
        assert all(np.array_equal(each.image, images[each.number]) for each in pool)
    assert [each.number for each in ranked.plain[1]] == [1, 4, 7, 10, 13, 16, 19]
    assert ranked.record["too_alike"]["distance"] == 0
    shard = shard_of(ranked.kept, 4, blobs.classes)
    assert shard.labels == [0] * 7 + [1] * 7 + [2] * 7
    assert np.array_equal(shard.images[7], images[shard.index[7]])


def test_an_image_drawn_again_and_again_is_kept_once(model, choice, blobs, monkeypatch):
    data = blobs.draw(100, 3)

    def draw(model, labels, seed, index, sampling, progress=None, *watch):
        images = [data.images[label + 3 * (number // 3 % 4)] for label, number in zip(labels, index, strict=True)]
        return np.stack(images), Sampled(len(index), 0.5, 5.0)

    monkeypatch.setattr("noisette.workflows.rank.draw_pixels", draw)
    for space in ("features", "pixels"):
        ranked = Rank(model, RankRequest(dataclasses.replace(choice, space=space), per_class=10, candidates=40)).run()
        for pool, row in zip(ranked.kept, ranked.record["by_class"], strict=True):
            assert 1 <= len(pool) <= 4
            assert row["too_alike"] >= 36
            assert len({each.image.tobytes() for each in pool}) == len(pool)


def test_what_scores_too_little_is_never_kept(model, choice, real_drawing):
    ranked = Rank(model, RankRequest(choice, per_class=100, candidates=120, reject_below=0.5)).run()
    for pool, row in zip(ranked.kept, ranked.record["by_class"], strict=True):
        assert all(each.score >= 0.5 for each in pool)
        assert row["below"] == pytest.approx(40, abs=4)
        assert row["kept"] + row["below"] + row["too_alike"] == 120 == 40 + 80
    assert ranked.record["after"]["count"] == 3 * min(row["kept"] for row in ranked.record["by_class"])


def test_where_nothing_scores_enough_that_is_said(model, choice, real_drawing):
    """The first image of each class is of another one."""
    with pytest.raises(NoisetteError, match=r"no image scores 0\.9 or more: the best of the first [\d.]+(e-\d+)?$"):
        Rank(model, RankRequest(choice, per_class=1, candidates=1, reject_below=0.9)).run()


def test_too_few_are_not_measured_and_said(model, choice, real_drawing, tmp_path):
    ranked = Rank(model, RankRequest(choice, per_class=20, candidates=30)).run()
    assert ranked.record["before"] is ranked.record["after"] is None
    console = Console(record=True, width=120)
    show_ranked(ranked.record, console)
    assert "Too few images" in console.export_text()
    assert [path.name for path in save_ranked(ranked, tmp_path)] == ["images.png"]


def test_the_price_counts_the_evaluations_and_the_looks(model, choice, real_drawing, monkeypatch):
    ranked = Rank(model, RankRequest(choice, per_class=40, candidates=120)).run()
    price = ranked.record["price"]
    assert ranked.record["evaluations_per_plain"] == 5
    assert price["evaluations"] == pytest.approx(5 * 3)
    assert price["looks"] == pytest.approx(3)
    assert price["all_in_evaluations"] == pytest.approx(15 + 3 * price["a_look_in_evaluations"])
    assert price["a_look_in_evaluations"] > 0


def test_of_several_scorers_the_lowest_score_counts(blobs, third_classifier, choice):
    third = dataclasses.replace(choice, by=(*choice.by, blobs.classifier), measure=str(third_classifier))
    with pytest.warns(UserWarning, match="networks of one design"):
        chooser = Chooser(third, None, "cpu")
    chooser.calibrate(50)
    data = blobs.draw(20, 5)
    images, labels = data.images, torch.from_numpy(np.roll(data.labels, 1))
    found, features = chooser.score(images, labels)
    each = [calibrated.judge(images, labels) for calibrated in chooser.calibrated]
    assert torch.equal(found, torch.minimum(each[0].score, each[1].score))
    assert not torch.equal(found, each[0].score)
    assert torch.equal(features, each[0].features)
    assert accuracy(each[0].guesses, labels).value < 0.1


def test_what_is_measured_is_the_best_of_each_class_as_often(choice, blobs, monkeypatch):
    """40 of the first class, 50 of the others, of which all after the 40th are wrong."""
    chooser = Chooser(choice, None, "cpu")
    data = blobs.draw(60, 5)
    by_class = [data.images[data.labels == label] for label in range(3)]
    images = [*by_class[0][:40], *by_class[1][:40], *by_class[0][40:50], *by_class[2][:40], *by_class[1][50:60]]
    labels = [0] * 40 + [1] * 50 + [2] * 50
    found = chooser.measure(np.stack(images), labels)
    assert found["count"] == 120
    assert found["label_accuracy"]["value"] > 0.98
    assert chooser.measure(np.stack(images[:130]), labels[:130])["count"] == 120
    assert chooser.measure(np.stack(images[:120]), labels[:120]) is None


def test_memory_does_not_grow_with_what_is_drawn(model, choice, monkeypatch):
    """Noise of 60 kB a batch is drawn: all of 40 batches would be 2.4 MB."""
    random = np.random.default_rng(0)

    def draw(model, labels, seed, index, sampling, progress=None, *watch):
        return random.integers(0, 256, (len(index), 8, 10, 1), dtype=np.uint8), Sampled(len(index), 0.5, 5.0)

    monkeypatch.setattr("noisette.workflows.rank.draw_pixels", draw)

    def held(candidates):
        request = RankRequest(choice, per_class=5, candidates=candidates)
        chooser = Chooser(choice, None, "cpu")
        chooser.calibrate(5)
        tracemalloc.start()
        pools = draw_best(model, request, chooser, model.sampling)
        gc.collect()  # what lies about in circles is not held
        found = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert pools
        return found

    held(200)  # what is made once, by whoever comes first, is not of the candidates
    assert held(2000) < held(200) + 100_000


# Refused ------------------------------------------------------------------------------------------


def test_a_classifier_does_not_measure_its_own_choice(model, choice, blobs, third_classifier):
    with pytest.raises(Refusal, match="chooses and would measure its own choice: expected --measure and another"):
        Rank(model, RankRequest(dataclasses.replace(choice, by=(blobs.classifier,))))
    with pytest.warns(UserWarning, match="networks of one design: they err alike"):
        Rank(model, RankRequest(dataclasses.replace(choice, by=(str(third_classifier),))))


REFUSED = {
    "nobody": ({"per_class": 0}, "per_class 0: expected at least 1"),
    "fewer to choose from": ({"per_class": 9, "candidates": 8}, "8 images to choose 9 from: expected at least 9"),
    "no probability": ({"reject_below": 1.5}, "reject_below 1.5: expected a probability"),
    "no share": ({"choice": {"near": 1.0}}, "near 1.0: expected a share"),
    "nothing": ({"choice": {"by": ()}}, "nothing to choose by"),
    "twice": ({"choice": {"by": ("both", "clip")}}, "by both, clip: expected each scorer once"),
    "seed": ({"seed": 2**63}, "seed .*: expected a number of at most 63 bits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    options, message = REFUSED[case]
    with pytest.raises(Refusal, match=message):
        RankRequest(**options | ({"choice": Choice(**options["choice"])} if "choice" in options else {}))


def test_models_that_do_not_fit_are_refused(tiny_model, choice, blobs):
    for classes, message in (((), "without classes"), (("a", "b", "c"), "draws the classes a, b, c")):
        save_model(blobs.folder / "x.safetensors", tiny_model(classes))
        with pytest.raises(Refusal, match=message):
            Rank(load(str(blobs.folder / "x.safetensors"), "cpu"), RankRequest(choice))


def test_table_and_figures(model, choice, real_drawing, tmp_path):
    ranked = Rank(model, RankRequest(choice, per_class=40, candidates=60)).run()
    console = Console(record=True, width=120)
    show_ranked(ranked.record, console)
    text = " ".join(console.export_text().split())
    assert "label accuracy floors coverage evaluations an image" in text
    assert "plain, 120" in text
    assert "which took no part" in text
    written = save_ranked(ranked, tmp_path)
    assert [path.name for path in written] == ["images.png", "measured.png"]
    assert all(path.stat().st_size > 0 and path.with_suffix(".svg").exists() for path in written)


def test_each_distance_is_shown_in_floors_of_as_many_real_images(monkeypatch):
    def found(value, real):
        metric = {"value": value, "low": value, "high": value, "real": real}
        return dict.fromkeys(("label_accuracy", "frechet", "coverage"), metric)

    shown = []
    monkeypatch.setattr("noisette.workflows.choice_shown.measured", lambda panels, title: shown.extend(panels))
    record = {"before": found(6.0, 2.0), "after": found(6.0, 3.0), "measured_by": {"name": "another"}}
    measures(record, {"plain": "before", "best": "after"}, "Best")
    assert [panel.real for panel in shown] == [2, 1, 2]
    assert shown[0].values == shown[2].values == {"plain": (6, 6, 6), "best": (6, 6, 6)}
    assert shown[1].values == {"plain": (3, 3, 3), "best": (2, 2, 2)}

"""The bench: cells are measured once, trainings go on, a folder belongs to one study, and numbers have yardsticks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisette.base.errors import Refusal
from noisette.data.datasets import DATASETS, load_data
from noisette.training.loop import Stepped
from noisette.workflows.recipes import load_recipe
from noisette.workflows.sources import open_samples
from noisette.workflows.studies import bench as module
from noisette.workflows.studies.bench import FULL, SHORT, Bench, Interrupted
from noisette.workflows.train import Stopped


def test_a_cell_is_measured_once_and_kept(request_for, trains):
    bench = Bench(request_for("parts"), trains)
    bench.plan(2)
    assert bench.cell("one", lambda: {"a": 1}) == {"a": 1}
    record = json.loads((bench.out / "results.json").read_text())
    assert record["cells"] == {"one": {"a": 1}}
    assert record["settings"]["data"] == "tiny"

    said = []
    again = Bench(request_for("parts"), trains, said.append)
    again.plan(2)
    assert again.cell("one", lambda: pytest.fail("measured again")) == {"a": 1}
    assert again.cell("two", lambda: {"a": 2}) == {"a": 2}
    assert said[0].startswith("2 cells to measure, 1 of them measured before; tiny, measured against its test part")
    assert said[1:] == ["[2/2] two"]


def test_a_training_is_done_once(request_for, trains, never_trains):
    bench = Bench(request_for("parts"), trains)
    bench.plan(1)
    model = bench.trained("whole", bench.laboratory())
    assert bench.trained("whole", bench.laboratory()) is model
    again = Bench(request_for("parts"), never_trains)
    kept = again.trained("whole", again.laboratory())
    assert kept.file.card == model.file.card
    assert kept.file.card["images_seen"] == module.SHORT.images
    with pytest.raises(AssertionError, match="trained again"):
        again.trained("other", again.laboratory())


def test_an_interrupted_training_goes_on(request_for, trains):
    def stops(run):
        events = []
        for event in run.events(lambda: len(events) >= 2):
            events.append(event)
        assert isinstance(events[-1], Stopped)
        return False

    bench = Bench(request_for("parts"), stops)
    bench.plan(1)
    with pytest.raises(Interrupted, match="whole"):
        bench.trained("whole", bench.laboratory())

    events = []

    def goes_on(run):
        events.extend(run.events())
        return True

    Bench(request_for("parts"), goes_on).trained("whole", bench.laboratory())
    steps = [event.images_seen for event in events if isinstance(event, Stepped)]
    assert steps == [96, 128]  # of batches of 32, two were there


def test_the_laboratory_is_the_recipes_network_on_a_chain_that_predicts_noise(bench):
    config = bench.laboratory()
    assert (config.diffusion.parameterisation, config.diffusion.schedule) == ("noise", "linear")
    assert (config.diffusion.table_steps, config.diffusion.loss_weight) == (500, "noise")
    assert (config.training.optimizer, config.training.images, config.training.minutes) == ("muon", 128, None)
    assert (config.training.batch_size, config.training.warmup_images) == (32, 6)
    assert config.network.widths == (8, 8)  # as the recipe has them
    assert (config.training.learning_rate, config.training.adamw_rate) == (0.02, 0.002)  # of docs/laboratory.md
    other = replace(config.diffusion, table_steps=10)
    assert bench.laboratory(other).diffusion == other
    assert bench.laboratory(other).sampling.steps == 10


def test_what_studies_train_is_the_laboratorys_diffusion():
    study = load_recipe("study")
    assert study.diffusion == load_recipe("lab").diffusion
    assert study.network.widths == (64, 128)  # of docs/laboratory.md


def test_full_and_short_differ_as_promised():
    assert (FULL.recipe, FULL.images, FULL.chain_images, FULL.batch_size) == ("study", 64_000, 100_000, 64)
    assert FULL.images >= 3 * SHORT.images
    assert FULL.digits > FULL.chain_digits > SHORT.chain_digits
    assert max(FULL.evaluations) == 500
    assert FULL.milestones[-1] == SHORT.milestones[-1] == 1.0


def test_samples_are_kept_as_anybody_could_judge_them(bench, own_model):
    model = bench.loaded(Path(own_model))
    found = bench.drawn("one", model, replace(model.sampling, steps=3), 60)
    samples = open_samples_of_any_count(bench.out / "samples" / "one.npz")
    assert samples[0].shape == (60, 8, 8, 1)
    assert samples[1].tolist() == [number % 3 for number in range(60)]
    assert (found["count"], found["evaluations"], found["steps"]) == (60, 3.0, 3)
    assert bench.grid("one", rows=2).width > 0
    with pytest.raises(Refusal, match="at least 100"):
        open_samples(bench.out / "samples" / "one.npz")  # what evaluates samples asks for more of them


def open_samples_of_any_count(path):
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def test_the_same_noise_is_in_every_cell(bench, own_model):
    model = bench.loaded(Path(own_model))
    for key in ("one", "two"):
        bench.drawn(key, model, model.sampling, 60)
    one, two = (open_samples_of_any_count(bench.out / "samples" / f"{key}.npz")[0] for key in ("one", "two"))
    assert (one == two).all()


def test_real_images_score_about_what_real_images_score(bench):
    rows = bench.judge.training_draw(60)
    labels = bench.data.labels[rows].tolist()
    assert labels == bench.even_labels(60)
    real = bench.judge.metrics(bench.data.images[rows], labels)
    assert real["frechet"]["value"] == pytest.approx(real["frechet"]["real"], abs=4 * real["frechet"]["real_spread"])
    assert real["coverage"]["value"] == pytest.approx(real["coverage"]["real"], abs=0.2)
    assert real["label_accuracy"]["value"] == pytest.approx(real["label_accuracy"]["real"], abs=0.2)
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    far = bench.judge.metrics(noise, labels)
    assert far["frechet"]["low"] > 2 * real["frechet"]["high"]
    assert far["coverage"]["high"] < real["coverage"]["low"]


def test_coverage_is_of_the_real_images(bench):
    of_one_class = np.flatnonzero(bench.data.labels == 1)  # 60 that lie among the real ones, in a third of the places
    found = bench.judge.metrics(bench.data.images[of_one_class], bench.even_labels(60))
    assert found["coverage"]["value"] < 0.4


def test_training_draws_are_of_what_trainings_see(bench):
    rows = bench.judge.training_draw(30)
    assert len(set(rows.tolist())) == 30
    assert set(rows.tolist()) <= set(bench.judge.real.train.rows.tolist())


@pytest.mark.parametrize("change", [{"short": False}, {"classifier": "copy.safetensors"}])
def test_a_folder_belongs_to_one_study(request_for, trains, laboratory, change):
    (laboratory / "copy.safetensors").write_bytes((laboratory / "eye.safetensors").read_bytes())
    bench = Bench(request_for("parts"), trains)
    bench.plan(1)
    belongs = r"belongs to another study: \w+ is .* there, not "
    with pytest.raises(Refusal, match=belongs):
        Bench(request_for("parts", **change), trains)
    with pytest.raises(Refusal, match=belongs):
        Bench(request_for("ema", out=bench.out), trains)


def test_what_is_no_study_is_left_alone(request_for, trains, laboratory):
    (laboratory / "mine").mkdir()
    (laboratory / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(Refusal, match="not empty and holds no study"):
        Bench(request_for("parts", out=laboratory / "mine"), trains)
    with pytest.raises(Refusal, match="is a file"):
        Bench(request_for("parts", out=laboratory / "eye.safetensors"), trains)
    for text in ("{", "[]", '{"format": "other"}', '{"format": "noisette-study-1", "settings": 3, "cells": {}}'):
        (laboratory / "mine" / "results.json").write_text(text)
        with pytest.raises(Refusal, match=r"is not a study's results"):
            Bench(request_for("parts", out=laboratory / "mine"), trains)
    assert (laboratory / "mine" / "thesis.txt").read_text() == "all of it"


def test_a_model_must_fit_the_data(request_for, trains, laboratory):
    with pytest.raises(Refusal, match="tiny"):
        Bench(request_for("guidance", model="mnist"), trains)
    assert not (laboratory / "guidance").exists()


def first(each):
    """Makes data of the first images of each class."""

    def cut(data):
        rows = np.concatenate([np.flatnonzero(data.labels == label)[:each] for label in range(3)])
        return replace(data, images=data.images[rows], labels=data.labels[rows])

    return cut


def without_classes(data):
    return replace(data, labels=np.full_like(data.labels, -1), classes=())


CANNOT_BE_MEASURED = {
    "no classes": (without_classes, {}, "data set tiny of 0 classes: expected 1 to 60, to draw images of each"),
    "more classes than digits": (first(60), {"digits": 2}, "data set tiny of 3 classes: expected 1 to 2, to draw"),
    "few to compare with": (first(19), {}, "tiny with 19 training images of its rarest class: expected at least 20"),
    "few to hold against": (first(13), {"digits": 30}, "tiny: equal class counts leave 39 test images to measure"),
}


@pytest.mark.parametrize("case", CANNOT_BE_MEASURED)
def test_data_that_cannot_be_measured_are_refused_before_training(case, request_for, never_trains, monkeypatch):
    change, effort, message = CANNOT_BE_MEASURED[case]
    parts = {part: change(load_data("tiny", None, part)) for part in ("train", "test")}
    monkeypatch.setitem(DATASETS._choices, "tiny", lambda data_dir, part: parts[part])
    monkeypatch.setattr(module, "SHORT", replace(module.SHORT, **effort))
    with pytest.raises(Refusal, match=message):
        Bench(request_for("parts"), never_trains)


def test_each_study_asks_for_what_it_draws_and_no_more(request_for, never_trains, monkeypatch):
    parts = {part: first(13)(load_data("tiny", None, part)) for part in ("train", "test")}
    monkeypatch.setitem(DATASETS._choices, "tiny", lambda data_dir, part: parts[part])
    Bench(request_for("recognition"), never_trains)  # holds nothing against real images
    monkeypatch.setattr(module, "SHORT", replace(module.SHORT, chain_digits=42))
    with pytest.raises(Refusal, match="13 training images of its rarest class: expected at least 14"):
        Bench(request_for("steps"), never_trains)

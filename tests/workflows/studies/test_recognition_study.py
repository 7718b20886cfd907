"""Recognition: the classifier reads what it is said to read, the paragraph follows the numbers."""

from dataclasses import replace

import pytest
import torch

from noisette.diffusion.noise import unit_variance
from noisette.perception.read import read
from noisette.workflows.model import Model, load
from noisette.workflows.studies import recognition as module
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.recognition import courses, paragraph, study, whole_way


@pytest.fixture
def own_bench(request_for, never_trains, own_model):
    return Bench(request_for("recognition", model=own_model), never_trains)


def test_both_images_are_read_at_every_step(own_bench):
    model, labels = own_bench.given, own_bench.even_labels(9)
    moments, levels, found = courses(model, own_bench.judge.classifier, labels)
    assert moments == list(range(1, 13))
    snapshots = list(model.snapshots(labels))
    assert levels == [snapshot.noise_level for snapshot in snapshots]
    for number, snapshot in enumerate(snapshots):
        shown = {"noisy": unit_variance(snapshot.noisy, snapshot.noise_level), "clean": snapshot.denoised}
        for what, images in shown.items():
            seen = read(own_bench.judge.classifier, images)
            right = (seen.guesses == torch.tensor(labels)).double()
            assert found[what].accuracy[number] == float(right.mean())
            assert found[what].confidence[number] == pytest.approx(float(seen.probabilities.max(1).values.mean()))
            by_class = [float(right[label::3].mean()) for label in range(3)]
            assert found[what].by_class[number] == by_class


def test_a_chain_is_drawn_by_all_its_steps(own_bench):
    file = own_bench.given.file
    quick = replace(file.spec, sampling=replace(file.spec.sampling, sampler="ddim", eta=0.0, steps=3))
    model = Model("quick", replace(file, spec=quick), own_bench.given.device)
    assert (whole_way(model).sampler, whole_way(model).steps, whole_way(model).eta) == ("ddpm", 12, None)
    moments, levels, _ = courses(model, own_bench.judge.classifier, [0], sampling=whole_way(model))
    assert moments == list(range(1, 13))
    assert levels[-2] == float(file.spec.diffusion.table()[-1])
    assert courses(model, own_bench.judge.classifier, [0])[0] == [1, 2, 3]
    shipped = load("mnist", "cpu")
    assert whole_way(shipped) == shipped.sampling


def test_batches_make_no_difference(own_bench, monkeypatch):
    model, labels = own_bench.given, own_bench.even_labels(9)
    whole = courses(model, own_bench.judge.classifier, labels)[2]
    monkeypatch.setattr("noisette.workflows.model.BATCH", 4)
    told = []
    cut = courses(model, own_bench.judge.classifier, labels, progress=lambda *done: told.append(done))[2]
    assert told[-1] == (9, 9)
    assert told == sorted(told)
    assert cut["clean"].by_class == whole["clean"].by_class
    assert cut["noisy"].confidence == pytest.approx(whole["noisy"].confidence)


def test_the_study_is_made_once(own_bench, request_for, never_trains, own_model, monkeypatch):
    found = study(own_bench)
    assert own_bench.cells["course"]["shares"][-1] == 1.0
    assert len(found.tables[0].rows) == 4
    assert set(found.figures) == {"recognition", "classes", "film"}
    again = Bench(request_for("recognition", model=own_model), never_trains)
    monkeypatch.setattr(module, "courses", lambda *_, **__: pytest.fail("drawn again"))
    assert study(again).paragraph == found.paragraph


def test_the_paragraph_follows_the_numbers():
    def cell(noisy, clean, chain=True, sure=0.2, best=0.5):
        def course(at, by_class):
            return {
                "accuracy": [0.1, best, 1.0],
                "confidence": [sure, 0.5, 1.0],
                "recognised_at": at,
                "class_recognised_at": by_class,
                "by_class": [[0.0, 0.9], [0.4, 0.9], [1.0, 1.0]],
            }

        return {
            "count": 100,
            "steps": 500,
            "sampler": "ddpm",
            "chain": chain,
            "shares": [0.3, 0.6, 1.0],
            "noise_levels": [5.0, 1.0, 0.0],
            "noisy": course(noisy, [noisy, noisy]),
            "clean": course(clean, [0.2, 0.4]),
        }

    text = paragraph(cell(0.75, 0.5), ("bar", "dot"))
    assert "nine tenths of that are reached after 75% of the steps, at noise level 0; " in text
    assert "predicted clean image after 50%, at 1." in text
    assert "The network knows what it draws before" in text
    assert "The laboratory's 70 to 80 % hold for the noisy image. Of" in text
    assert "class bar is recognised first (20%) and class dot last (40%)" in text
    assert "Its confidence means nothing there" not in text
    assert "told best on the way" not in text
    text = paragraph(cell(0.75, 0.5, best=1.1), ("bar", "dot"))
    assert "told best on the way, 110.0% after 60% of the steps" in text

    text = paragraph(cell(0.9, 0.95, chain=False, sure=0.99), ("bar", "dot"))
    assert "The network knows" not in text
    assert "recognised later than the laboratory said (70 to 80 % of the steps); but this grid is not" in text
    assert "it is 99% sure of the noisy image and 10% right. It takes noise for class dot, whose row is no" in text
    assert "recognised sooner than the laboratory said" in paragraph(cell(0.4, 0.3), ("bar", "dot"))

    rows = module._table(cell(0.3, 0.5), ("bar", "dot")).rows
    assert [row[1] for row in rows] == ["at once"] * 3  # where the first moment looked at is no more than a bound
    assert [row[3] for row in rows] == ["50%", "at once", "40%"]


def test_a_class_that_is_never_told_is_not_recognised_first():
    classes = ("bar", "dot", "edge")
    course = {
        "accuracy": [0.0, 0.5],
        "confidence": [0.1, 0.5],
        "recognised_at": 0.95,
        "class_recognised_at": [0.5, 0.9, 0.95],
        "by_class": [[0.0, 0.0, 0.0], [0.0, 0.5, 1.0]],
    }
    cell = {"count": 9, "steps": 2, "sampler": "ddpm", "chain": True, "shares": [0.5, 1.0], "noise_levels": [1.0, 0.0]}
    cell |= {"noisy": course, "clean": course}
    assert "class dot is recognised first (90%) and class edge last (95%)" in paragraph(cell, classes)
    assert [row[3] for row in module._table(cell, classes).rows] == ["95%", "never", "90%", "95%"]
    nothing = course | {"accuracy": [0.0, 0.0], "by_class": [[0.0, 0.0, 0.0]] * 2}
    assert "recognised first" not in paragraph(cell | {"clean": nothing}, classes)
    assert [row[3] for row in module._table(cell | {"clean": nothing}, classes).rows] == ["never"] * 4

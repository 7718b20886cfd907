"""Scores: probabilities that follow from the scorer's own, beside what real images score, and a warning where that is
low."""

import json
import warnings

import numpy as np
import pytest
import torch
from rich.console import Console

from noisette.base.errors import Refusal
from noisette.evaluation.calibration import fit_temperature
from noisette.workflows.calibrated import calibrate, some_real_images
from noisette.workflows.score import Prompts, ScoreRequest, Scoring
from noisette.workflows.score_shown import _best_and_worst, save_scores, show
from noisette.workflows.scorers import Scored, load_scorer, score_pixels
from noisette.workflows.sources import open_drawn

PROMPTS = Prompts(("a number {label}",), ("a blurry number", "a number"))


@pytest.fixture
def scoring(blobs):
    """Scores 60 blobs, the last ten of them labelled wrongly."""
    data = blobs.draw(20, 7)
    labels = data.labels.copy()
    labels[50:] = (labels[50:] + 1) % 3

    def make(labels=labels, **options):
        path = blobs.write("given.npz", data.images, np.array(labels, np.int64))
        return Scoring(ScoreRequest(blobs.classifier, **{"data": "blobs"} | options)).run(open_drawn(str(path), 1))

    return make


def test_the_record_says_what_the_classifier_makes_of_each_image(scoring, blobs):
    found = scoring()
    record, images = found.record, found.record["images"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    raw = score_pixels(found.calibrated.scorer, found.samples.images).scores
    expected = (raw.double() / record["scorer"]["temperature"]).softmax(1)
    asked = torch.tensor(images["asked"])
    assert images["score"] == images["label"] == pytest.approx(expected.gather(1, asked[:, None])[:, 0].tolist(), 1e-4)
    assert images["read_as"] == raw.argmax(1).tolist()
    assert images["clear"] is None
    assert record["samples"]["count"] == 60
    assert record["samples"]["accuracy"]["value"] == pytest.approx(5 / 6, abs=0.04)
    assert sum(map(sum, record["confusion"])) == 60
    assert record["samples"]["score"] == pytest.approx(np.mean(images["score"]), rel=1e-4)
    assert [row["class"] for row in record["by_class"]] == list(blobs.classes)
    assert sum(row["count"] for row in record["by_class"]) == 60
    assert record["scorer"]["warning"] is None


def test_real_images_calibrate_on_one_half_and_measure_on_the_other(scoring, blobs):
    found = scoring()
    real, labels = found.record["scorer"]["real"], found.calibrated.real.labels
    assert (real["fitted_on"], real["measured_on"]) == (150, 150)  # of the test part
    shown = found.calibrated.shown.scores
    assert found.record["scorer"]["temperature"] == fit_temperature(shown[:150].log_softmax(1), labels[:150])
    assert real["accuracy"]["value"] == float((shown[150:].argmax(1) == labels[150:]).double().mean()) > 0.95
    assert real["calibration_error_after"] < 0.05
    scores = [row["real"]["score"] for row in found.record["by_class"]]
    assert sum(row["real"]["count"] for row in found.record["by_class"]) == 150
    assert real["score"] == pytest.approx(np.mean(scores), abs=0.02)


@pytest.fixture
def digits(tmp_path, tiny_clip):
    """Real digits that ship, 60 of them in a file, and a request for a tiny CLIP model that was never trained."""
    from noisette.data.datasets import load_data

    data = load_data("mnist-5k")
    np.savez(tmp_path / "digits.npz", images=data.images[:60], labels=data.labels[:60])
    return open_drawn(str(tmp_path / "digits.npz"), 1), ScoreRequest(str(tiny_clip()), PROMPTS, "mnist-5k")


def test_a_clip_model_is_asked_for_a_class_among_the_classes_and_against_what_is_bad(digits):
    samples, request = digits
    with pytest.warns(UserWarning, match=r"reads only .* of real mnist-5k images as what they are: its scores say"):
        found = Scoring(request).run(samples)
    record, images = found.record, found.record["images"]
    logits = score_pixels(found.calibrated.scorer, samples.images).scores.double() / record["scorer"]["temperature"]
    for row in range(60):
        own, classes, bad = logits[row, images["asked"][row]], logits[row, :10], logits[row, 10:]
        among = {"label": classes, "clear": torch.cat([own[None], bad]), "score": logits[row]}
        for name, rivals in among.items():
            assert images[name][row] == pytest.approx(float((own - rivals.logsumexp(0)).exp()), rel=1e-3), name
    assert record["columns"] == [*"0123456789", *PROMPTS.bad]
    shown, labels = found.calibrated.shown.scores[:500, :10].log_softmax(1), found.calibrated.real.labels[:500]
    assert record["scorer"]["temperature"] == fit_temperature(shown, labels)
    assert all(len(row) == 12 for row in record["confusion"])
    assert record["scorer"]["prompts"][7] == ["a number 7"]
    assert record["scorer"]["bad"] == list(PROMPTS.bad)
    assert "its scores say little" in record["scorer"]["warning"]


@pytest.mark.filterwarnings("ignore:.*its scores say little")
def test_an_image_is_read_as_a_class_also_where_a_bad_prompt_is_likelier(digits, monkeypatch):
    samples, request = digits
    calibrated = Scoring(request).run(samples).calibrated
    scores = torch.zeros(2, 12)
    scores[0, 3], scores[0, 10], scores[1, 4] = 2, 5, 3
    monkeypatch.setattr(
        "noisette.workflows.calibrated.score_pixels", lambda *given: Scored(scores.log_softmax(1), torch.zeros(2, 8))
    )
    verdicts = calibrated.judge(np.zeros((2, 28, 28, 1), np.uint8), torch.tensor([3, -1]))
    assert verdicts.guesses.tolist() == verdicts.asked.tolist() == [3, 4]
    assert verdicts.prompts.tolist() == [10, 4]


def test_images_of_no_class_are_held_against_their_likeliest(scoring):
    found = scoring(labels=np.full(60, -1))
    record = found.record
    assert record["samples"]["accuracy"] is None
    assert found.verdicts.asked.tolist() == record["images"]["read_as"]
    assert min(record["images"]["score"]) > 1 / 3
    assert record["images"]["asked"] == [-1] * 60


def test_what_real_images_score_is_kept(scoring, monkeypatch):
    first = scoring().record
    monkeypatch.setattr("noisette.workflows.calibrated.score_pixels", real := Counted(score_pixels))
    assert scoring().record == first
    assert real.counts == [60]


class Counted:
    """Counts the images that a function is called with."""

    def __init__(self, call):
        self.call, self.counts = call, []

    def __call__(self, scorer, images, *more):
        self.counts.append(len(images))
        return self.call(scorer, images, *more)


def test_no_more_real_images_are_shown_than_needed_and_no_fewer_than_mean_something(blobs, monkeypatch):
    data = blobs.data["test"]
    with pytest.raises(Refusal, match="19 real blobs images: expected at least 20"):
        some_real_images(data, torch.arange(19))
    monkeypatch.setattr("noisette.workflows.calibrated.REAL_IMAGES", 40)
    few = some_real_images(data, torch.arange(100, 200))
    assert len(few.labels) == 40
    for image, label in zip(few.images, few.labels, strict=True):
        (row,) = np.flatnonzero((data.images[100:200] == image).all((1, 2, 3)))
        assert data.labels[100 + row] == label
    scorer = load_scorer(blobs.classifier, blobs.classes, (1, 8, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert calibrate(scorer, few).facts()["real"]["fitted_on"] == 20


def test_table_and_figures(scoring, tmp_path, digits):
    for number, found in enumerate((scoring(), scoring(labels=np.full(60, -1)))):
        console = Console(record=True, width=120)
        show(found.record, console)
        text = console.export_text()
        assert "left" in text
        assert "% of 150 real blobs images" in text
        written = save_scores(found, tmp_path / str(number))
        assert [path.name for path in written] == [
            "best_and_worst.png",
            "scores.png",
            "calibration.png",
            "confusion.png",
        ]
        assert all(path.stat().st_size > 0 and path.with_suffix(".svg").exists() for path in written)


def test_the_best_and_the_worst_stand_under_their_class(scoring, monkeypatch):
    monkeypatch.setattr("noisette.workflows.score_shown.gallery", lambda panels, classes: (panels, classes))
    found = scoring()
    panels, classes = _best_and_worst(found)
    assert classes == ["left", "middle", "right"]
    scores, asked = np.array(found.record["images"]["score"]), np.array(found.record["images"]["asked"])
    best, worst = panels.values()
    for label in range(3):
        own = np.sort(scores[asked == label])
        assert [score for _, score, _ in best[label]] == pytest.approx(own[::-1][:4], rel=1e-4)
        assert [score for _, score, _ in worst[label]] == pytest.approx(own[:4], rel=1e-4)
        for image, score, read in (*best[label], *worst[label]):
            (row,) = np.flatnonzero((found.samples.images == image).all((1, 2, 3)))
            assert scores[row] == pytest.approx(score, rel=1e-4)
            told = found.record["images"]["read_as"][row]
            assert (read is None and told == label) or read == classes[told]
    assert [read for columns in worst for _, _, read in columns if read]


def test_samples_of_another_size_or_with_other_labels_are_refused(blobs):
    data = blobs.draw(20, 7)
    for images, labels, said in (
        (data.images[:, :7], data.labels, r"images \[7, 10, 1\]"),
        (data.images, data.labels + 1, "labels 1 to 3: expected 0 to 2"),
    ):
        samples = open_drawn(str(blobs.write("bad.npz", images, labels)), 1)
        with pytest.raises(Refusal, match=said):
            Scoring(ScoreRequest(blobs.classifier, data="blobs")).run(samples)

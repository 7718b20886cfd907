import json
from dataclasses import replace

import numpy as np
import pytest

from noisette.base.config import to_plain
from noisette.base.errors import Refusal
from noisette.data.checks import check
from noisette.data.datasets import load_data
from noisette.data.images import to_model
from noisette.data.split import split

EMPTY = np.empty(0, np.int64)


def report_of(data, fraction=0.5):
    return check(data, *split(data.labels, fraction))


def test_sound_data_have_no_problem_and_no_warning(digits):
    data = digits()
    report = report_of(data)
    report.require_sound()
    assert (report.problems, report.warnings) == ((), ())
    assert report.shape == (60, 5, 4, 1)
    assert (report.image_type, report.label_type) == ("uint8", "int64")
    assert (report.label_range, report.finite) == ((0, 2), True)
    assert report.digest == data.digest
    found = report.contents
    assert found.train.per_class == found.validation.per_class == (10, 10, 10)
    assert found.train.images == found.validation.images == 30
    assert (found.lowest, found.highest) == (data.images.min(), data.images.max())
    assert (found.shared, found.constant, found.black) == (0, 0, 0)


def test_scaled_moments_are_those_of_the_training_part(digits):
    data = digits(shape=(6, 5, 3))
    data.images[:] //= 3
    train, validation = split(data.labels, 0.4)
    found = check(data, train, validation).contents
    scaled = to_model(data.images[train]).double()
    assert found.mean == pytest.approx(scaled.mean().item(), abs=1e-12)
    assert found.standard_deviation == pytest.approx(scaled.std(correction=0).item(), abs=1e-12)
    assert found.scaled_lowest == to_model(data.images).min().item()
    assert found.scaled_highest == to_model(data.images).max().item()


@pytest.mark.parametrize("values", [7, 20, 130])  # an image has 20
def test_many_images_are_looked_at_in_pieces(digits, monkeypatch, values):
    data = digits()
    data.images[[3, 40]] = data.images[0]
    data.images[59], data.images[2] = 0, 9
    whole = report_of(data)
    assert whole.contents.shared + whole.contents.train.duplicates + whole.contents.validation.duplicates == 3
    monkeypatch.setattr("noisette.data.checks._AT_A_TIME", values)
    assert report_of(data) == whole


def test_planted_duplicates_are_counted_where_they_lie(digits):
    data = digits()
    train, validation = split(data.labels, 0.5)
    data.images[train[[1, 2]]] = data.images[train[0]]
    data.images[validation[1]] = data.images[validation[0]]
    data.images[validation[[4, 5]]] = data.images[train[6]]
    report = check(data, train, validation)
    found = report.contents
    # The two copies of a training image also repeat each other within validation.
    assert (found.train.duplicates, found.validation.duplicates, found.shared) == (2, 2, 2)
    assert len(report.warnings) == 3
    assert any("training images too" in warning for warning in report.warnings)
    report.require_sound()


def test_images_of_one_colour_are_told(digits):
    data = digits()
    data.images[3], data.images[7], data.images[8] = 0, 0, 9
    report = report_of(data)
    assert (report.contents.constant, report.contents.black) == (3, 2)
    assert "images of one colour: 3, of them black: 2" in report.warnings


def test_classes_that_are_few_or_absent_are_told(digits):
    data = digits(per_class=20, classes=2)
    keep = np.flatnonzero((data.labels == 0) | (np.arange(40) < 6))
    data = replace(data, images=data.images[keep], labels=data.labels[keep], classes=("a", "b", "c"))
    assert np.bincount(data.labels).tolist() == [20, 3]
    report = check(data, np.arange(23), EMPTY)
    assert report.warnings == (
        "classes without an image: c",
        "classes with fewer than 10 training images: b (3)",
        "the largest class has 6.7 times the training images of the smallest",
    )


def test_of_many_names_ten_are_told(digits):
    report = report_of(replace(digits(), classes=tuple("abcdefghijklmno")))
    assert report.warnings == ("classes without an image: d, e, f, g, h, i, j, k, l, m and 2 more",)


def test_a_class_without_validation_is_told(digits):
    data = digits(per_class=12)
    validation = np.flatnonzero(data.labels == 0)[:2]
    train = np.setdiff1d(np.arange(36), validation)
    assert check(data, train, validation).warnings == ("classes without a validation image: b, c",)
    assert check(data, np.arange(36), EMPTY).warnings == ()


def wrong_label(data, label):
    labels = data.labels.copy()
    labels[5] = label
    return replace(data, labels=labels)


def floats(data, value):
    images = data.images.astype(np.float32)
    images[0, 0, 0, 0] = value
    return replace(data, images=images)


FAULTS = {
    "floats": (lambda data: floats(data, 0.5), "images are float32, expected uint8"),
    "a number": (lambda data: replace(data, images=np.uint8(3)[...]), "images have shape []"),
    "no channels": (lambda data: replace(data, images=data.images[..., 0]), "expected [N, H, W, C]"),
    "channels first": (lambda data: replace(data, images=np.zeros((60, 1, 28, 28), np.uint8)), "28 channels"),
    "no pixels": (lambda data: replace(data, images=data.images[:, :0]), "images are empty: 0 x 4"),
    "no images": (lambda data: replace(data, images=data.images[:0], labels=data.labels[:0]), "no images"),
    "label 3": (lambda data: wrong_label(data, 3), "labels lie in 0 to 3, expected 0 to 2"),
    "label -1": (lambda data: wrong_label(data, -1), "labels lie in -1 to 2"),
    "label type": (lambda data: replace(data, labels=data.labels.astype(np.int32)), "labels are int32"),
    "label count": (
        lambda data: replace(data, labels=data.labels[:-1]),
        "labels have shape [59], expected [60], one an image",
    ),
    "names": (lambda data: replace(data, classes=("a", "b", "a")), "two classes have the same name"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_problem_is_reported_and_refused(digits, fault):
    plant, message = FAULTS[fault]
    data = plant(digits())
    report = check(data, np.arange(60)[1:], np.arange(60)[:1])
    assert message in report.problems[0]
    assert report.contents is None
    with pytest.raises(Refusal, match="data set digits: ") as caught:
        report.require_sound()
    assert message in str(caught.value)
    json.dumps(to_plain(report))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_a_problem(digits, value):
    report = report_of(floats(digits(), value))
    assert not report.finite
    assert "images hold values that are NaN or infinite" in report.problems
    assert report_of(floats(digits(), 1.0)).finite


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([], [0, 1], "there are no training images"),
        ([0, 1], [1, 2], "the split names an image twice"),
        ([0, 1, 1], [2], "the split names an image twice"),
        ([0, 60], [1], "the split names images 0 to 60, expected 0 to 59"),
        ([0, 1], [-1], "the split names images -1 to 1"),
    ],
)
def test_a_false_split_is_a_problem(digits, train, validation, message):
    report = check(digits(), np.array(train, np.int64), np.array(validation, np.int64))
    assert message in report.problems[0]


def test_the_report_is_plain(digits):
    plain = to_plain(report_of(digits()))
    assert json.loads(json.dumps(plain))["contents"]["train"]["per_class"] == [10, 10, 10]


def test_the_embedded_digits_are_sound():
    report = report_of(load_data("mnist-5k"), 0.2)
    assert (report.problems, report.warnings) == ((), ())
    assert report.contents.train.per_class == (400,) * 10
    assert report.contents.mean == pytest.approx(-0.738, abs=0.01)  # MNIST's 0.1307, scaled to [-1, 1]
    assert report.contents.standard_deviation == pytest.approx(0.616, abs=0.01)  # 2 x 0.3081


def test_images_of_no_class_are_sound(digits):
    data = digits()
    data = replace(data, labels=np.full(60, -1), classes=())
    report = report_of(data)
    assert (report.problems, report.warnings) == ((), ())
    assert report.contents.train.per_class == report.contents.validation.per_class == ()
    assert (report.contents.train.images, report.contents.validation.images) == (30, 30)
    few = report_of(replace(data, images=data.images[:12], labels=data.labels[:12]))
    assert few.warnings == ("fewer than 10 training images: 6",)


def test_labels_without_classes_are_a_problem_and_so_is_no_class_among_classes(digits):
    data = digits()
    (problem,) = report_of(replace(data, classes=())).problems
    assert problem == "labels lie in 0 to 2, expected -1, since there are no classes"
    data.labels[5] = -1
    (problem,) = report_of(data).problems
    assert problem == "labels lie in -1 to 2, expected 0 to 2"

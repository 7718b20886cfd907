"""The figures of scores: every image, point and bar is there, under its name."""

import numpy as np
import pytest
from PIL import Image

from noisette.report.figures import confusion
from noisette.report.scores import calibration, gallery, score_histogram
from noisette.report.theme import save_figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_histogram_holds_every_image_also_those_that_are_all_but_sure():
    figure = score_histogram({"samples": [0.0, 0.5, 0.999999, 1.0], "real": [0.9, 0.95]}, "Scores")
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if hasattr(patch, "get_height")]
    assert sum(patch.get_height() for patch in bars) == pytest.approx(100)
    assert bars[0].get_height() == pytest.approx(25)
    assert bars[-1].get_height() == pytest.approx(50)
    outline = next(patch for patch in axes.patches if not hasattr(patch, "get_height"))
    assert outline.get_xy()[:, 1].max() == pytest.approx(50)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["samples", "real"]


def test_sure_against_right_has_a_point_and_an_interval_for_each_bin():
    points = [(0.5, 0.4, 0.3, 0.55, 0.25), (0.9, 1.0, 0.95, 1.0, 0.75)]
    (axes,) = calibration({"before": (points, 0.1), "after": (points[:1], 0.02)}).axes
    lines, dots, *_ = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [[50, 40], [90, 100]])
    np.testing.assert_allclose([path.vertices[:, 1] for path in lines.get_paths()], [[30, 55], [95, 100]])
    assert axes.figure.legends[0].get_texts()[0].get_text() == "before: calibration error 10 points"


def test_images_stand_under_their_class_with_their_score_and_what_they_are_read_as():
    image = np.zeros((4, 4, 1), np.uint8)
    coloured = np.zeros((4, 4, 3), np.uint8)
    panels = {
        "Best": [[(image, 0.9995, None), (image, 0.5, None)], [(coloured, 0.25, "cat")]],
        "Worst": [[(image, 0.0001, "dog")], []],
    }
    best, worst = gallery(panels, ["cat", "dog"]).axes
    assert texts(best) == ["> 99.9", "50.0", "25.0, cat"]
    assert texts(worst) == ["< 0.1, dog"]
    assert [len(axes.images) for axes in (best, worst)] == [3, 1]
    left, right = best.images[0].get_extent(), best.images[2].get_extent()
    assert list(left[:2]) == [0, 0.95]
    assert list(right[:2]) == [1, 1.95]
    assert left[3] < left[2]  # the first row is above, and its upper edge is up
    assert [text.get_text() for text in best.get_xticklabels()] == ["cat", "dog"]


def test_no_word_is_cut_off_at_the_edge(tmp_path):
    """A long prompt stands on end below the last column."""
    classes = [*"0123456789"]
    counts = np.hstack([20 * np.eye(10, dtype=int), np.zeros((10, 1), int)]).tolist()
    save_figure(confusion(counts, classes, [*classes, "A blurry, unclear number"], "likeliest"), tmp_path / "confusion")
    with Image.open(tmp_path / "confusion.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert (pixels < 200).any()
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 255).all()

"""Comparisons: every curve and picture is there, in its place, under its name."""

import numpy as np
import pytest
from PIL import Image

from noisette.report.comparisons import Chart, Curve, charts, grids

ONE = Curve([1, 10, 100], [0.1, 0.5, 0.9], [0.0, 0.4, 0.8], [0.2, 0.6, 1.0])
OTHER = Curve([1, 10, 100], [0.3, 0.3, 0.3])


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_are_drawn_with_their_intervals():
    figure = charts([Chart("Accuracy", "images", {"one": ONE, "other": OTHER}, real=0.95, shares=True)])
    (axes,) = figure.axes
    assert legend(figure) == ["one", "other", "real images"]
    drawn = [line.get_ydata() for line in axes.lines]
    np.testing.assert_allclose(drawn[0], [10, 50, 90])  # per cent
    np.testing.assert_allclose(drawn[2], [95, 95])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 100)
    assert 100 < axes.get_ylim()[1] < 110
    assert axes.yaxis.get_major_formatter()(50, None) == "50 %"


def test_a_label_has_one_colour_in_all_charts():
    figure = charts([Chart("a", "x", {"one": ONE, "other": OTHER}), Chart("b", "x", {"other": OTHER, "third": ONE})])
    first, second = ([line.get_color() for line in axes.lines] for axes in figure.axes)
    assert first[1] == second[0]
    assert len({*first, *second}) == 3
    assert legend(figure) == ["one", "other", "third"]


def test_more_curves_than_colours_are_still_told_apart():
    figure = charts([Chart("a", "x", {f"{number}": OTHER for number in range(10)})])
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 10


def test_logarithmic_axes_have_plain_numbers():
    far = Curve([1, 10, 500], [1000.0, 1.0, 1e-9])
    figure = charts([Chart("a", "x", {"far": far}, log_x=True, log_y=True, bottom=0.01)])
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_ylim()[0] == 0.01
    assert axes.yaxis.get_major_formatter()(0.1, None) == "0.1"


def test_many_images_are_told_in_thousands():
    figure = charts([Chart("a", "images seen", {"course": Curve([50_000, 100_000], [1.0, 2.0])})])
    assert figure.axes[0].xaxis.get_major_formatter()(50_000, None) == "50k"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_stand_under_their_titles(mode):
    pictures = [Image.new(mode, (20, 10)) for _ in range(3)]
    figure = grids([[("a", pictures[0]), ("b", pictures[1])], [("c", pictures[2])]])
    shown = [(axes.get_title(loc="left") or axes.get_title(), len(axes.images)) for axes in figure.axes]
    assert shown == [("a", 1), ("b", 1), ("c", 1), ("", 0)]

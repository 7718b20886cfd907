"""The figures show what they say: asked of the drawn lines, not of pixels."""

import numpy as np
import pytest

from noisette.diffusion.noise import LevelRange, level_table, pick
from noisette.report import figures
from noisette.report.theme import BLUE, RED


def step(images, loss, rate=0.1):
    return {"images_seen": images, "loss": loss, "learning_rate": rate, "gradient_norm": 2 * loss}


def validation(images, loss, best=False, dropped=False):
    return {
        **{"images_seen": images, "loss": loss, "is_best": best, "rate_dropped": dropped},
        **{"bucket_losses": [loss, 2 * loss], "bucket_edges": [0.1, 1.0, 10.0]},
    }


STEPS = [step(64 * n, 1 / n) for n in range(1, 1001)]
VALIDATIONS = [validation(16000, 0.5, True), validation(32000, 0.2, True), validation(48000, 0.3, dropped=True)]


def lines(figure):
    return {line.get_label(): line for axes in figure.axes for line in axes.lines}


def test_the_best_point_and_the_drops_are_marked():
    shown = lines(figures.losses(STEPS, VALIDATIONS))
    assert shown["best"].get_xydata().tolist() == [[32000, 0.2]]
    assert shown["learning rate drops"].get_xdata() == [48000, 48000]
    assert shown["validation, average"].get_ydata().tolist() == [0.5, 0.2, 0.3]
    rates = lines(figures.learning_rate(STEPS, VALIDATIONS))
    assert rates["drops"].get_xdata() == [48000, 48000]


def test_training_is_averaged_in_bins_that_miss_no_batch():
    mean = lines(figures.losses(STEPS, []))["training, mean"]
    assert len(mean.get_xdata()) == figures.BINS
    assert mean.get_xdata()[-1] == 64000
    sizes = [len(part) for part in np.array_split(np.arange(1000), figures.BINS)]
    assert np.average(mean.get_ydata(), weights=sizes) == pytest.approx(np.mean([s["loss"] for s in STEPS]))


@pytest.mark.parametrize("steps", [STEPS[:1], STEPS[:7], STEPS])
@pytest.mark.parametrize("validations", [[], VALIDATIONS[:1], VALIDATIONS])
def test_a_run_of_any_length_has_its_losses(steps, validations):
    assert len(figures.losses(steps, validations).axes) == 1


def test_each_range_of_noise_levels_has_its_curve():
    shown = lines(figures.loss_by_level(VALIDATIONS))
    assert list(shown) == ["0.1 to 1", "1 to 10"]
    assert list(shown["1 to 10"].get_ydata()) == [1.0, 0.4, 0.6]


def test_gradients_of_zero_can_be_drawn():
    assert figures.gradient_norm([step(64, 0.0), step(128, 0.0)]).axes[0].get_yscale() == "linear"
    assert figures.gradient_norm(STEPS).axes[0].get_yscale() == "log"


def curve_and_dots(figure):
    curve, dots = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2][:2]
    return curve.get_xydata(), dots.get_xydata()


@pytest.mark.parametrize("schedule", ["linear", "karras"])
@pytest.mark.parametrize("draw", [figures.noise_levels, figures.signal_to_noise, figures.image_share])
def test_sampling_stands_where_the_table_has_its_levels(schedule, draw):
    within, chain = LevelRange(), schedule == "linear"
    table = level_table(schedule, 400, within)
    grid = pick(table, 20) if chain else level_table(schedule, 20, within)
    curve, dots = curve_and_dots(draw(table.tolist(), grid.tolist(), chain))
    assert dots[:, 0].tolist() == list(range(1, 21))
    assert np.log(dots[:, 1]) == pytest.approx(np.interp(dots[:, 0], curve[:, 0], np.log(curve[:, 1])), abs=0.02)


def test_the_share_of_image_is_the_chains_own():
    """The laboratory's 100 fixed betas leave 36.4 % of the signal."""
    table = level_table("linear", 100, LevelRange()).tolist()
    _, dots = curve_and_dots(figures.image_share(table, table, True))
    assert dots[0, 1] == pytest.approx(36.4, abs=0.05)


def test_guidance_is_shaded_where_it_acts():
    figure = figures.noise_levels([80.0, 1.0, 0.1], [80.0, 0.1], False, (0.3, float("inf")))
    (band,) = figure.axes[0].patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.3, 80))


def test_training_levels_are_shares_of_all_draws():
    figure = figures.training_levels(np.geomspace(0.01, 10, 500).tolist())
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(100)


@pytest.mark.parametrize("shape", [(8, 10, 1), (7, 7, 3), (200, 200, 3)])
def test_an_image_of_any_size_dissolves(shape):
    image = np.zeros(shape, np.uint8)
    figure = figures.forward_strip([(0.0, image), (1.0, image), (9.95, image)])
    assert [axes.get_title("center") for axes in figure.axes if axes.images] == [
        "level 0\n100 % image",
        "level 1\n50 % image",
        "level 9.9\n1 % image",
    ]


def test_recognition_marks_the_point():
    curves = {name: [0.1, 0.9] for name in ("a", "b", "c", "d")}
    shown = lines(figures.recognition([0.5, 1.0], curves, 0.75))
    assert shown["noisy: 9/10 of the end"].get_xdata() == [75, 75]
    assert shown["a"].get_xydata().tolist() == [[50, 10], [100, 90]]
    assert shown["a"].get_color() != shown["c"].get_color()
    assert "noisy: 9/10 of the end" not in lines(figures.recognition([1.0], {n: [1.0] for n in "abcd"}, None))


def test_of_many_classes_each_has_a_look_of_its_own():
    names = [f"_class {n}" for n in range(16)]  # a leading _ hides a line from a legend that gathers its labels
    figure = figures.recognition_by_class([0.5, 1.0], {name: [0.0, 1.0] for name in names})
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 16
    assert [text.get_text() for text in figure.legends[0].texts] == names


def test_right_and_wrong_have_their_colours_and_counts():
    figure = figures.confusion([[8, 2], [0, 10]], ("cat", "dog"))
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"8", "2", "10"}
    places = {patch.get_xy(): patch.get_facecolor()[:3] for patch in axes.patches}
    blue, red = (tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in (BLUE, RED))
    assert places == {(-0.47, -0.47): blue, (0.53, 0.53): blue, (0.53, -0.47): red}  # asked a cat, read a dog
    assert axes.get_ylabel() == "asked for"


def test_a_class_that_was_never_asked_for_has_an_empty_row():
    assert len(figures.confusion([[3, 0], [0, 0]], ("a", "b")).axes[0].patches) == 1


def test_bars_are_stacked():
    figure = figures.class_counts(("a", "b"), (30, 40), (3, 4))
    train, held_out = figure.axes[0].containers
    assert [bar.get_width() for bar in held_out] == [3, 4]
    assert [bar.get_x() for bar in held_out] == [30, 40]
    assert train[0].get_facecolor() != held_out[0].get_facecolor()

"""The figures of scores: how sure a scorer is of images, whether it is right to be, and the images themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noisette.report.figures import HEIGHT, WIDTH, styled
from noisette.report.theme import BLUE, GREEN, INK, MUTED, ORANGE, RED, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Probabilities that are written on an axis of log odds: on one of shares all that is nearly sure is one place."""
BINS = 40
COLOURS = (ORANGE, BLUE, GREEN, RED)
Points = Sequence[tuple[float, float, float, float, float]]
"""How sure, how often right, the ends of the interval of that, and the share of all images: a point for each bin."""
Shown = tuple[npt.NDArray[np.uint8], float, str | None]
"""An image [H, W, C], its score from 0 to 1, and what it is read as where that is another class."""


@styled
def score_histogram(scores: Mapping[str, npt.ArrayLike], title: str) -> "Figure":
    """Probabilities of some images, and as an outline those of others, by their names: as shares of their images, on an
    axis of log odds."""
    from matplotlib.figure import Figure  # slow to import, and only needed here

    figure = Figure(figsize=(WIDTH, HEIGHT + 0.3), layout="constrained")
    axes = figure.subplots()
    end = _log_odds(np.array([0.9999]))[0]
    edges = np.linspace(-end, end, BINS + 1)
    for number, ((name, values), colour) in enumerate(zip(scores.items(), (BLUE, INK), strict=True)):
        found = np.asarray(values, np.float64)
        look: Any = {"alpha": 0.75, "histtype": "bar"} if number == 0 else {"histtype": "step", "linewidth": 1.2}
        axes.hist(
            _log_odds(found).clip(edges[0], edges[-1]),
            bins=list(edges),
            weights=np.full(len(found), 100 / max(1, len(found))),
            color=colour,
            label=name,
            **look,
        )
    axes.set_xticks(_log_odds(np.array(TICKS)), [f"{100 * each:g}" for each in TICKS])
    axes.set(xlabel="score, %, on a scale of log odds", ylabel="% of images")
    axes.set_title(title, pad=8)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _log_odds(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of probabilities kept from 0 and 1 by what a double holds beside 1."""
    kept = probabilities.clip(1e-15, 1 - 1e-15)
    odds: npt.NDArray[np.float64] = np.log(kept) - np.log1p(-kept)
    return odds


@styled
def calibration(curves: Mapping[str, tuple[Points, float]]) -> "Figure":
    """How often a scorer is right against how sure it is: bins of images by their names, each with its expected
    calibration error. A point is the larger the more images there are in its bin; a line is its 90 % interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 100), (0, 100), color=MUTED, linestyle=":", linewidth=1)
    for (name, (points, error)), colour in zip(curves.items(), (ORANGE, BLUE), strict=True):
        sure, right, low, high, share = 100 * np.array(points).T
        axes.vlines(sure, low, high, color=colour, linewidth=1, alpha=0.5)
        label = f"{name}: calibration error {100 * error:.2g} points"
        axes.scatter(sure, right, s=14 + 0.9 * share, color=colour, alpha=0.8, linewidth=0, label=label)
    axes.set(xlabel="how sure it is, %", ylabel="how often it is right, %", ylim=(-3, 104))
    axes.set_title("Real images: sure and right", pad=8)
    figure.legend(loc="outside lower center", markerscale=0.6)
    return figure


@styled
def gallery(panels: Mapping[str, Sequence[Sequence[Shown]]], classes: Sequence[str]) -> "Figure":
    """Images under the names of their classes, a column a class, each with its score; one that is read as another
    class says so. Panels, by their titles, below one another."""
    from matplotlib.figure import Figure

    down = [max(map(len, columns)) for columns in panels.values()]
    figure = Figure(figsize=(0.62 * max(8, len(classes)), 0.8 * sum(down) + 0.6 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": down})[:, 0]
    for axes, (title, columns), most in zip(rows, panels.items(), down, strict=True):
        for place, column in enumerate(columns):
            for row, (image, score, read) in enumerate(column):
                top = 1.3 * row
                grey = image[..., 0] if image.shape[-1] == 1 else image
                axes.imshow(
                    grey, "gray", vmin=0, vmax=255, interpolation="none", extent=(place, place + 0.95, top + 0.95, top)
                )
                text, colour = (_short(score), MUTED) if read is None else (f"{_short(score)}, {plain(read, 6)}", RED)
                axes.text(place + 0.475, top + 0.98, text, ha="center", va="top", fontsize=7, color=colour)
        axes.set(xlim=(0, len(classes)), ylim=(1.3 * most, 0), yticks=[])
        axes.set_xticks([place + 0.475 for place in range(len(classes))], [plain(name, 8) for name in classes])
        axes.tick_params(labelcolor=INK, top=False, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_aspect("equal")
        axes.set_title(title, pad=8)
    return figure


def _short(score: float) -> str:
    """Per cent, never a rounded 0 or 100."""
    return "< 0.1" if score < 0.001 else "> 99.9" if score > 0.999 else f"{100 * score:.1f}"


@dataclass(frozen=True)
class Measured:
    """One number of several sets of images, by their names: value and the ends of its interval. real: of real images,
    None where there is none. shares: values from 0 to 1, told as per cent."""

    title: str
    values: Mapping[str, tuple[float, float, float]]
    real: float | None
    shares: bool


@styled
def measured(panels: Sequence[Measured], title: str) -> "Figure":
    """Numbers side by side, each with its interval, a row for each set of images; real images are a dotted line."""
    from matplotlib.figure import Figure

    names = list(panels[0].values)
    figure = Figure(figsize=(3.1 * len(panels), 1.0 + 0.42 * len(names)), layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.1)  # room for the names at the left
    figure.suptitle(title, x=0.02, ha="left", fontsize=10.5, color=INK)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        times = 100 if panel.shares else 1
        for row, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            value, low, high = (times * each for each in panel.values[name])
            axes.plot((low, high), (row, row), color=colour, linewidth=5, alpha=0.3, solid_capstyle="round")
            axes.plot(value, row, "o", color=colour, markersize=7)
            axes.annotate(
                f"{value:.3g}", (value, row), (0, 7), textcoords="offset points", ha="center", fontsize=9, color=colour
            )
        if panel.real is not None:
            axes.axvline(times * panel.real, color=MUTED, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set(ylim=(len(names) - 0.5, -0.75), xlabel="%" if panel.shares else "")
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.15)
        axes.set_title(panel.title, pad=8, fontsize=9.5)
    return figure

"""The figures of a study: grids beside each other, curves with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image

from noisette.report.figures import plain_ticks, styled
from noisette.report.theme import BLUE, GREEN, LEVELS, MUTED, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, RED, LEVELS[5], LEVELS[0])
THOUSANDS = 2_000
"""From here on numbers of images are written in thousands."""
MARKED = 20
"""Points of a curve that are marked one by one, at most."""


@dataclass(frozen=True)
class Curve:
    """Values against x; low and high, where given, are the ends of their intervals."""

    x: Sequence[float]
    value: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """Curves by their labels. real: what real images score, a line across. shares: values from 0 to 1 as per cent.
    bottom: what lies below is not shown."""

    title: str
    x: str
    curves: Mapping[str, Curve]
    real: float | None = None
    shares: bool = False
    log_x: bool = False
    log_y: bool = False
    bottom: float | None = None


@styled
def grids(panels: Sequence[Sequence[tuple[str, Image]]]) -> "Figure":
    """Rows of pictures of one size, each under its title."""
    from matplotlib.figure import Figure  # slow to import, and only needed here

    picture = panels[0][0][1]
    width, across = 3.3, max(map(len, panels))
    height = width * picture.height / picture.width + 0.3
    figure = Figure(figsize=(width * across, height * len(panels)), layout="constrained")
    for row, places in zip(panels, figure.subplots(len(panels), across, squeeze=False), strict=True):
        for axes in places:
            axes.axis("off")
        for axes, (title, shown) in zip(places, row, strict=False):
            axes.imshow(np.asarray(shown), cmap="gray", vmin=0, vmax=255, interpolation="none")
            axes.set_title(title, fontsize=8.5, pad=4)
    return figure


@styled
def charts(shown: Sequence[Chart]) -> "Figure":
    """Charts side by side that share a legend: a label has one colour in all of them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    labels = list(dict.fromkeys(label for chart in shown for label in chart.curves))
    colours = {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}
    lines = {}
    figure = Figure(figsize=(4.4 * len(shown), 3.4), layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        times = 100 if chart.shares else 1
        for label, curve in chart.curves.items():
            marker = "o" if len(curve.x) <= MARKED else None
            dashes = "-" if labels.index(label) < len(COLOURS) else "--"
            (lines[label],) = axes.plot(
                curve.x, times * np.array(curve.value), dashes, marker=marker, color=colours[label], markersize=3.5
            )
            if curve.low:
                low, high = times * np.array(curve.low), times * np.array(curve.high)
                axes.fill_between(curve.x, low, high, color=colours[label], alpha=0.15, linewidth=0)
        if chart.real is not None:
            lines["real images"] = axes.axhline(times * chart.real, color=MUTED, linestyle=":", linewidth=1)
        axes.set_title(chart.title, pad=8)
        axes.set_xlabel(chart.x)
        if chart.shares:
            low = axes.get_ylim()[0]
            axes.set_ylim(low, 100 + 0.04 * (100 - low))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        elif chart.bottom is not None:
            axes.set_ylim(bottom=chart.bottom)
        if max(x for curve in chart.curves.values() for x in curve.x) >= THOUSANDS:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
        if chart.log_x:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis, [x for curve in chart.curves.values() for x in curve.x])
        if chart.log_y:
            axes.set_yscale("log")
            plain_ticks(axes.yaxis, [max(y, chart.bottom or y) for curve in chart.curves.values() for y in curve.value])
    figure.legend([*lines.values()], [*lines], loc="outside lower center", ncols=5, columnspacing=1)
    return figure

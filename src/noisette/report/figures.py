"""The figures of a report. Each is made for the width of a phone; a page sets two or three beside each other."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from textwrap import fill
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import numpy.typing as npt

from noisette.report.pictures import Pixels
from noisette.report.theme import BLUE, GREEN, INK, LEVELS, MUTED, ORANGE, RED, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
WIDTH, HEIGHT = 4.4, 3.0
"""Inches, 72 points each: on a phone the text keeps its 10 points."""
BINS = 150
"""Points that a curve of training losses is averaged to."""


def styled(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """A function that draws, within the page's style."""

    @wraps(draw)
    def drawn(*args: P.args, **named: P.kwargs) -> "Figure":
        with style():
            return draw(*args, **named)

    return drawn


def _chart(height: float = HEIGHT, title: str = "") -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure  # slow to import, and only needed here

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, pad=8)
    return figure, axes


# Learning ---------------------------------------------------------------------------------------------------------

Records = Sequence[Mapping[str, Any]]
"""Events of one kind from a run's log."""


@styled
def losses(steps: Records, validations: Records) -> "Figure":
    """Training and validation loss against images seen, the best validation, and where the learning rate dropped."""
    figure, axes = _chart(HEIGHT + 0.6, "Loss")
    seen, values = _column(steps, "images_seen"), _column(steps, "loss")
    at, low, mean, high = _binned(seen, values)
    axes.fill_between(at, low, high, color=MUTED, alpha=0.25, linewidth=0, label="training, 9 of 10")
    axes.plot(at, mean, color=MUTED, label="training, mean")
    if len(validations):
        at, told = _column(validations, "images_seen"), _column(validations, "loss")
        axes.plot(at, told, "o-", color=BLUE, markersize=3, label="validation, average")
    if best := [record for record in validations if record["is_best"]]:
        axes.plot(best[-1]["images_seen"], best[-1]["loss"], "*", color=RED, markersize=11, label="best")
    _drops(axes, validations, "learning rate drops")
    later = np.concatenate([_column(validations, "loss"), values[len(values) // 4 :]])  # it falls from far above
    low, high = np.percentile(later, [0, 97])
    margin = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("images seen")
    _thousands(axes)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1)
    return figure


@styled
def loss_by_level(validations: Records) -> "Figure":
    """Validation loss in each bucket of noise levels against images seen."""
    figure, axes = _chart(HEIGHT + 0.55, "Validation loss by noise level")
    at, edges = _column(validations, "images_seen"), validations[-1]["bucket_edges"]
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        values = [record["bucket_losses"][number] for record in validations]
        label = f"{low:.2g} to {high:.3g}"
        axes.plot(at, values, ".-", color=LEVELS[number % len(LEVELS)], markersize=4, label=label)
    axes.set_yscale("log")
    plain_ticks(axes.yaxis, np.concatenate([record["bucket_losses"] for record in validations]))
    axes.set_xlabel("images seen")
    _thousands(axes)
    figure.legend(
        loc="outside lower center", ncols=4, handlelength=0.9, columnspacing=0.7, handletextpad=0.5, fontsize=8
    )
    return figure


@styled
def learning_rate(steps: Records, validations: Records) -> "Figure":
    """The learning rate against images seen, and where it dropped."""
    figure, axes = _chart(title="Learning rate")
    axes.plot(*_thinned(_column(steps, "images_seen"), _column(steps, "learning_rate")), color=GREEN)
    _drops(axes, validations, "drops")
    axes.set_ylim(0, None)
    axes.set_xlabel("images seen")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper right")
    _thousands(axes)
    return figure


@styled
def gradient_norm(steps: Records) -> "Figure":
    """The length of the gradient before it is clipped, against images seen."""
    figure, axes = _chart(title="Length of the gradient")
    at, low, mean, high = _binned(_column(steps, "images_seen"), _column(steps, "gradient_norm"))
    axes.fill_between(at, low, high, color=MUTED, alpha=0.25, linewidth=0, label="9 of 10 batches")
    axes.plot(at, mean, color=MUTED, label="mean")
    if min(low) > 0:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis, [*low, *high])
    axes.set_xlabel("images seen")
    axes.legend(loc="upper right")
    _thousands(axes)
    return figure


def _drops(axes: "Axes", validations: Records, label: str) -> None:
    """A dotted line at each validation after which the learning rate dropped."""
    drops = [record["images_seen"] for record in validations if record["rate_dropped"]]
    for number, at in enumerate(drops):
        axes.axvline(at, color=ORANGE, linestyle=":", linewidth=1, label=label if number == 0 else None)


Numbers = npt.NDArray[np.float64]


def _column(records: Records, name: str) -> Numbers:
    return np.array([record[name] for record in records], np.float64)


def _binned(at: Numbers, values: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Where each bin ends, and the 5 % quantile, the mean and the 95 % quantile in it."""
    parts = np.array_split(np.arange(len(values)), min(BINS, len(values)))
    cuts = [np.percentile(values[part], [5, 95]) for part in parts]
    return (
        np.array([at[part[-1]] for part in parts]),
        np.array([low for low, _ in cuts]),
        np.array([values[part].mean() for part in parts]),
        np.array([high for _, high in cuts]),
    )


def _thinned(at: Numbers, values: Numbers, most: int = 400) -> tuple[Numbers, Numbers]:
    """At most about so many points of a curve, its last among them."""
    rows = np.unique(np.linspace(0, len(at) - 1, min(most, len(at))).round().astype(int))
    return at[rows], values[rows]


def _thousands(axes: "Axes") -> None:
    """Images seen as 50k or 1.2M, few enough to stand apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def short(value: float, _: object) -> str:
        return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"

    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(short))


def plain_ticks(axis: Any, values: npt.ArrayLike) -> None:
    """Labels of a logarithmic axis as plain numbers: powers of ten, and more between them over a short span."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = np.log10(np.max(values) / np.min(values))
    subs = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2.5 else (1,)
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


# The data ---------------------------------------------------------------------------------------------------------


@styled
def class_counts(classes: Sequence[str], train: Sequence[int], held_out: Sequence[int]) -> "Figure":
    """Images of each class, of training and of validation, as bars."""
    figure, axes = _chart(0.9 + 0.2 * len(classes), "Images per class")
    places = range(len(classes))
    axes.barh(places, train, color=BLUE, height=0.7, label="training")
    axes.barh(places, held_out, left=train, color=ORANGE, height=0.7, label="validation")
    axes.set_yticks(places, [plain(name) for name in classes])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    _thousands(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


# Noise ------------------------------------------------------------------------------------------------------------


@styled
def forward_strip(noised: Sequence[tuple[float, Pixels]]) -> "Figure":
    """An image dissolving: (noise level, image [H, W, C]) from clean to noise, five in a row."""
    from matplotlib.figure import Figure

    columns, rows = 5, math.ceil(len(noised) / 5)
    figure = Figure(figsize=(WIDTH, 0.1 + 1.06 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, (level, image) in zip(places, noised, strict=False):
        axes.imshow(_enlarged(image), cmap="gray", vmin=0, vmax=255, interpolation="none")
        signal = 1 / (1 + level**2)
        axes.set_title(f"level {level:.2g}\n{_percent(signal)} image", fontsize=8, loc="center", color=MUTED, pad=3)
    return figure


def _enlarged(image: Pixels) -> Pixels:
    """Each pixel as a square, since a browser would blur it."""
    zoom = max(1, 112 // max(image.shape[:2]))
    large = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return large[..., 0] if image.shape[-1] == 1 else large


def _percent(share: float) -> str:
    """A share as a percentage of two digits, and never a rounded 0 or 100."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"


@styled
def noise_levels(
    table: Sequence[float], grid: Sequence[float], chain: bool, guided: tuple[float, float] | None = None
) -> "Figure":
    """The table's noise levels and those that sampling visits, step by step; `chain`: it picks them from the table."""
    figure, axes = _chart(title="Noise level")
    if guided:
        low, high = max(guided[0], min(grid)), min(guided[1], max(grid))
        axes.axhspan(low, high, color=GREEN, alpha=0.15, linewidth=0, label="guidance acts")
    axes.plot(*_along(table, len(grid), chain), color=MUTED, label=f"table of {len(table):,}")
    axes.plot(*_along(grid, len(grid), chain), "o", color=BLUE, markersize=3.5, label=f"sampling, {len(grid):,} steps")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis, [*table, *grid])
    _whole_steps(axes)
    axes.legend(loc="upper right")
    return figure


@styled
def signal_to_noise(table: Sequence[float], grid: Sequence[float], chain: bool) -> "Figure":
    """Signal-to-noise ratio 1 / level^2, step by step."""
    figure, axes = _chart(title="Signal-to-noise ratio")
    ratios, visited = ([level**-2.0 for level in levels] for levels in (table, grid))
    axes.axhline(1, color=MUTED, linestyle=":", linewidth=1, label="as much image as noise")
    axes.plot(*_along(ratios, len(grid), chain), color=MUTED)
    axes.plot(*_along(visited, len(grid), chain), "o", color=BLUE, markersize=3.5)
    axes.set_yscale("log")
    plain_ticks(axes.yaxis, [*ratios, *visited])
    _whole_steps(axes)
    axes.legend(loc="upper left")
    return figure


@styled
def image_share(table: Sequence[float], grid: Sequence[float], chain: bool) -> "Figure":
    """Share of the variance that is image, 1 / (1 + level^2), step by step: a chain's alpha-bar."""
    figure, axes = _chart(title="Share of image")
    shares, visited = ([100 / (1 + level**2) for level in levels] for levels in (table, grid))
    axes.plot(*_along(shares, len(grid), chain), color=MUTED)
    axes.plot(*_along(visited, len(grid), chain), "o", color=BLUE, markersize=3.5)
    axes.set_ylabel("% of variance")
    _whole_steps(axes)
    return figure


def _whole_steps(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step of sampling")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def _along(values: Sequence[float], steps: int, chain: bool) -> tuple[Numbers, Numbers]:
    """Values of a table against the step of sampling, from 1, in which each stands.

    Sampling picks every (length / steps)-th of a chain's table, the noisiest first; any other schedule is worked out
    anew between the same ends.
    """
    stride = steps / len(values) if chain else (steps - 1) / max(1, len(values) - 1)
    return _thinned(1 + stride * np.arange(len(values), dtype=np.float64), np.array(values, np.float64))


@styled
def training_levels(levels: Sequence[float]) -> "Figure":
    """How often training draws each noise level, from as many draws as there are `levels`."""
    figure, axes = _chart(title="Noise levels that training draws")
    cuts = np.geomspace(min(levels), max(levels), 41).tolist()
    axes.hist(levels, bins=cuts, color=BLUE, alpha=0.8, weights=np.full(len(levels), 100 / len(levels)))
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, levels)
    axes.set(xlabel="noise level", ylabel="% of images")
    return figure


# Samples ----------------------------------------------------------------------------------------------------------


@styled
def recognition(done: Sequence[float], curves: Mapping[str, Sequence[float]], mark: float | None) -> "Figure":
    """Shares by their labels, accuracy then confidence for each of two images, against the share of reverse steps
    done; `mark` is a share to point out."""
    figure, axes = _chart(HEIGHT + 0.4, "Recognised while it is drawn")
    looks = [(BLUE, "-"), (BLUE, "--"), (ORANGE, "-"), (ORANGE, "--")]
    for (colour, line), (label, values) in zip(looks, curves.items(), strict=True):
        axes.plot(100 * np.array(done), 100 * np.array(values), line, color=colour, label=label)
    if mark is not None:
        axes.axvline(100 * mark, color=RED, linestyle=":", linewidth=1, label="noisy: 9/10 of the end")
    _shares_done(axes)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1)
    return figure


@styled
def recognition_by_class(done: Sequence[float], curves: Mapping[str, Sequence[float]]) -> "Figure":
    """Accuracy of each class, by its name, against the share of reverse steps done."""
    figure, axes = _chart(HEIGHT + 0.4, "The same, class by class")
    for number, values in enumerate(curves.values()):
        colour, line = LEVELS[number % len(LEVELS)], "-" if number < len(LEVELS) else "--"
        axes.plot(100 * np.array(done), 100 * np.array(values), line, color=colour, linewidth=1.2)
    _shares_done(axes)
    names = [plain(name, 9) for name in curves]
    figure.legend(
        axes.lines, names, loc="outside lower center", ncols=5, handlelength=1.2, columnspacing=0.8, handletextpad=0.5
    )
    return figure


def _shares_done(axes: "Axes") -> None:
    axes.set(xlabel="share of reverse steps done, %", ylabel="%", ylim=(0, 103), xlim=(0, 101))


MOST_CONFUSED = 40
"""Classes whose confusion can be drawn so that it is read."""


@styled
def confusion(
    matrix: Sequence[Sequence[int]],
    classes: Sequence[str],
    columns: Sequence[str] | None = None,
    read: str = "read by the classifier",
) -> "Figure":
    """Asked class (rows) against what it is read as (columns: the classes, or those and what stands after them), as
    counts shaded by row."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    counts = np.array(matrix, np.float64)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    size, across = len(classes), len(columns or classes)
    names = [plain(name, 8) for name in classes]
    prompts = [fill(plain(name, 40), 14) for name in (columns or classes)[size:]]
    room = 0.11 * max((len(line) for prompt in prompts for line in prompt.splitlines()), default=0)  # they stand on end
    figure = Figure(figsize=(WIDTH * across / size, WIDTH - 0.2 + room), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for row, column in itertools.product(range(size), range(across)):
        if count := counts[row, column]:
            right, share = row == column, shares[row, column]
            shade = 0.5 * share if right else min(0.6, 0.15 + 3 * share)  # a few mistakes are seen too
            corner = (column - 0.47, row - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, color=BLUE if right else RED, alpha=shade, linewidth=0))
            if size <= 12:
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(across), [*names, *prompts])
    upright_from = size if max(map(len, names)) < 3 else 0
    for tick in axes.get_xticklabels()[upright_from:]:
        tick.set_rotation(90)
    axes.set_yticks(range(size), names)
    axes.tick_params(labelcolor=INK)
    axes.set(xlim=(-0.5, across - 0.5), ylim=(size - 0.5, -0.5), xlabel=read, ylabel="asked for")
    if prompts:
        axes.xaxis.set_label_position("top")
    axes.set_aspect("equal")
    return figure

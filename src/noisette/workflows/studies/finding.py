"""What a study found, as files: tables, figures and a paragraph that follows from the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisette.base.files import write_text
from noisette.report.comparisons import Curve
from noisette.report.theme import save_figure

Metric = Mapping[str, Any]
"""A number with its 90 % interval and its yardstick: value, low, high, real."""


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows, in a sentence."""

    figure: Any  # matplotlib's Figure, which is slow to import
    caption: str


@dataclass(frozen=True)
class Finding:
    """What a study leaves besides its numbers. figures: file name without suffix -> figure."""

    title: str
    paragraph: str
    tables: Sequence[Table]
    figures: Mapping[str, Drawn]


def write_finding(finding: Finding, out: Path, how: Sequence[str]) -> list[Path]:
    """Write README.md, table.md and each figure as PNG and SVG; returns their paths, README.md first.

    how: lines about how it was made.
    """
    tables = "\n".join(markdown(table) for table in finding.tables)
    pictures = [f"![{drawn.caption}]({name}.png)\n\n{drawn.caption}\n" for name, drawn in finding.figures.items()]
    made = "\n".join(f"- {line}" for line in how)
    texts = [f"# {finding.title}\n", f"{finding.paragraph}\n", tables, *pictures, f"## How it was made\n\n{made}\n"]
    write_text(out / "README.md", "\n".join(texts))
    write_text(out / "table.md", tables)
    written = [out / "README.md", out / "table.md"]
    for name, drawn in finding.figures.items():
        save_figure(drawn.figure, out / name)
        written += [out / f"{name}.png", out / f"{name}.svg"]
    return written


def markdown(table: Table) -> str:
    """The table with its title, as Markdown."""
    rows = [table.columns, ["---"] + ["---:"] * (len(table.columns) - 1), *table.rows]
    return f"**{table.title}**\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


# Wording ------------------------------------------------------------------------------------------

LEARNED = 0.5
"""The label accuracy that a model reaches, by its interval, before anything is concluded from it."""


def percent(metric: Metric) -> str:
    """A share with its interval."""
    return f"{metric['value']:.1%} ({metric['low']:.1%} to {metric['high']:.1%})"


def floors(metric: Metric) -> str:
    """A distance with its interval, in units of the same distance of as many real images."""
    value, low, high = (metric[key] / metric["real"] for key in ("value", "low", "high"))
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def in_floors(metric: Metric) -> float:
    """A distance in units of the same distance of as many real images."""
    return float(metric["value"] / metric["real"])


def differ(one: Metric, other: Metric) -> int:
    """1 when `one` lies above `other`, -1 below, 0 when their intervals overlap, so that they cannot be told apart."""
    return int(one["low"] > other["high"]) - int(one["high"] < other["low"])


def too_early(cell: Mapping[str, Any]) -> str:
    """A sentence that stands instead of a verdict when `cell`, the one that ought to be good, is not; else empty."""
    accuracy = cell["label_accuracy"]
    if accuracy["low"] >= LEARNED:
        return ""
    return (
        f"Too little is learned to conclude from: even the one that ought to be good draws the class asked for in "
        f"{percent(accuracy)} of cases only."
    )


def titled(words: str, cell: Mapping[str, Any]) -> str:
    """A grid's title: what it is, and its numbers."""
    right, far = cell["label_accuracy"]["value"], in_floors(cell["frechet"])
    return f"{words}\n{right:.1%} right, {far:.3g} floors"


def curve(x: Sequence[float], metrics: Sequence[Metric], unit: bool = False) -> Curve:
    """Metrics against x with their intervals; with `unit`, in units of what real images score."""
    by = [metric["real"] if unit else 1.0 for metric in metrics]
    value, low, high = ([m[key] / b for m, b in zip(metrics, by, strict=True)] for key in ("value", "low", "high"))
    return Curve(x, value, low, high)

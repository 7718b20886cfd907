"""What a person sees of an evaluation: one table of several records, and pictures of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from noisette.report.figures import MOST_CONFUSED, confusion
from noisette.report.pictures import Pixels, columns_for, grid_picture, save_picture
from noisette.report.theme import save_figure
from noisette.workflows.evaluate import Evaluation

NEAREST = "nearest.png"
WORST = 100
"""Samples read as something else that are shown at most."""

Record = dict[str, Any]
Row = list[str]

_NAME_WIDTH = 28
_LEGEND = (
    "Below a number its 90 % interval; below a real one the spread of 8 draws of as many real training images. "
    "floors: the Fréchet distance over that of real images. kernel: compare it with that of real images, not with 0. "
    "memorised: share closer to a training image than 1 % of "
    "real images are, by features / pixels."
)


def show(records: Sequence[Record], console: Console) -> None:
    """Print one table: a row for each record, and for those measured alike a row of what real images score.

    On a console too narrow for it each record has a table of its own, a line for each number.
    """
    usefulness = any("usefulness" in record["metrics"] for record in records)
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_measured_alike(record), []).append(record)
    wide = _wide([([_cells(r) for r in group], _real_cells(group[0])) for group in groups.values()], usefulness)
    if Measurement.get(console, console.options.update(max_width=10_000), wide).maximum <= console.width:
        console.print(Text(_title(records[0])), wide)
    else:
        console.print(Text(_title(records[0])))
        for record in records:
            console.print(_tall(_cells(record), _real_cells(record), usefulness))
    console.print(Text(_LEGEND, style="dim"))
    for record in records:
        if (p := record["chi_square_p"]) is not None:
            text = f"{record['source']['name']}: class counts as in the real images, chi-square p = {_short(p)}"
            console.print(Text(text))


def _measured_alike(record: Record) -> tuple[Any, ...]:
    """What must be the same for one row of real images to stand for two records."""
    return *record["data"].values(), *record["classifier"].values(), record["source"]["count"]


def _title(record: Record) -> str:
    data, classifier = record["data"], record["classifier"]
    space = "" if classifier["inception"] is None else ", features of Inception v3"
    return f"against {data['name']}, {data['part']}; classifier {classifier['name']}{space}"


def _cells(record: Record) -> dict[str, str]:
    """The cells of a record by their column; a second line holds the interval."""
    metrics = record["metrics"]

    def interval(name: str, scale: float = 1) -> str:
        if name not in metrics:
            return "-"
        value, low, high = (scale * metrics[name][key] for key in ("value", "low", "high"))
        return f"{_short(value)}\n{_short(low)} to {_short(high)}"

    return {
        "samples": record["source"]["name"],
        "count": f"{record['source']['count']:,}",
        "label accuracy %": interval("label_accuracy", 100),
        "Fréchet": interval("frechet"),
        "floors": _short(metrics["frechet"]["floors"]),
        "kernel x 1000": _short(1000 * metrics["kernel"]["value"]),
        "coverage": interval("coverage"),
        **{name: _short(metrics[name]["value"]) for name in ("density", "precision", "recall", "diversity")},
        "memorised %": _memorised(metrics, "value"),
        "usefulness %": interval("usefulness", 100),
    }


def _real_cells(record: Record) -> dict[str, str]:
    """The same of real images; a second line holds the spread."""
    metrics = record["metrics"]

    def spread(name: str, scale: float = 1) -> str:
        return f"{_short(scale * metrics[name]['real'])}\n± {_short(scale * metrics[name]['real_spread'])}"

    frechet = metrics["frechet"]
    usefulness = metrics.get("usefulness")
    return {
        "samples": f"real images, {record['data']['priors']} counts",
        "count": f"{record['source']['count']:,}",
        "label accuracy %": _percent(record["classifier"]["accuracy"]),
        "Fréchet": spread("frechet"),
        "floors": f"1\n± {_short(frechet['real_spread'] / frechet['real'])}",
        "kernel x 1000": spread("kernel", 1000),
        **{name: spread(name) for name in ("coverage", "density", "precision", "recall", "diversity")},
        "memorised %": _memorised(metrics, "real"),
        "usefulness %": _percent(usefulness and usefulness["real"]),
    }


def _memorised(metrics: dict[str, Any], key: str) -> str:
    return " / ".join(_short(100 * metrics[f"memorised_{space}"][key]) for space in ("feature", "pixel"))


def _percent(share: float | None) -> str:
    return _short(None if share is None else 100 * share)


def _short(value: float | None) -> str:
    """Three digits that count, and four of what is nearly 100."""
    if value is None:
        return "-"
    return f"{value:.2f}" if 90 < value < 100 else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _wide(groups: Sequence[tuple[list[dict[str, str]], dict[str, str]]], usefulness: bool) -> Table:
    """Samples below one another, each group closed by its real images."""
    names = [name for name in groups[0][1] if usefulness or name != "usefulness %"]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        first = name == "samples"
        table.add_column(
            name.replace(" ", "\n", 1),
            justify="left" if first else "right",
            no_wrap=not first,
            overflow="fold",
            max_width=_NAME_WIDTH if first else None,
        )
    for rows, real in groups:
        for row in rows:
            table.add_row(*(Text(row[name]) for name in names))  # Text, since a file may be called "[red]"
        table.add_row(*(Text(real[name]) for name in names), style="bold", end_section=True)
    return table


def _tall(row: dict[str, str], real: dict[str, str], usefulness: bool) -> Table:
    """One record: a line for each number, real images beside it."""
    table = Table("", row.pop("samples"), real.pop("samples"), box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[1].overflow = "fold"
    for name, text in row.items():
        if usefulness or name != "usefulness %":
            table.add_row(name, *(Text(cell.replace("\n", "  ")) for cell in (text, real[name])))
    return table


# Pictures -----------------------------------------------------------------------------------------


def nearest_picture(samples: Pixels, training: Pixels) -> Image.Image:
    """A strip of pairs: samples above, the training image nearest to each below."""
    return grid_picture(np.concatenate([samples, training]), len(samples))


def worst_picture(evaluation: Evaluation) -> Image.Image | None:
    """The samples that the classifier reads as something else than what was asked for; None where there are none."""
    if not evaluation.samples.labelled:
        return None
    wrong = (evaluation.guesses != evaluation.samples.labels).nonzero().flatten()[:WORST]
    images = evaluation.samples.pick(wrong).images
    return grid_picture(images, columns_for(len(images), 0)) if len(images) else None


def save_pictures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write nearest.png, of labelled samples also worst.png and, where the classes are not too many to be drawn,
    confusion.png and .svg; returns what was written."""
    pictures = {NEAREST: nearest_picture(*evaluation.neighbours), "worst.png": worst_picture(evaluation)}
    written = []
    for name, picture in pictures.items():
        if picture is not None:
            save_picture(picture, folder / name)
            written.append(folder / name)
    if evaluation.samples.labelled and len(evaluation.record["classes"]) <= MOST_CONFUSED:
        save_figure(confusion(evaluation.record["confusion"], evaluation.record["classes"]), folder / "confusion")
        written += [folder / "confusion.png", folder / "confusion.svg"]
    return written

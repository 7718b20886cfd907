"""What a person sees of images that were chosen: before and after in a table and in figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noisette.report.scores import Measured, gallery, measured
from noisette.report.theme import save_figures
from noisette.report.words import listed, number, percent
from noisette.workflows.rank import Candidate, Ranked
from noisette.workflows.refine import Refined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("images", "measured")
ROWS, MOST_CLASSES = 4, 20
"""Images of each class in a figure, and of how many classes."""
Record = dict[str, Any]


def show_ranked(record: Record, console: Console) -> None:
    """Print what ranking did to each class, what it did by the classifier that took no part, and what it cost."""
    table = _table("", "kept", "too alike", "below", "score", "plain score")
    for row in record["by_class"]:
        score = "-" if row["score"] is None else percent(row["score"])
        cells = (f"{row['kept']:,}", f"{row['too_alike']:,}", f"{row['below']:,}", score, percent(row["plain_score"]))
        table.add_row(Text(row["class"]), *cells)
    console.print(table)
    console.print()
    price = record["price"]
    evaluations = {
        "plain": number(record["evaluations_per_plain"]),
        "best": f"{number(price['evaluations'])} + {number(price['looks'])} looks",
    }
    show_measured(record, {"plain": "before", "best": "after"}, evaluations, console)
    console.print(Text("\n".join(_told(record)), style="dim"))


def _told(record: Record) -> list[str]:
    price, alike = record["price"], record["too_alike"]
    return [
        f"best: of {record['candidates']:,} images of a class {record['per_class']:,}, none nearer to another than "
        f"{100 * alike['share']:g} % of real images are (in {alike['space']}).",
        *scorers_told(record),
        f"A look takes as long as {number(price['a_look_in_evaluations'])} evaluations of the network: with them, "
        f"a kept image costs {number(price['all_in_evaluations'])}.",
    ]


def show_refined(record: Record, console: Console) -> None:
    """Print what refining did to each class, what it did by the classifier that took no part, and what it cost."""
    table = _table("", "images", "new", "score before", "after")
    for row in record["by_class"]:
        scores = ("-" if row[key] is None else percent(row[key]) for key in ("score_before", "score_after"))
        table.add_row(Text(row["class"]), f"{row['images']:,}", f"{row['new']:,}", *scores)
    console.print(table)
    console.print()
    price, first = record["price"], record["evaluations_before"]
    evaluations = {
        "before": number(first) if first else "",
        "after": f"{number(price['evaluations'])} + {number(price['looks'])} looks",
    }
    show_measured(record, {"before": "before", "after": "after"}, evaluations, console)
    console.print(Text("\n".join([_refined(record), *scorers_told(record)]), style="dim"))


def _refined(record: Record) -> str:
    which = {"best": "The best", "rejected": "The worst"}[record["take"]]
    return (
        f"{which} {100 * record['share']:.3g} % of each class were noised to level {number(record['noise_level'])} and "
        f"drawn again, {record['tries']} times each, in {number(record['evaluations_again'])} evaluations."
    )


def scorers_told(record: Record, did: str = "Chosen") -> list[str]:
    """What chose or did something else, how well it reads real images, and what measured."""
    by, measure = record["by"], record["measured_by"]
    who = listed([f"{each['name']} ({percent(each['real']['accuracy']['value'])} of real images right)" for each in by])
    return [
        f"{did} by {who}; measured by {measure['name']}, which took no part "
        f"({percent(measure['accuracy'])} of real {measure['data']} images right)."
    ]


def show_measured(record: Record, rows: Mapping[str, str], evaluations: Mapping[str, str], console: Console) -> None:
    """Print what the classifier that took no part makes of sets of images: rows by name, and their keys in the
    record."""
    if any(record[key] is None for key in rows.values()):
        console.print(Text("Too few images of the rarest class, drawn or real, are left to be measured."))
        return
    table = _table("", "label accuracy", "floors", "coverage", "evaluations an image")
    for name, key in rows.items():
        found = record[key]
        table.add_row(f"{name}, {found['count']:,}", *_cells(found), evaluations[name])
    real = record[next(iter(rows.values()))]
    accuracy, coverage = (percent(real[name]["real"]) for name in ("label_accuracy", "coverage"))
    table.add_row("real images", accuracy, "1", coverage, "", style="bold")
    console.print(table)


def _cells(found: Record) -> list[str]:
    def interval(name: str, times: float, unit: str) -> str:
        value, low, high = (times * found[name][key] for key in ("value", "low", "high"))
        return f"{value:.3g}{unit} ({low:.3g} to {high:.3g})"

    floors = 1 / found["frechet"]["real"]
    return [interval("label_accuracy", 100, " %"), interval("frechet", floors, ""), interval("coverage", 100, " %")]


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


# Figures ------------------------------------------------------------------------------------------


def save_ranked(ranked: Ranked, folder: Path) -> list[Path]:
    """Write the figures, as PNG and SVG, into a folder; returns the PNGs."""
    record = ranked.record
    of = f"{record['per_class']:,} of {record['candidates']:,} a class, {caption(record)}"
    pictures = images(
        {
            f"Plain: the first drawn, {caption(record)}. Score, %": ranked.plain,
            f"Best {of}": ranked.kept,
            "Worst of all that were drawn": ranked.worst,
        },
        [row["class"] for row in record["by_class"]],
    )
    names = {f"plain, {_count(record, 'before')}": "before", f"best, {_count(record, 'after')}": "after"}
    return save_figures({"images": pictures, "measured": measures(record, names, f"Best {of}")}, folder)


def save_refined(refined: Refined, folder: Path) -> list[Path]:
    """Write the figures, as PNG and SVG, into a folder; returns the PNGs."""
    record, of = refined.record, caption(refined.record)
    pictures = images(
        {
            f"Worst before, {record['source']['count']:,} images. Score, %": [each[::-1] for each in refined.before],
            f"Worst after: {of}, from level {number(record['noise_level'])}": [each[::-1] for each in refined.after],
        },
        [row["class"] for row in record["by_class"]],
    )
    rows = {f"{name}, {_count(record, name)}": name for name in ("before", "after")}
    return save_figures({"images": pictures, "measured": measures(record, rows, f"Refined: {of}")}, folder)


def _count(record: Record, key: str) -> str:
    return f"{record[key]['count']:,}" if record[key] else ""


def caption(record: Record) -> str:
    """Which model, how it was drawn from, and the seed."""
    model = record["model"]
    return f"{Path(model['name']).name}, seed {model['seed']}, guidance {model['sampling']['guidance_scale']:g}"


def images(panels: Mapping[str, Sequence[Sequence[Candidate]]], classes: Sequence[str]) -> "Figure":
    """The first images of each class, a column a class, in panels by their titles."""
    shown = {
        title: [[(each.image, each.score, None) for each in column[:ROWS]] for column in columns[:MOST_CLASSES]]
        for title, columns in panels.items()
    }
    return gallery(shown, classes[:MOST_CLASSES])


def measures(record: Record, rows: Mapping[str, str], title: str) -> "Figure | None":
    """The classifier's three numbers of sets of images; None where too few were left to be measured."""
    if any(record[key] is None for key in rows.values()):
        return None

    def panel(what: str, name: str, shares: bool) -> Measured:
        found = {row: record[key][name] for row, key in rows.items()}
        values = {
            row: tuple(own[part] / (1 if shares else own["real"]) for part in ("value", "low", "high"))
            for row, own in found.items()
        }
        return Measured(what, values, next(iter(found.values()))["real"] if shares else 1.0, shares)

    by = record["measured_by"]["name"]
    return measured(
        [
            panel("Label accuracy", "label_accuracy", True),
            panel("Distance, in floors", "frechet", False),
            panel("Coverage", "coverage", True),
        ],
        f"{title}; measured by {by}, which took no part",
    )

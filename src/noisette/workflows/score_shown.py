"""What a person sees of scores: a table, class by class, and figures."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from noisette.evaluation.calibration import Reliability
from noisette.evaluation.intervals import wilson
from noisette.evaluation.ranking import best_of_class
from noisette.report.figures import MOST_CONFUSED, confusion
from noisette.report.scores import Points, Shown, calibration, gallery, score_histogram
from noisette.report.theme import plain, save_figures
from noisette.report.words import percent
from noisette.workflows.score import Score

FIGURES = ("best_and_worst", "scores", "calibration", "confusion")
ROWS, MOST_CLASSES = 4, 20
"""Images of each class that a figure of the best and the worst shows, and of how many classes."""
Record = dict[str, Any]
COLUMNS = {
    "accuracy": "read as asked (real)",
    "label": "label (real)",
    "clear": "not bad (real)",
    "score": "score (real)",
}


def show(record: Record, console: Console) -> None:
    """Print a row for each class and one for all, real images in brackets, and what the scorer makes of those."""
    real = record["scorer"]["real"]
    # To a scorer without prompts of bad images the label among the classes is the score.
    names = [name for name in COLUMNS if record["scorer"]["bad"] or name in ("accuracy", "score")]
    table = Table("", "images", *map(COLUMNS.__getitem__, names), box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in record["by_class"]:
        cells = [_cell(row[name], row["real"][name]) for name in names]
        table.add_row(Text(row["class"]), f"{row['count']:,}", *cells)
    everything = record["samples"]
    cells = [_cell(everything[name], real[name]) for name in names]
    table.add_row("all", f"{everything['count']:,}", *cells, style="bold")
    console.print(table)
    console.print(Text("\n".join(told(record)), style="dim"))


def _cell(found: Any, real: Any) -> str:
    """A share, or one with its interval; in brackets that of real images."""
    samples, others = (each["value"] if isinstance(each, dict) else each for each in (found, real))
    return f"{'-' if samples is None else percent(samples)} ({'-' if others is None else percent(others)})"


def told(record: Record) -> list[str]:
    """What stands beside every score, in lines."""
    scorer, real = record["scorer"], record["scorer"]["real"]
    before, after = real["calibration_error_before"], real["calibration_error_after"]
    accuracy = real["accuracy"]
    lines = [
        f"{called(record)} reads {percent(accuracy['value'])} of {real['measured_on']:,} real {real['data']} images as "
        f"what they are (90 % interval {percent(accuracy['low'])} to {percent(accuracy['high'])}).",
        f"Temperature {scorer['temperature']:.3g}, fitted on {real['fitted_on']:,} others: how sure it is was "
        f"{100 * before:.2g} points off how often it is right, and is {100 * after:.2g} now.",
    ]
    if scorer["bad"]:
        lines += [
            "Means of probabilities. label: of the asked class among the classes; "
            f"not bad: against {' | '.join(scorer['bad'])}; score: among all these.",
        ]
    return lines


def called(record: Record) -> str:
    """The scorer, in words."""
    kind = {"clip": "CLIP model", "classifier": "classifier"}[record["scorer"]["kind"]]
    return f"{kind} {_last(record['scorer']['name'])}"


# Figures ------------------------------------------------------------------------------------------


def save_scores(score: Score, folder: Path) -> list[Path]:
    """Write the figures, as PNG and SVG, into a folder; returns the PNGs."""
    return save_figures(figures_of(score), folder)


def figures_of(score: Score) -> dict[str, Any]:
    """FIGURES by their names; the confusion only where the classes are not too many to be drawn."""
    record, real = score.record, score.calibrated
    name = _last(record["source"]["name"])
    figures = {
        "best_and_worst": _best_and_worst(score),
        "scores": score_histogram(
            {f"{name}, {len(score.samples.labels):,}": score.verdicts.score.numpy()}
            | {f"real {real.real.name}, {len(real.verdicts.asked):,}": real.verdicts.score.numpy()},
            f"Scores by {called(record)}",
        ),
        "calibration": calibration(
            {"as it is": _curve(real.before), f"temperature {real.temperature:.2g}": _curve(real.after)}
        ),
    }
    if len(record["classes"]) <= MOST_CONFUSED:
        figures["confusion"] = confusion(
            record["confusion"], record["classes"], record["columns"], f"likeliest to {called(record)}"
        )
    return figures


def _curve(found: Reliability) -> tuple[Points, float]:
    """Its points, each with its interval and its share of the images, and the calibration error."""
    points = []
    for sure, right, count in zip(found.confidence, found.accuracy, found.count, strict=True):
        interval = wilson(round(right * count), count)
        points.append((sure, right, interval.low, interval.high, count / sum(found.count)))
    return points, found.error


def _best_and_worst(score: Score) -> Any:
    """The best and the worst of each class, a column a class."""
    classes = sorted({*score.verdicts.asked.tolist()})[:MOST_CLASSES]
    columns = [best_of_class(score.verdicts.asked, score.verdicts.score, number) for number in classes]
    names = [score.record["classes"][number] for number in classes]
    of = f"{len(score.samples.labels):,} images of {_last(score.record['source']['name'])} by {called(score.record)}"
    panels = {
        f"Best of {of}: score, %": [_shown(score, rows[:ROWS]) for rows in columns],
        "Worst: score, %, and what it is read as": [_shown(score, rows.flip(0)[:ROWS]) for rows in columns],
    }
    return gallery(panels, names)


def _shown(score: Score, rows: Tensor) -> list[Shown]:
    verdicts, names = score.verdicts, score.record["classes"]
    return [
        (
            score.samples.images[row],
            float(verdicts.score[row]),
            None if verdicts.guesses[row] == verdicts.asked[row] else names[int(verdicts.guesses[row])],
        )
        for row in rows.tolist()
    ]


def _last(name: str) -> str:
    """The last part of a path, or of a name on the hub."""
    return plain(Path(name).name, 28)

"""`noisette check`: look at a data set and its split before training on it."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noisette.base.progress import Progress, silent
from noisette.data.checks import Contents, Report, check
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.split import split

_ROWS = 40
"""Classes shown; the rest are counted."""


def check_data(
    name: str,
    data_dir: Path | None = None,
    validation_fraction: float = 0.2,
    seed: int = 0,
    form: Form = AS_IT_IS,
    progress: Progress = silent,
) -> Report:
    """Load the training part of the data set `name` in a form, split it as training would, and check both parts.

    Raises Refusal when it cannot be loaded or split; what is wrong with the images stands in the report.
    """
    data = load_data(name, data_dir, "train", form, progress)
    return check(data, *split(data.labels, validation_fraction, seed))


def show(report: Report, console: Console) -> None:
    """Print the report: what was found, images per class, problems, warnings, and last the verdict."""
    console.print(_facts(report))
    if report.contents is not None and report.classes:
        console.print(_classes(report.classes, report.contents))
    for problem in report.problems:
        console.print(Text(f"problem: {problem}", style="bold red"))
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    console.print(_verdict(report))


def _facts(report: Report) -> Table:
    table = Table(title=Text(f"data set {report.name}"), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest is shown whole

    def row(what: str, found: str) -> None:
        table.add_row(what, Text(found))  # Text, since a class may be called "[red]"

    row("source", report.source)
    row("digest", report.digest)
    for note in report.notes:
        row("read as", note)
    row(
        "images",
        f"{list(report.shape)} [N, H, W, C], {report.image_type}{'' if report.finite else ', not finite'}",
    )
    labels = "none" if report.label_range is None else "{} to {}".format(*report.label_range)
    classes = f"{labels}, {report.label_type}, of {len(report.classes):,} classes"
    row("labels", classes if report.classes else "no classes: a model of it draws unasked")
    if (found := report.contents) is not None:
        row("training, validation", f"{found.train.images:,} and {found.validation.images:,} images")
        row("values", f"{found.lowest} to {found.highest}")
        row("scaled values", f"{found.scaled_lowest:+.3f} to {found.scaled_highest:+.3f}")
        row("training mean, deviation", f"{found.mean:+.4f}, {found.standard_deviation:.4f} (scaled)")
        row(
            "repeated images",
            f"{found.train.duplicates} in training, {found.validation.duplicates} in validation",
        )
        row("in both parts", str(found.shared))
        row("images of one colour", f"{found.constant}, of them black: {found.black}")
    return table


def _classes(classes: tuple[str, ...], found: Contents) -> Table:
    table = Table("class", title="images per class")
    table.add_column("training", justify="right")
    table.add_column("validation", justify="right")
    rows = list(zip(classes, found.train.per_class, found.validation.per_class, strict=True))
    for name, train, validation in rows[:_ROWS]:
        table.add_row(Text(name), f"{train:,}", f"{validation:,}")
    if len(rows) > _ROWS:
        table.add_row(f"{len(rows) - _ROWS:,} more", "", "")
    table.add_section()
    table.add_row("all", f"{found.train.images:,}", f"{found.validation.images:,}")
    return table


def _verdict(report: Report) -> Text:
    if report.problems:
        return Text(f"verdict: refused, problems: {len(report.problems)}", style="bold red")
    if report.warnings:
        return Text(f"verdict: usable, warnings: {len(report.warnings)}", style="bold yellow")
    return Text("verdict: sound", style="bold green")

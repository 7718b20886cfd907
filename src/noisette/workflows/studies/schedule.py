"""Schedules: tables of noise levels against the distance from real digits, at equal images seen.

    linear, cosine, sigmoid    the laboratory's noise prediction: only the tables differ
    cosine-velocity            the cosine table, whose last levels are next to pure noise, but predicting velocity
    edm                        what `quick` trains: EDM's parameterisation, log-normal levels, Karras' grid

Time on two cores: 5 x 64,000 images at 560 a second are 10 minutes, 5 x 1,000 digits at 50 evaluations 2 more.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from noisette.diffusion.objective import DiffusionConfig
from noisette.report.comparisons import Chart, Curve, charts, grids
from noisette.report.words import listed
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.finding import Drawn, Finding, Table, differ, floors, percent, titled, too_early

LABORATORY = "linear"


def diffusions() -> dict[str, DiffusionConfig]:
    """What each variant trains, by its name."""
    lab = load_recipe("lab").diffusion
    cosine = dataclasses.replace(lab, schedule="cosine")
    return {
        LABORATORY: lab,
        "cosine": cosine,
        "sigmoid": dataclasses.replace(lab, schedule="sigmoid"),
        # Velocity's own error, not the noise's: that would weigh nothing at the noisy end.
        "cosine-velocity": dataclasses.replace(cosine, parameterisation="velocity", loss_weight="edm"),
        "edm": load_recipe("quick").diffusion,
    }


def study(bench: Bench) -> Finding:
    """Train each variant on equal images and draw it with equal evaluations."""
    variants = diffusions()
    bench.plan(len(variants))

    def measured(name: str) -> Mapping[str, Any]:
        return bench.drawn(name, bench.trained(name, bench.laboratory(variants[name])), bench.cheap())

    for name in variants:
        bench.cell(name, partial(measured, name))
    panels = [(titled(name, cell), bench.grid(name, rows=4)) for name, cell in bench.cells.items()]
    return Finding(
        "Schedules: tables of noise levels at equal images seen",
        paragraph(bench.cells, bench.effort.images),
        [_table(bench.cells, variants)],
        {
            "grids": Drawn(grids([panels[:3], panels[3:]]), "Digits of each variant, one column a class."),
            "levels": Drawn(_levels(variants), "The noise levels of each table, from noise to image."),
        },
    )


def paragraph(cells: Mapping[str, Any], images: int) -> str:
    """What the numbers say."""
    order = sorted(cells, key=lambda name: float(cells[name]["frechet"]["value"]))
    best, lab = order[0], cells[LABORATORY]
    ranked = listed([f"{name} {floors(cells[name]['frechet'])}" for name in order])
    said = [f"After {images:,} images each, in floors from the real digits, nearest first: {ranked}."]
    as_good = [name for name in order[1:] if differ(cells[name]["frechet"], cells[best]["frechet"]) == 0]
    said.append(
        f"{best} cannot be told from {listed(as_good)}."
        if as_good
        else f"{best} is nearer than every other by more than the intervals."
    )
    found = {-1: [], 0: [], 1: []}  # type: dict[int, list[str]]
    for name in order:
        if name != LABORATORY:
            found[differ(cells[name]["frechet"], lab["frechet"])].append(name)
    told = [
        f"{words} {listed(found[which])}"
        for which, words in ((1, "nearer than"), (0, "not to be told from"), (-1, "farther than"))
        if found[which]
    ]
    said.append(f"The laboratory's linear table is {', '.join(told)}.")
    surest = max(cells, key=lambda name: float(cells[name]["label_accuracy"]["value"]))
    said.append(f"Label accuracy is highest with {surest}, {percent(cells[surest]['label_accuracy'])}.")
    said += [text] if (text := too_early(cells[best])) else []
    return " ".join(said)


def _table(cells: Mapping[str, Any], variants: Mapping[str, DiffusionConfig]) -> Table:
    rows = []
    for name, cell in cells.items():
        table = variants[name].table()
        rows.append(
            (
                name,
                variants[name].parameterisation,
                f"{float(table[-1]):.3g} to {float(table[0]):.3g}",
                percent(cell["label_accuracy"]),
                floors(cell["frechet"]),
                percent(cell["coverage"]),
            )
        )
    columns = ("schedule", "predicts", "noise levels", "label accuracy", "floors", "coverage")
    return Table("Schedules at equal images seen", columns, rows)


def _levels(variants: Mapping[str, DiffusionConfig]) -> Any:
    curves = {}
    for name, diffusion in variants.items():
        if name != "cosine-velocity":  # the table of cosine
            table = diffusion.table()[:: max(1, diffusion.table_steps // 50)]
            curves[name] = Curve([100 * row / (len(table) - 1) for row in range(len(table))], table.tolist())
    return charts([Chart("Noise level", "share of the table, %", curves, log_y=True)])

"""Guidance: what its scale does to label accuracy and to coverage, everywhere and within an interval of noise levels.

No training. Time on two cores, with the model that ships at its 18 steps: 1,000 digits of 9 cells are 250 evaluations
a digit, 2 minutes.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from noisette.report.comparisons import Chart, charts, grids
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.finding import (
    Drawn,
    Finding,
    Table,
    curve,
    differ,
    floors,
    percent,
    titled,
)

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)
INTERVAL = (0.3, 6.0)
"""Of noise levels, for a model whose own guidance has none."""
NONE = "1-everywhere"


def study(bench: Bench) -> Finding:
    """Draw with the model at each scale, everywhere and within the interval."""
    model = bench.given
    assert model is not None, "the catalogue gives a model"
    own = model.sampling
    interval = (own.guidance_from, own.guidance_to) if math.isfinite(own.guidance_to) else INTERVAL
    places = {"everywhere": (0.0, math.inf), "interval": interval}
    wanted = {
        f"{scale:g}-{place}": dataclasses.replace(
            own, guidance_scale=scale, guidance_from=levels[0], guidance_to=levels[1], perturb_attention=False
        )
        for place, levels in places.items()
        for scale in SCALES
        if scale != 1 or place == "everywhere"  # a scale of 1 is none, wherever it acts
    }
    bench.plan(len(wanted))
    for key, sampling in wanted.items():
        bench.cell(key, partial(_measured, bench, key, sampling))
    shown = [f"{scale:g}-everywhere" for scale in SCALES[::2]]
    shown += [NONE] + [key.replace("everywhere", "interval") for key in shown[1:]]
    panels = [(titled(f"scale {_named(key, interval)}", bench.cells[key]), bench.grid(key, rows=4)) for key in shown]
    return Finding(
        f"Guidance: its scale against accuracy and coverage, {model.name}",
        paragraph(bench.cells, interval),
        [_table(bench.cells, interval)],
        {
            "scales": Drawn(_curves(bench.cells, interval), "Against the scale, with 90 % intervals."),
            "grids": Drawn(grids([panels[:3], panels[3:]]), "Digits by scale: everywhere, and within the interval."),
        },
    )


def _measured(bench: Bench, key: str, sampling: SamplingConfig) -> Mapping[str, Any]:
    assert bench.given is not None
    scale, _, place = key.partition("-")
    return {**bench.drawn(key, bench.given, sampling), "scale": float(scale), "place": place}


def paragraph(cells: Mapping[str, Any], interval: tuple[float, float]) -> str:
    """What the numbers say."""
    none = cells[NONE]
    surest = max(cells, key=lambda key: cells[key]["label_accuracy"]["value"])
    nearest = min(cells, key=lambda key: cells[key]["frechet"]["value"])
    said = [
        f"Without guidance {percent(none['label_accuracy'])} are the digit asked for, at "
        f"{floors(none['frechet'])} floors and a coverage of {percent(none['coverage'])}."
    ]
    gained = differ(cells[surest]["label_accuracy"], none["label_accuracy"]) > 0
    said.append(
        f"Label accuracy is highest at scale {_named(surest, interval)}, {percent(cells[surest]['label_accuracy'])}: "
        f"{'more than' if gained else 'not to be told from'} without."
    )
    closer = differ(cells[nearest]["frechet"], none["frechet"]) < 0
    if nearest == NONE:
        said.append("Nothing is nearer to the real digits than no guidance at all.")
    else:
        said.append(
            f"Nearest to the real digits is scale {_named(nearest, interval)}, {floors(cells[nearest]['frechet'])} "
            f"floors: {'nearer than' if closer else 'not to be told from'} without."
        )
    said += [_price(cells), _within(cells, interval)]
    return " ".join(said)


def _price(cells: Mapping[str, Any]) -> str:
    """What the largest scale does to coverage."""
    none, most = cells[NONE], cells[f"{SCALES[-1]:g}-everywhere"]
    told = {-1: "falls", 0: "is not shown to change", 1: "rises"}[differ(most["coverage"], none["coverage"])]
    return (
        f"At scale {SCALES[-1]:g} everywhere, coverage {told}: {percent(most['coverage'])}, at "
        f"{floors(most['frechet'])} floors."
    )


def _within(cells: Mapping[str, Any], interval: tuple[float, float]) -> str:
    """Interval against everywhere, scale by scale."""
    better, worse = [], []
    for scale in SCALES[1:]:
        found = differ(cells[f"{scale:g}-interval"]["frechet"], cells[f"{scale:g}-everywhere"]["frechet"])
        better += [f"{scale:g}"] if found < 0 else []
        worse += [f"{scale:g}"] if found > 0 else []
    where = f"Only between noise levels {interval[0]:g} and {interval[1]:g}"
    if better and not worse:
        return f"{where}, the same scale is nearer to the real digits than everywhere (shown at {', '.join(better)})."
    if worse and not better:
        return f"{where}, the same scale is farther from the real digits than everywhere (shown at {', '.join(worse)})."
    if better:
        return f"{where}, it is nearer at scale {', '.join(better)} and farther at {', '.join(worse)}."
    return f"{where}, no scale can be told from the same one everywhere."


def _named(key: str, interval: tuple[float, float]) -> str:
    scale, _, place = key.partition("-")
    if key == NONE:
        return "1 (none)"
    return f"{scale} {'everywhere' if place == 'everywhere' else f'between {interval[0]:g} and {interval[1]:g}'}"


def _table(cells: Mapping[str, Any], interval: tuple[float, float]) -> Table:
    rows = [
        (
            _named(key, interval),
            f"{cell['evaluations']:g}",
            percent(cell["label_accuracy"]),
            floors(cell["frechet"]),
            percent(cell["coverage"]),
        )
        for key, cell in cells.items()
    ]
    columns = ("scale, noise levels", "evaluations", "label accuracy", "floors", "coverage")
    return Table("Scales of guidance", columns, rows)


def _curves(cells: Mapping[str, Any], interval: tuple[float, float]) -> Any:
    shown: dict[str, dict[str, Any]] = {"label_accuracy": {}, "coverage": {}, "frechet": {}}
    places = {"everywhere": "everywhere", "interval": f"noise levels {interval[0]:g} to {interval[1]:g}"}
    for place, words in places.items():
        own = [cells[NONE], *(cells[f"{scale:g}-{place}"] for scale in SCALES[1:])]
        for name, curves in shown.items():
            curves[words] = curve(SCALES, [cell[name] for cell in own], unit=name == "frechet")
    real = {name: cells[NONE][name]["real"] for name in shown}
    return charts(
        [
            Chart("Label accuracy", "scale", shown["label_accuracy"], real["label_accuracy"], shares=True),
            Chart("Coverage", "scale", shown["coverage"], real["coverage"], shares=True),
            Chart("Distance, in floors", "scale", shown["frechet"], 1.0, log_y=True),
        ]
    )

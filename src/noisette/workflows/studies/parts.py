"""Parts: the laboratory calls the time embedding crucial and praises skips and labels. Train without each.

Four trainings at equal images from the same first weights: the whole network, and without each part. A part is taken
away by hooks on the network, so that everything else (weights, order of the images, noise) stays the same.

Time on two cores: 4 x 64,000 images at 560 a second are 8 minutes, 4 x 1,000 digits at 50 evaluations 1.5.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from noisette.base.shapes import NO_CLASS
from noisette.models.unet import UNet
from noisette.report.comparisons import grids
from noisette.report.words import listed
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.finding import Drawn, Finding, Table, differ, floors, percent, titled, too_early

# Taking a part away -------------------------------------------------------------------------------


def without_time(network: UNet) -> None:
    """The network is told the same noise level whatever it is."""

    def constant(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, c_noise, label = inputs
        return x, torch.zeros_like(c_noise), label

    network.register_forward_pre_hook(constant)


def without_labels(network: UNet) -> None:
    """The network is told no class whatever is asked for."""

    def none(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, c_noise, label = inputs
        return x, c_noise, torch.full_like(label, NO_CLASS)

    network.register_forward_pre_hook(none)


def without_skips(network: UNet) -> None:
    """What comes across from the way down is zero on the way up: all passes through the bottleneck."""

    def only_from_below(block: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, embedding = inputs  # x [B, 2C, H, W]: from below, then from across
        below, across = x.chunk(2, dim=1)
        return torch.cat([below, torch.zeros_like(across)], dim=1), embedding

    for stage in network.up_stages:
        next(stage.children()).register_forward_pre_hook(only_from_below)


PARTS: dict[str, Callable[[UNet], None]] = {"time": without_time, "skips": without_skips, "labels": without_labels}

# The study ----------------------------------------------------------------------------------------


def study(bench: Bench) -> Finding:
    """Train the whole network and one without each part, and compare."""
    bench.plan(1 + len(PARTS))

    def measured(key: str, alter: Callable[[UNet], None] | None) -> Mapping[str, Any]:
        model = bench.trained(key, bench.laboratory(), alter)
        return {**bench.drawn(key, model, bench.cheap()), "validation_loss": bench.validation_loss(key)}

    bench.cell("whole", partial(measured, "whole", None))
    for name, alter in PARTS.items():
        bench.cell(f"without-{name}", partial(measured, f"without-{name}", alter))
    return Finding(
        "Parts: what time embedding, skips and labels are worth",
        paragraph(bench.cells, bench.effort.images),
        [_table(bench.cells)],
        {"grids": Drawn(_grids(bench), "Digits of each network, one column a class.")},
    )


def paragraph(cells: Mapping[str, Any], images: int) -> str:
    """What the numbers say."""
    whole = cells["whole"]
    said = [
        f"After {images:,} images the whole network reaches a label accuracy of {percent(whole['label_accuracy'])} and "
        f"lies {floors(whole['frechet'])} floors from the real digits."
    ]
    for name in PARTS:
        cell = cells[f"without-{name}"]
        times = cell["frechet"]["value"] / whole["frechet"]["value"]
        farther = {
            1: f"{times:.2g} times as far from the real digits",
            0: "not to be told from it by the distance",
            -1: f"nearer to the real digits ({times:.2g} times the distance)",
        }[differ(cell["frechet"], whole["frechet"])]
        surer = {1: "higher", 0: "not to be told from it", -1: "lower"}[
            differ(cell["label_accuracy"], whole["label_accuracy"])
        ]
        of_labels = " (asked for nothing, it draws any digit)" if name == "labels" else ""
        said.append(
            f"Without {name} it is {farther}, {floors(cell['frechet'])} floors, and its label accuracy is {surer}: "
            f"{percent(cell['label_accuracy'])}{of_labels}."
        )
    return " ".join([*said, too_early(whole) or _verdict(cells)])


def _verdict(cells: Mapping[str, Any]) -> str:
    """What becomes of the laboratory's claims."""
    whole = cells["whole"]["frechet"]
    harm = {name: cells[f"without-{name}"]["frechet"] for name in PARTS}
    lost = sorted((name for name in PARTS if differ(harm[name], whole) > 0), key=lambda name: -harm[name]["value"])
    kept = [name for name in PARTS if name not in lost]
    said = f"By the distance it needs {listed(lost)}, the dearest first" if lost else "By the distance it needs none"
    if lost and kept:
        said += f", and nothing shows that it needs {listed(kept)}"
    if "time" not in lost:
        time = "is not borne out here: the network tells the noise level from the image"
    elif lost[0] == "time":
        time = "is borne out: nothing else costs as much"
    else:
        time = f"is borne out in part: it matters, but {lost[0]} matter more"
    return f"{said}. That the time embedding is crucial {time}."


def _table(cells: Mapping[str, Any]) -> Table:
    rows = [
        (
            key,
            percent(cell["label_accuracy"]),
            floors(cell["frechet"]),
            percent(cell["coverage"]),
            f"{cell['validation_loss']:.4f}",
        )
        for key, cell in cells.items()
    ]
    return Table(
        "Without a part, at equal images", ("network", "label accuracy", "floors", "coverage", "validation loss"), rows
    )


def _grids(bench: Bench) -> Any:
    panels = [(titled(key, cell), bench.grid(key, rows=5)) for key, cell in bench.cells.items()]
    return grids([panels[:2], panels[2:]])

"""Forward: how an image dissolves, what is left of it by the step, and what of it the loss has learned.

No training. With a model, its own table of levels; with a run folder, also its loss by noise level from metrics.jsonl.
The classifier reads real images noised to levels along the table. It never learned from noise: people see farther.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from noisette.base.seeds import ImageNoise
from noisette.data.images import to_model, to_uint8
from noisette.diffusion.noise import LevelRange, add_noise, level_table, unit_variance
from noisette.diffusion.objective import DiffusionConfig
from noisette.perception.read import read
from noisette.report.comparisons import Chart, Curve, charts, grids
from noisette.report.figures import loss_by_level
from noisette.report.pictures import grid_picture
from noisette.training.log import read_log
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies.bench import SEED, Bench
from noisette.workflows.studies.finding import Drawn, Finding, Table

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Of the table's steps: those at which images are shown and read. 0 is the clean image."""
HALF = 0.5
"""The accuracy below which most images are lost to the classifier."""
BESIDE = {"linear, 100": ("linear", 100), "linear, 300": ("linear", 300), "linear, 500": ("linear", 500)}
BESIDE |= {"cosine, 500": ("cosine", 500), "sigmoid, 500": ("sigmoid", 500)}
"""Tables whose signal-to-noise ratio is drawn beside each other."""


def study(bench: Bench) -> Finding:
    """Noise real images, read them, and draw."""
    diffusion = bench.given.file.spec.diffusion if bench.given else load_recipe("lab").diffusion
    losses, why_not = losses_by_level(bench.request.model)
    bench.plan(1)
    cell = bench.cell("dissolving", lambda: _measured(bench, diffusion))
    figures = {
        "dissolving": Drawn(_strip(bench, diffusion), "One image of each class at some steps of the forward process."),
        "signal": Drawn(_curves(cell), "Signal-to-noise ratio of some tables, and what the classifier still reads."),
    }
    if losses:
        figures["losses"] = Drawn(loss_by_level(losses), "Validation loss by noise level while the run was trained.")
    return Finding(
        "Forward: an image dissolving",
        f"{paragraph(cell)} {why_not or learned(losses)}",
        [_table(cell)],
        figures,
    )


def losses_by_level(model: str | None) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The validations of a run's log; where there are none, why not."""
    if model is None or not Path(model).is_dir():
        named = "without a model" if model is None else f"{model} is no run folder"
        return [], f"The loss by noise level over training is not shown: {named}, and only a run keeps its losses."
    file = Path(model) / "metrics.jsonl"
    found = [record for record in read_log(file) if record["event"] == "validation"] if file.exists() else []
    return found, "" if found else f"The loss by noise level over training is not shown: {model} was never validated."


def noised(bench: Bench, rows: Any, level: float) -> torch.Tensor:
    """Training images noised to `level`, as they are shown, [N, C, H, W]; the same noise at every level."""
    clean = to_model(bench.data.images[rows])
    if level == 0:
        return clean
    noise = ImageNoise(SEED, "forward", range(len(clean)), clean.shape[1:]).draw()
    return unit_variance(add_noise(clean, torch.full((len(clean),), level), noise), level)


def _levels(diffusion: DiffusionConfig) -> list[tuple[int, float]]:
    """(steps of the forward process, noise level) at each of SHARES."""
    rising = [0.0, *diffusion.table().flip(0).tolist()]
    steps = [round(share * diffusion.table_steps) for share in SHARES]
    return [(step, rising[step]) for step in dict.fromkeys(steps)]


def _measured(bench: Bench, diffusion: DiffusionConfig) -> Mapping[str, Any]:
    rows = bench.judge.training_draw(bench.effort.digits)
    asked = torch.from_numpy(bench.data.labels[rows])
    found = []
    for step, level in _levels(diffusion):
        guesses = read(bench.judge.classifier, noised(bench, rows, level)).guesses
        accuracy = float((guesses == asked).double().mean())
        found.append({"step": step, "noise_level": level, "alpha_bar": 1 / (1 + level**2), "accuracy": accuracy})
    table = diffusion.table().flip(0)  # rising
    even = int((table < 1).sum())
    return {
        "count": len(rows),
        "schedule": diffusion.schedule,
        "steps": diffusion.table_steps,
        "as_much_noise_at": even if even < len(table) else None,
        "classes": len(bench.classes),
        "read": found,
    }


def paragraph(cell: Mapping[str, Any]) -> str:
    """What the numbers say."""
    read_at, steps, end = cell["read"], cell["steps"], cell["read"][-1]
    even = cell["as_much_noise_at"]
    said = [
        f"Along the {cell['schedule']} table of {steps} steps "
        + (
            f"an image is as much noise as signal (unit variance each) after {even} steps, {even / steps:.0%} of them; "
            if even is not None
            else "an image never becomes as much noise as signal; "
        )
        + f"at the end alpha-bar is {end['alpha_bar']:.3g}, noise level {end['noise_level']:.3g}."
    ]
    lost = next((point for point in read_at if point["accuracy"] < HALF), None)
    if lost is None:
        said.append(
            f"The classifier still tells {end['accuracy']:.1%} of real images at the end: the chain never hides them."
        )
    else:
        said.append(
            f"Of {cell['count']:,} real images the classifier tells {read_at[0]['accuracy']:.1%} clean, and less than "
            f"half from {lost['step']} steps on ({lost['step'] / steps:.0%}; noise level {lost['noise_level']:.2g}, "
            f"{lost['accuracy']:.1%}). It never learned from noisy images, and a person sees farther: see the figure."
        )
        chance = 1 / cell["classes"]
        near_chance = end["accuracy"] < 1.5 * chance
        said.append(
            f"At the end it tells {end['accuracy']:.1%}, "
            + (
                "about what guessing gives."
                if near_chance
                else f"more than guessing's {chance:.0%}: something is left."
            )
        )
    return " ".join(said)


def learned(validations: Sequence[Mapping[str, Any]]) -> str:
    """What training did to the loss at each noise level."""
    first, final = validations[0], validations[-1]
    if first["images_seen"] == final["images_seen"]:
        return "The run was validated once, so that there is no course of its loss to tell of."
    edges = final["bucket_edges"]
    change = [after / before - 1 for before, after in zip(first["bucket_losses"], final["bucket_losses"], strict=True)]
    most, least = min(range(len(change)), key=change.__getitem__), max(range(len(change)), key=change.__getitem__)

    def at(bucket: int) -> str:
        return f"at noise levels {edges[bucket]:.2g} to {edges[bucket + 1]:.2g} ({change[bucket]:+.0%})"

    return (
        f"From {first['images_seen']:,} to {final['images_seen']:,} images the validation loss fell most {at(most)} "
        f"and {'rose most' if change[least] > 0 else 'fell least'} {at(least)}."
    )


def _table(cell: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{point['step']}",
            f"{point['noise_level']:.3g}",
            f"{point['alpha_bar']:.3g}",
            f"{point['noise_level'] ** -2:.3g}" if point["noise_level"] else "infinite",
            f"{point['accuracy']:.1%}",
        )
        for point in cell["read"]
    ]
    columns = ("step", "noise level", "alpha-bar", "signal-to-noise ratio", "classifier's accuracy")
    return Table(f"The forward process along {cell['schedule']}, {cell['steps']} steps", columns, rows)


def _strip(bench: Bench, diffusion: DiffusionConfig) -> Any:
    rows = bench.judge.training_draw(len(bench.classes))
    titled = [
        (
            f"step {step}, alpha-bar {1 / (1 + level**2):.2g}",
            grid_picture(to_uint8(noised(bench, rows, level)), len(bench.classes)),
        )
        for step, level in _levels(diffusion)
    ]
    half = -(-len(titled) // 2)
    return grids(list(zip(titled[:half], titled[half:], strict=False)))


def _curves(cell: Mapping[str, Any]) -> Any:
    ratios = {}
    for name, (schedule, steps) in BESIDE.items():
        rising = level_table(schedule, steps, LevelRange()).flip(0)
        rows = range(-1 % (steps // 50), steps, steps // 50)  # the last among them
        ratios[name] = Curve([100 * (row + 1) / steps for row in rows], [float(rising[row]) ** -2 for row in rows])
    told = cell["read"]
    read_at = Curve([100 * point["step"] / cell["steps"] for point in told], [point["accuracy"] for point in told])
    x = "share of the forward steps, %"
    own = f"{cell['schedule']}, {cell['steps']}"
    return charts(
        [
            Chart("Signal-to-noise ratio", x, ratios, log_y=True, bottom=1e-3),
            Chart("Real images that the classifier tells", x, {own: read_at}, shares=True),
        ]
    )

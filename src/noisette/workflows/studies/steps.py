"""Steps: the laboratory saw blobs with 100 steps, faint digits with 300, crisp ones with 500. Was it the number?

With betas fixed at 1e-4 to 0.02 a shorter chain also ends earlier: alpha_bar, the signal that is left, is 0.364 after
100 steps, 0.048 after 300 and 0.00635 after 500, while sampling starts from N(0, I), where nothing is left. To tell
the causes apart the study trains at T = 100, 300 and 500, once with the betas fixed and once with all betas scaled by
one factor such that alpha_bar ends at 0.00635 whatever T is (at 500 both are the same), and draws

    fixed    fixed betas, from N(0, I), as the laboratory did
    scaled   scaled betas, from N(0, I): as few steps, but down to the same noise
    real     the models of `fixed`, from real digits noised to the models' own last level: the same networks and steps,
             but from a start that they know. A control, no generator: the start holds what is left of a real digit.

Then one trained model is drawn with several samplers at 1 to 500 evaluations of the network.

Time: 5 x 100,000 images of training; 400 digits of 8 whole chains (2,200 steps) and of 4 x 688 evaluations are 2.0
million evaluations: half of what all seven studies take (see `bench`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from noisette.data.images import to_model, to_uint8
from noisette.diffusion.noise import scaled, signal_left
from noisette.diffusion.objective import DiffusionConfig
from noisette.diffusion.samplers import make_sampler
from noisette.report.comparisons import Chart, charts, grids
from noisette.report.pictures import Pixels
from noisette.report.words import listed
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import BATCH, Model
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies.bench import SEED, Bench
from noisette.workflows.studies.finding import (
    Drawn,
    Finding,
    Table,
    curve,
    differ,
    floors,
    percent,
    titled,
    too_early,
)

LENGTHS = (100, 300, 500)
LONGEST = LENGTHS[-1]
SAMPLERS = ("ddpm", "ddim", "heun", "dpmpp-2m")

# The tables ---------------------------------------------------------------------------------------


def tables() -> dict[str, DiffusionConfig]:
    """The diffusion of each training, by its name."""
    lab = load_recipe("lab").diffusion
    signal = signal_left(LONGEST, lab.levels)
    found = {f"fixed-{steps}": dataclasses.replace(lab, table_steps=steps) for steps in LENGTHS}
    for steps in LENGTHS[:-1]:
        within = scaled(steps, signal, lab.levels)
        found[f"scaled-{steps}"] = dataclasses.replace(lab, table_steps=steps, levels=within)
    return found


# The study ----------------------------------------------------------------------------------------


def study(bench: Bench) -> Finding:
    """Train, draw, and compare; then the samplers, on the model given or on that of the longest chain."""
    diffusions, sweep = tables(), dict(_sweep(bench.effort.evaluations, _most_steps(bench)))
    bench.plan(len(diffusions) + len(LENGTHS) + len(sweep))

    def model(name: str) -> Model:
        return bench.trained(name, bench.laboratory(diffusions[name], bench.effort.chain_images))

    def drawn(key: str, name: str, sampling: SamplingConfig) -> Mapping[str, Any]:
        chosen = bench.given if key in sweep and bench.given else model(name)
        return bench.drawn(key, chosen, sampling, bench.effort.chain_digits)

    def from_real(key: str, name: str) -> Mapping[str, Any]:
        return _from_real(bench, key, model(name))

    for name, diffusion in diffusions.items():
        bench.cell(name, partial(drawn, name, name, SamplingConfig("ddpm", steps=diffusion.table_steps)))
    for steps in LENGTHS:
        bench.cell(f"real-{steps}", partial(from_real, f"real-{steps}", f"fixed-{steps}"))
    for key, sampling in sweep.items():
        bench.cell(key, partial(drawn, key, f"fixed-{LONGEST}", sampling))
    swept = bench.given.name if bench.given else f"fixed-{LONGEST}"
    return Finding(
        "Steps: is it their number, or the noise that they end in?",
        paragraph(bench.cells, swept),
        [_table(bench.cells, diffusions), _sweep_table(bench.cells, swept)],
        {
            "grids": Drawn(_grids(bench), "Digits by length of the chain; beside each its label accuracy and floors."),
            "samplers": Drawn(_curves(bench.cells), f"Samplers on {swept}, with 90 % intervals."),
        },
    )


def _most_steps(bench: Bench) -> int:
    """How many steps the compared model can take: a chain has no more than its table."""
    diffusion = bench.given.file.spec.diffusion if bench.given else load_recipe("lab").diffusion
    return diffusion.table_steps if diffusion.is_chain() else max(bench.effort.evaluations)


def _sweep(evaluations: tuple[int, ...], most: int) -> Iterator[tuple[str, SamplingConfig]]:
    """Cells of sampler x evaluations. A step of Heun takes two but the last, so that odd numbers are met exactly."""
    for sampler in SAMPLERS:
        per_step = make_sampler(sampler).evaluations
        for steps in dict.fromkeys(min(most, -(-wanted // per_step)) for wanted in evaluations):
            yield f"{sampler}-{steps * per_step - per_step + 1}", SamplingConfig(sampler, steps=steps)


def _from_real(bench: Bench, key: str, model: Model) -> dict[str, Any]:
    """Sample the whole chain from real training digits, each noised to the model's last level."""
    labels = bench.even_labels(bench.effort.chain_digits)
    clean = bench.data.images[bench.judge.training_draw(len(labels))]
    images = noised_and_back(model, clean, labels, bench.progress)
    bench.keep(key, images, labels)
    return {**bench.judge.metrics(images, labels), "evaluations": model.file.spec.diffusion.table_steps}


def noised_and_back(
    model: Model, clean: Pixels, labels: list[int], progress: Callable[[float, int], None] = lambda done, images: None
) -> Pixels:
    """Images [N, H, W, C] noised to the last level of the model's chain and drawn back by all its steps of ddpm.
    progress is told how many are done, and how many there are."""
    sampling = SamplingConfig("ddpm", steps=model.file.spec.diffusion.table_steps)
    back = []
    for first in range(0, len(labels), BATCH):
        asked = labels[first : first + BATCH]
        rows = range(first, first + len(asked))
        start = to_model(clean[first : first + BATCH])
        for snapshot in model.snapshots(asked, SEED, rows, sampling, start):
            progress(first + len(rows) * snapshot.step / snapshot.steps, len(labels))
        back.append(to_uint8(snapshot.denoised))
    return np.concatenate(back)


# What was found -----------------------------------------------------------------------------------

MOST, LITTLE = 0.8, 0.2
"""Shares of the gap between the shortest and the longest chain that a change closes: nearly all, and next to none."""


def paragraph(cells: Mapping[str, Any], swept: str) -> str:
    """What the numbers say."""
    short, long = f"fixed-{LENGTHS[0]}", f"fixed-{LONGEST}"
    seen = "; ".join(f"{steps} steps {_both(cells[f'fixed-{steps}'])}" for steps in LENGTHS)
    said = [f"With betas fixed at 1e-4 to 0.02 and a start from N(0, I): {seen}."]
    if text := too_early(cells[long]):
        said.append(text)
    elif differ(cells[short]["frechet"], cells[long]["frechet"]) <= 0:
        said.append(
            f"So {LENGTHS[0]} steps are no farther from the real digits than {LONGEST}: the laboratory's effect is not "
            "seen here, and there is nothing to explain."
        )
    else:
        said += [f"The laboratory's effect is seen: fewer steps are worse. {_cause(cells)}"]
    return " ".join([*said, _fewest(cells, swept)])


def _both(cell: Mapping[str, Any]) -> str:
    return f"{percent(cell['label_accuracy'])} right at {floors(cell['frechet'])} floors"


def _closed(cells: Mapping[str, Any], arm: str) -> float:
    """The share of the distance between the shortest and the longest fixed chain that `arm` closes at the shortest."""
    short, long = (cells[f"fixed-{steps}"]["frechet"]["value"] for steps in (LENGTHS[0], LONGEST))
    return float((short - cells[f"{arm}-{LENGTHS[0]}"]["frechet"]["value"]) / (short - long))


def _cause(cells: Mapping[str, Any]) -> str:
    """Which of the two causes the numbers point to."""
    short = LENGTHS[0]
    by_table, by_start = _closed(cells, "scaled"), _closed(cells, "real")
    against = {1: "still farther than", 0: "not to be told from", -1: "nearer than"}[
        differ(cells[f"scaled-{short}"]["frechet"], cells[f"fixed-{LONGEST}"]["frechet"])
    ]
    said = (
        f"With betas scaled so that {short} steps reach the same noise as {LONGEST}, {short} steps give "
        f"{_both(cells[f'scaled-{short}'])}: {against} {LONGEST} steps, {_share(by_table)} of the gap closed. The "
        f"fixed-beta network of {short} steps, unchanged but started from real digits noised to its own last level, "
        f"gives {_both(cells[f'real-{short}'])}: {_share(by_start)} of the gap closed. "
    )
    if by_table >= MOST:
        verdict = (
            "So it was not the number of steps: a short chain with the long one's betas stops before the image is "
            "noise, and sampling then starts where the network has never been."
        )
    elif by_table <= LITTLE:
        verdict = "So it is the number of steps: reaching pure noise does next to nothing for a short chain."
    else:
        verdict = (
            f"So it is both: the noise that was never reached explains {_share(by_table)} of the gap, the number of "
            "steps the rest."
        )
    agreed = (by_table > 0.5) == (by_start > 0.5)
    control = "The control agrees." if agreed else "The control disagrees: a right start alone has another effect."
    return f"{said}{verdict} {control}"


def _share(value: float) -> str:
    """A share of the gap, in words where a per cent would mislead."""
    return "none" if value <= 0 else "all" if value >= 1 else f"{value:.0%}"


def _fewest(cells: Mapping[str, Any], swept: str) -> str:
    """How few evaluations each sampler needs, and whether more of them are worse again."""
    fewest, worse = [], []
    for sampler in SAMPLERS:
        by_count = _by_evaluations(cells, sampler)
        best = min((cell["frechet"] for cell in by_count.values()), key=lambda metric: float(metric["value"]))
        enough = next(count for count, cell in by_count.items() if differ(cell["frechet"], best) == 0)
        fewest.append(f"{sampler} {enough}")
        most = max(by_count)
        if differ(by_count[most]["frechet"], best) > 0:
            worse.append(f"{sampler} at {most}")
    said = (
        f"On {swept}, the fewest evaluations that cannot be told by distance from a sampler's best: {listed(fewest)}."
    )
    return f"{said} More are not always better; farther than at its best: {listed(worse)}." if worse else said


def _by_evaluations(cells: Mapping[str, Any], sampler: str) -> dict[int, Mapping[str, Any]]:
    """The cells of one sampler, by their evaluations, rising."""
    own = {key.rpartition("-")[2]: cell for key, cell in cells.items() if key.rpartition("-")[0] == sampler}
    return {int(count): own[count] for count in sorted(own, key=int)}


def _table(cells: Mapping[str, Any], diffusions: Mapping[str, DiffusionConfig]) -> Table:
    rows = []
    for arm, start in (("fixed", "N(0, I)"), ("scaled", "N(0, I)"), ("real", "noised real digits")):
        for steps in LENGTHS:
            trained = f"{'fixed' if arm == 'real' or steps == LONGEST else arm}-{steps}"
            cell = cells[f"fixed-{steps}" if arm == "scaled" and steps == LONGEST else f"{arm}-{steps}"]
            levels = diffusions[trained].levels
            rows.append(
                (
                    "scaled" if arm == "scaled" else "fixed",
                    start,
                    str(steps),
                    f"{levels.beta_start:.3g} to {levels.beta_end:.3g}",
                    f"{signal_left(steps, levels):.3g}",
                    percent(cell["label_accuracy"]),
                    floors(cell["frechet"]),
                )
            )
    columns = ("betas", "start", "steps", "from, to", "alpha-bar at the end", "label accuracy", "floors")
    return Table("Length of the chain, its betas and its start (scaled at 500 is fixed at 500)", columns, rows)


def _sweep_table(cells: Mapping[str, Any], swept: str) -> Table:
    rows = [
        (sampler, str(count), percent(cell["label_accuracy"]), floors(cell["frechet"]))
        for sampler in SAMPLERS
        for count, cell in _by_evaluations(cells, sampler).items()
    ]
    return Table(f"Samplers on {swept}", ("sampler", "evaluations", "label accuracy", "floors"), rows)


def _grids(bench: Bench) -> Any:
    panels = []
    for steps in LENGTHS:
        keys = {
            "fixed betas": f"fixed-{steps}",
            "scaled betas": f"scaled-{steps}" if steps != LONGEST else f"fixed-{steps}",
            "fixed, from real digits": f"real-{steps}",
        }
        panels.append(
            [
                (titled(f"{steps} steps, {words}", bench.cells[key]), bench.grid(key, rows=4))
                for words, key in keys.items()
            ]
        )
    return grids(panels)


def _curves(cells: Mapping[str, Any]) -> Any:
    right, far = {}, {}
    for sampler in SAMPLERS:
        by_count = _by_evaluations(cells, sampler)
        right[sampler] = curve([*by_count], [cell["label_accuracy"] for cell in by_count.values()])
        far[sampler] = curve([*by_count], [cell["frechet"] for cell in by_count.values()], unit=True)
    x = "evaluations of the network"
    return charts(
        [
            Chart("Label accuracy", x, right, shares=True, log_x=True),
            Chart("Distance, in floors", x, far, log_x=True, log_y=True),
        ]
    )

"""How many images a second are trained on, by width, batch and precision, beside what a matrix product reaches.

    python benchmarks/training_rate.py [--widths 32,64 48,96 ...] [--batches 32 64 ...] [--recipes quick lab ...]

A whole step is timed: pictures indexed and scaled, noise drawn, forward, backward, optimiser, average. Its arithmetic
is counted as the multiply-adds of convolutions and linear layers times two, forward, and twice that backward; the share
is its rate over that of a float32 matrix product that is timed in turns with the steps. The grid is the network of
recipe `quick` in other widths; each recipe has a row at its own batch. Medians over repeats.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from measure import (
    COLOURS,
    REPEATS,
    Record,
    Row,
    command,
    matrix_rate,
    measure_missing,
    parser,
    picture,
    plain_ticks,
    say,
)
from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.data.batches import Batches
from noisette.data.datasets import load_data
from noisette.data.images import to_model
from noisette.diffusion.objective import Objective
from noisette.models.unet import UNet, UNetConfig, multiply_adds
from noisette.training.loop import new_state, train
from noisette.workflows.device import PRECISIONS, Precision
from noisette.workflows.recipes import RunConfig, load_recipe, recipe_names

WIDTHS = ("32,64", "48,96", "64,128", "96,192")
BATCHES = (32, 64, 128, 256, 512)
GRID_RECIPE = "quick"


@dataclass(frozen=True)
class Cell:
    """What is trained: a recipe, or None for the grid; its network; the batch; the precision of the gradients."""

    recipe: str | None
    network: UNetConfig
    batch: int
    precision: Precision

    @property
    def name(self) -> str:
        what = f"recipe {self.recipe}" if self.recipe else f"widths {'-'.join(map(str, self.network.widths))}"
        return f"{what}, batch {self.batch}, {self.precision}"


def cells(widths: Sequence[str], batches: Sequence[int], recipes: Sequence[str]) -> list[Cell]:
    """The grid and the recipes, in both precisions."""
    network = load_recipe(GRID_RECIPE).network
    try:
        grid = [dataclasses.replace(network, widths=tuple(int(w) for w in text.split(","))) for text in widths]
    except ValueError:
        raise Refusal(f"widths {' '.join(widths)}: expected numbers with commas, as 64,128") from None
    own = [(name, load_recipe(name)) for name in recipes]
    return [
        *(Cell(None, one, batch, precision) for one in grid for batch in batches for precision in PRECISIONS),
        *(Cell(n, c.network, c.training.batch_size, precision) for n, c in own for precision in PRECISIONS),
    ]


def new_network(cell: Cell) -> UNet:
    network = UNet(cell.network, 1, 10)
    network.initialise(generator(0, "weights"))
    return network


def cost(cell: Cell) -> float:
    """About how long a cell takes: the arithmetic of its steps."""
    return (multiply_adds(new_network(cell), 28, 28) * cell.batch + 1e9) * (1.6 if cell.precision == "float32" else 1.0)


def measure(cell: Cell, repeats: int) -> Row:
    """Images a second and the share of the matrix product, each the median over steps."""
    config: RunConfig = load_recipe(cell.recipe or GRID_RECIPE)
    training = dataclasses.replace(config.training, batch_size=cell.batch, accumulation=1, images=None, minutes=None)
    data, network = load_data("mnist-5k"), new_network(cell)
    std = config.diffusion.data_std or float(to_model(data.images).std())
    objective = Objective(dataclasses.replace(config.diffusion, data_std=std))
    batches = Batches(data.images, data.labels, np.arange(len(data.images)), 0)
    state = new_state(network, training)
    steps = train(state, objective, training, batches.at, None, PRECISIONS[cell.precision])
    next(steps)  # warms up
    seconds, products = [], []
    for _ in range(repeats):
        products.append(matrix_rate(torch.float32, repeats=1))
        started = time.perf_counter()
        next(steps)
        seconds.append(time.perf_counter() - started)
    operations = 6 * multiply_adds(network, 28, 28) * cell.batch  # a step's
    shares = [operations / each / product for each, product in zip(seconds, products, strict=True)]
    return {
        "recipe": cell.recipe,
        "widths": cell.network.widths,
        "batch": cell.batch,
        "precision": cell.precision,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": operations // 6 // cell.batch,
        "step_seconds": seconds,
        "images_per_second": cell.batch / statistics.median(seconds),
        "share_of_matrix_product": statistics.median(shares),
    }


def draw(record: Record, path: Path) -> None:
    """Images a second and shares of the grid against the batch; the recipes as bars."""
    rows = list(record.rows.values())
    widths = list(dict.fromkeys(tuple(row["widths"]) for row in rows if not row["recipe"]))
    recipes = list(dict.fromkeys(row["recipe"] for row in rows if row["recipe"]))
    with picture(path, "Training rate, whole steps", record.about(), panels=3) as (rates, shares, bars):
        for axes, key, factor in ((rates, "images_per_second", 1), (shares, "share_of_matrix_product", 100)):
            for number, width in enumerate(widths):
                for precision, line in (("bfloat16", "o-"), ("float32", "o--")):
                    own = [r for r in rows if not r["recipe"] and tuple(r["widths"]) == width]
                    own = sorted((r for r in own if r["precision"] == precision), key=lambda row: row["batch"])
                    axes.plot(
                        [row["batch"] for row in own],
                        [factor * row[key] for row in own],
                        line,
                        color=COLOURS[number % len(COLOURS)],
                        markersize=3,
                        label=f"{'-'.join(map(str, width))}, {precision}",
                    )
            axes.set(xscale="log", xlabel="batch", ylim=(0, None))
            plain_ticks(axes.xaxis, sorted({row["batch"] for row in rows}))
        rates.set_title("images a second, by widths", loc="left")
        shares.set_title("arithmetic, % of the float32 matrix product", loc="left")
        rates.legend(fontsize=7, ncols=2, loc="upper left")
        rates.set_ylim(0, 1.45 * max(row["images_per_second"] for row in rows if not row["recipe"]))
        for number, recipe in enumerate(recipes):
            for offset, precision, colour in ((0.2, "bfloat16", COLOURS[0]), (-0.2, "float32", COLOURS[5])):
                (row,) = (r for r in rows if r["recipe"] == recipe and r["precision"] == precision)
                share = 100 * row["share_of_matrix_product"]
                bars.barh(number + offset, share, 0.36, color=colour, label=precision if number == 0 else None)
                text = f" {share:.0f} %, {row['images_per_second']:,.0f} images/s"
                bars.text(share, number + offset, text, va="center", fontsize=7)
        bars.set_yticks(range(len(recipes)), recipes)
        bars.set_title("the recipes, % of the float32 matrix product", loc="left")
        bars.margins(x=0.45)
        bars.legend(fontsize=7)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("--widths", nargs="+", default=WIDTHS)
    flags.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    flags.add_argument("--recipes", nargs="*", default=recipe_names())
    flags.add_argument("--repeats", type=int, default=REPEATS)
    chosen = flags.parse_args(arguments)

    def work() -> None:
        wanted = {cell.name: cell for cell in cells(chosen.widths, chosen.batches, chosen.recipes)}
        record = Record(chosen.out / "training_rate.json", {"data": "mnist-5k", "repeats": chosen.repeats})

        def one(name: str) -> Row:
            row = measure(wanted[name], chosen.repeats)
            rate, share = row["images_per_second"], row["share_of_matrix_product"]
            say(f"    {rate:,.0f} images/s, {share:.0%} of the matrix product")
            return row

        measure_missing(record, {name: cost(cell) for name, cell in wanted.items()}, one)
        draw(record, chosen.out / "training_rate.png")

    return command(work)


if __name__ == "__main__":
    sys.exit(main())

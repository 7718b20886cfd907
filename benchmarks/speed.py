"""How fast this machine trains and draws, beside what its matrix product reaches.

    python benchmarks/speed.py [--json OUT]

For each recipe: images a second of gradients (forward and backward, the optimiser left out) in float32 and bfloat16,
and the arithmetic they stand for (multiply-adds of convolutions and linear layers, times two, forward and twice that
backward) as a ratio to the float32 matrix product measured in the same run. For each model that ships: images a second
at its default sampling. And the seconds that a start takes. Medians over repeats.
"""

import argparse
import copy
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from noisette.base.seeds import generator
from noisette.data.batches import Batches
from noisette.data.datasets import load_data
from noisette.diffusion.objective import Objective
from noisette.models.unet import UNet, multiply_adds
from noisette.training.loop import gradient_seconds
from noisette.workflows.model import load, shipped
from noisette.workflows.recipes import load_recipe, recipe_names

REPEATS = 5
LOAD = "import noisette; noisette.load('mnist')"


def median_seconds(work: Callable[[], object]) -> float:
    """The median time of REPEATS calls, after one to warm up."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def matrix_rate(dtype: torch.dtype, side: int = 2048) -> float:
    """Floating point operations a second of a square matrix product."""
    a, b = torch.randn(2, side, side).to(dtype)
    return 2 * side**3 / median_seconds(lambda: a @ b)


def training_row(recipe: str, fp32_rate: float) -> dict[str, Any]:
    """Images a second of gradients in both precisions."""
    config, data = load_recipe(recipe), load_data("mnist-5k")
    network = UNet(config.network, 1, 10)
    network.initialise(generator(0, "weights"))
    objective = Objective(dataclasses.replace(config.diffusion, data_std=0.6))
    batch = Batches(data.images, data.labels, 0).at(0, config.training.batch_size)
    operations = 6 * multiply_adds(network, 28, 28)
    row: dict[str, Any] = {
        "recipe": recipe,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": operations // 6,
    }
    for dtype in (torch.float32, torch.bfloat16):
        seconds = statistics.median(
            gradient_seconds(copy.deepcopy(network), objective, config.training, batch, dtype) for _ in range(REPEATS)
        )
        rate = len(batch.position) / seconds
        row[str(dtype).removeprefix("torch.")] = {
            "images_per_second": rate,
            "share_of_fp32_matrix_product": rate * operations / fp32_rate,
        }
    return row


def sampling_row(name: str, count: int = 200) -> dict[str, Any]:
    """Images a second of a model that ships, at its defaults."""
    model = load(name, "cpu")
    seconds = median_seconds(lambda: model.sample([number % 10 for number in range(count)]))
    return {"model": name, "sampling": dataclasses.asdict(model.sampling), "images_per_second": count / seconds}


def start_seconds() -> dict[str, float]:
    """What a person waits for before anything happens: the help, and importing the library."""
    calls = {"help": ["-m", "noisette", "--help"], "import": ["-c", "import noisette"], "load": ["-c", LOAD]}
    return {
        name: median_seconds(lambda call=call: subprocess.run([sys.executable, *call], check=True, capture_output=True))
        for name, call in calls.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    rates = {str(dtype).removeprefix("torch."): matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    training = [training_row(recipe, rates["float32"]) for recipe in recipe_names()]
    sampling = [sampling_row(name) for name in shipped()]

    start = start_seconds()

    console = Console()
    console.print(
        f"{torch.get_num_threads()} threads, matrix product: "
        + ", ".join(f"{n} {r / 1e9:.0f} GF/s" for n, r in rates.items())
    )
    table = Table("recipe", "parameters", "float32, images/s", "bfloat16, images/s", "share of the fp32 matrix product")
    for row in training:
        shares = " / ".join(f"{row[p]['share_of_fp32_matrix_product']:.0%}" for p in rates)
        table.add_row(
            row["recipe"], f"{row['parameters']:,}", *(f"{row[p]['images_per_second']:.0f}" for p in rates), shares
        )
    console.print(table)
    for row in sampling:
        console.print(
            f"{row['model']}: draws {row['images_per_second']:.1f} images/s at its defaults, {row['sampling']}"
        )
    console.print("start-up: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in start.items()))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"matrix_product": rates, "training": training, "sampling": sampling, "start": start}, indent=1)
        )


if __name__ == "__main__":
    main()

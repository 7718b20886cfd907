"""The most memory that training and drawing take, against batch and image size.

    python benchmarks/memory.py [--recipe quick] [--sizes 28 56 112] [--batches 1 16 64 256]

Each cell is a process of its own that takes a few steps on made-up pictures and reports the peak of its resident
memory. A process that only imports stands beside them. Drawing is measured with the whole batch at once, which
`noisette sample` cuts into batches of 100.
"""

import dataclasses
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from measure import COLOURS, Record, Row, command, measure_missing, parser, picture, plain_ticks, say
from noisette.base.seeds import generator
from noisette.data.batches import Batches
from noisette.diffusion.objective import Objective
from noisette.training.loop import new_state, train
from noisette.weights.model_file import ModelFile, ModelSpec
from noisette.workflows.device import PRECISIONS, Precision, choose_device
from noisette.workflows.model import Model, last
from noisette.workflows.recipes import load_recipe

SIZES, BATCHES = (28, 56, 112), (1, 16, 64, 256)
WORKS = ("training", "drawing")
MOST_PIXELS = 256 * 56 * 56
"""Of a batch: larger cells are left out."""
STEPS = 3


def peak_bytes() -> int:
    """The most resident memory that this process has had."""
    try:  # On Linux ru_maxrss remembers the parent from before this program was started; VmHWM does not.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def take_steps(work: str, recipe: str, size: int, batch: int, precision: Precision) -> None:
    """Train or draw on pictures of size x size; any other work is to do nothing."""
    config = load_recipe(recipe)
    diffusion = dataclasses.replace(config.diffusion, data_std=0.6)
    spec = ModelSpec(config.network, diffusion, config.sampling, 1, size, size, tuple("0123456789"))
    network = spec.new_network()
    network.initialise(generator(0, "weights"))
    if work == "training":
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 1), np.uint8)
        batches = Batches(pixels, np.arange(batch) % 10, np.arange(batch), 0)
        training = dataclasses.replace(config.training, batch_size=batch, accumulation=1, images=STEPS * batch)
        state = new_state(network, training)
        for _ in train(state, Objective(diffusion), training, batches.at, None, PRECISIONS[precision]):
            pass
    elif work == "drawing":
        network = network.to(PRECISIONS[precision]).requires_grad_(False).eval()
        model = Model("made up", ModelFile(spec, network, {}), choose_device("cpu"))
        sampling = dataclasses.replace(config.sampling, steps=2 * STEPS)
        last(model.snapshots([number % 10 for number in range(batch)], 0, None, sampling))


def measure(work: str, size: int, batch: int, recipe: str, precision: str) -> Row:
    """The peak of a process of its own."""
    call = [sys.executable, __file__, "--cell", work, recipe, str(size), str(batch), precision]
    peak = int(subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout)
    say(f"    {peak / 2**20:,.0f} MiB")
    return {"work": work, "size": size, "batch": batch, "peak_bytes": peak}


def draw(record: Record, path: Path) -> None:
    """A line an image size against the batch; training and drawing side by side."""
    rows, settings = list(record.rows.values()), record.content["settings"]
    heading = f"Peak resident memory, network of recipe {settings['recipe']}, {settings['precision']}"
    with picture(path, heading, record.about(), panels=len(WORKS)) as panels:
        for axes, work in zip(panels, WORKS, strict=True):
            for number, size in enumerate(sorted({row["size"] for row in rows if row["size"]})):
                own = sorted((r for r in rows if r["work"] == work and r["size"] == size), key=lambda row: row["batch"])
                at, peaks = [row["batch"] for row in own], [row["peak_bytes"] / 2**20 for row in own]
                axes.plot(at, peaks, "o-", color=COLOURS[number], markersize=4, label=f"{size} x {size}")
                axes.annotate(
                    f"{peaks[-1]:,.0f}", (at[-1], peaks[-1]), xytext=(0, 5), textcoords="offset points", ha="center"
                )
            alone = record.rows["importing"]["peak_bytes"] / 2**20
            axes.axhline(alone, color="0.5", linestyle=":", label=f"importing alone, {alone:,.0f}")
            axes.set(xscale="log", yscale="log", xlabel="batch", ylabel="MiB")
            plain_ticks(axes.xaxis, sorted({row["batch"] for row in rows if row["batch"]}))
            highest = max(row["peak_bytes"] for row in rows) / 2**20
            plain_ticks(axes.yaxis, [tick for tick in (200, 500, 1000, 2000, 5000, 10000, 20000) if tick < 2 * highest])
            axes.set_ylim(0.8 * alone, 1.4 * highest)
            axes.set_title(work, loc="left")
        panels[0].legend(fontsize=8, loc="upper left")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; with --cell the process that is measured."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--cell"]:
        work, recipe, size, batch, precision = given[1:]
        take_steps(work, recipe, int(size), int(batch), precision)
        print(peak_bytes())
        return 0
    flags = parser(__doc__)
    flags.add_argument("--recipe", default="quick")
    flags.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    flags.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    flags.add_argument("--precision", choices=tuple(PRECISIONS), default="float32")
    chosen = flags.parse_args(given)

    def run() -> None:
        record = Record(chosen.out / "memory.json", {"recipe": chosen.recipe, "precision": chosen.precision})
        cells = {
            f"{work}, {size} x {size}, batch {batch}": (work, size, batch)
            for work in WORKS
            for size in chosen.sizes
            for batch in chosen.batches
            if batch * size**2 <= MOST_PIXELS
        } | {"importing": ("importing", min(chosen.sizes), 0)}
        costs = {name: 3e5 + batch * size**2 for name, (_, size, batch) in cells.items()}
        measure_missing(record, costs, lambda name: measure(*cells[name], chosen.recipe, chosen.precision))
        draw(record, chosen.out / "memory.png")

    return command(run)


if __name__ == "__main__":
    sys.exit(main())

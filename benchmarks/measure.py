"""What the benchmarks share: the machine's facts, a record written cell by cell, the judge of quality, pictures."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import noisette
from judge import judge, load_judge, open_samples
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import require_writable, whole_file, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
JUDGE = "b"
SAY_SECONDS = 10.0

Row = dict[str, Any]

# The machine and its clock ------------------------------------------------------------------------


def machine_facts() -> Row:
    """What must be equal for two timings to stand side by side."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processors": processors,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "noisette": noisette.__version__,
    }


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median time of some calls, after one to warm up."""
    return statistics.median(seconds_of(work, repeats))


def seconds_of(work: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """The time of each of some calls, after one to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def matrix_rate(dtype: torch.dtype, repeats: int = REPEATS, side: int = 2048) -> float:
    """Floating point operations a second of a square matrix product on the CPU."""
    a, b = torch.randn(2, side, side).to(dtype)
    return 2 * side**3 / median_seconds(lambda: a @ b, repeats)


# The record ---------------------------------------------------------------------------------------


class Record:
    """Rows by name in one JSON file that is rewritten whole after each: the same command goes on where it stopped.

    settings: what has to be equal for the rows to stand side by side; the machine has to be the same too.
    """

    def __init__(self, path: Path, settings: Row) -> None:
        require_writable(path)
        self.path, found = path, {"settings": json.loads(json.dumps(settings)), "machine": machine_facts()}
        self.content: Row = {**found, "matrix_product": None, "rows": {}}
        if path.exists():
            self.content = json.loads(path.read_text(encoding="utf-8"))
            for part, values in found.items():
                for name, value in values.items():
                    before = self.content[part].get(name)
                    if before != value:
                        raise Refusal(f"{path} has {name} {before}, not {value}: expected another --out")
        else:
            rates = {name: matrix_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}
            self.content["matrix_product"] = rates

    @property
    def rows(self) -> dict[str, Row]:
        """What was measured so far, by name."""
        rows: dict[str, Row] = self.content["rows"]
        return rows

    def add(self, name: str, row: Row) -> None:
        """Keep a row."""
        self.rows[name] = row
        write_text(self.path, json.dumps(self.content, indent=1) + "\n")

    def about(self) -> str:
        """One line for a picture: the machine."""
        machine, rates = self.content["machine"], self.content["matrix_product"]
        products = ", ".join(f"{name} {rate / 1e9:,.0f} GF/s" for name, rate in rates.items())
        device = machine["cuda"] or f"processors: {machine['processors']}, {machine['instructions']}"
        return f"{device}; threads: {machine['threads']}; matrix product {products}; torch {machine['torch']}"


def measure_missing(record: Record, costs: Mapping[str, float], measure: Callable[[str], Row]) -> None:
    """Measure every cell that the record lacks. costs: of each cell by name, in any unit; tells the time left."""
    missing = {name: cost for name, cost in costs.items() if name not in record.rows}
    left, undone = None, sum(missing.values())
    for number, (name, cost) in enumerate(missing.items(), start=1):
        say(f"{number} of {len(missing)}: {name}", left)
        started = time.monotonic()
        record.add(name, measure(name))
        undone -= cost
        left = (time.monotonic() - started) / cost * undone  # at the pace of this one: the first may have prepared much


def say(line: str, seconds_left: float | None = None) -> None:
    """Print a line, with the time left where it is known."""
    left = "" if seconds_left is None else f"; about {timedelta(seconds=round(seconds_left))} left"
    print(line + left, flush=True)


# Quality ------------------------------------------------------------------------------------------


def quality(samples: Path, data_dir: Path | None) -> dict[str, Row]:
    """What two classifiers of different makes find of a sample file of MNIST digits: label accuracy, floors, coverage,
    each beside that of real digits. Floors: the Frechet distance in units of that of as many real training digits.

    One is the package's own, as `noisette evaluate` reports it with 90 % intervals, the other the independent judge's.
    """
    from noisette.workflows.evaluate import EvaluationRequest, evaluate  # large, and memory.py measures what it imports

    metrics = evaluate(samples, EvaluationRequest(), data_dir, Patience())["metrics"]
    images, labels = open_samples(samples)
    other = judge(images, labels, load_judge(JUDGE, data_dir, say=say))
    return {"noisette": _evaluated(metrics), f"judge {JUDGE}": _judged(other)}


class Patience:
    """Says what an evaluation is at when that takes long, as the first one of a number of samples does."""

    def __init__(self) -> None:
        self.said_at = time.monotonic()

    def __call__(self, what: str, done: float, total: float) -> None:
        if time.monotonic() - self.said_at >= SAY_SECONDS:
            say(f"    {what}: {done:g} of {total:g}")
            self.said_at = time.monotonic()


def _evaluated(metrics: dict[str, Row]) -> Row:
    """The three metrics of an evaluation's record."""
    frechet = metrics["frechet"]
    scaled = {**{key: frechet[key] / frechet["real"] for key in ("value", "low", "high")}, "real": 1.0}
    chosen = {**{key: metrics[key] for key in ("label_accuracy", "coverage")}, "floors": scaled}
    return {
        **{name: metric["value"] for name, metric in chosen.items()},
        "intervals": {name: [metric["low"], metric["high"]] for name, metric in chosen.items()},
        "real": {name: metric["real"] for name, metric in chosen.items()},
    }


def _judged(found: Row) -> Row:
    """The three metrics of the judge's record."""
    real = found["real"]
    return {
        "label_accuracy": found["accuracy"],
        "floors": found["floors"],
        "coverage": found["coverage"],
        "real": {"label_accuracy": real["accuracy"], "floors": 1.0, "coverage": real["coverage"]},
    }


def strictest(row: Row, metric: str) -> float:
    """The worst that any classifier found."""
    values = [found[metric] for found in row["quality"].values()]
    return max(values) if metric == "floors" else min(values)


def mildest(row: Row, metric: str) -> float:
    """The best that any classifier found."""
    values = [found[metric] for found in row["quality"].values()]
    return min(values) if metric == "floors" else max(values)


def told(row: Row) -> str:
    """The quality of a row in words, a classifier each."""
    return " | ".join(
        f"{name}: {found['label_accuracy']:.2%}, {found['floors']:.2f} floors, coverage {found['coverage']:.3f}"
        for name, found in row["quality"].items()
    )


# Pictures -----------------------------------------------------------------------------------------

COLOURS = ("#2b6cb0", "#c2601a", "#2a7f55", "#a43a94", "#9a7b00", "#5f6978", "#c43a3a", "#2a6f97")


@contextmanager
def picture(path: Path, title: str, about: str, panels: int, width: float = 4.4) -> Iterator[Sequence["Axes"]]:
    """Axes side by side to draw on; written to `path` (.png or .svg) at the end, below it the machine."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"axes.grid": True, "grid.color": "#e4e7eb", "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context({**style, "font.size": 9, "legend.frameon": False, "axes.axisbelow": True}):
        figure = Figure(figsize=(width * panels + 0.6, 4.6), layout="constrained")
        yield list(figure.subplots(1, panels, squeeze=False)[0])
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.supxlabel(about, x=0.01, ha="left", fontsize=7, color="#5f6978")
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=130, format=path.suffix.lstrip("."))


TITLES = {
    "label_accuracy": "asked digit is read (higher is better)",
    "floors": "Fréchet distance in floors (lower is better)",
    "coverage": "coverage (higher is better)",
}
NEARLY_ALL = 0.9995
"""Where an accuracy of 1 is drawn: its axis has no end."""


def shown(metric: str, value: float) -> float:
    """Where a value stands on the axis of its metric."""
    return min(value, NEARLY_ALL) if metric == "label_accuracy" else value


def quality_axis(axes: "Axes", metric: str, rows: Sequence[Row]) -> None:
    """The axis of a metric that holds what these rows have: floors by their logarithm, accuracies so that 99 and 99.9 %
    stay apart. The dotted line is what real digits have by the stricter classifier."""
    values = [found[metric] for row in rows for found in row["quality"].values()]
    real = [found["real"][metric] for row in rows for found in row["quality"].values()]
    if metric == "label_accuracy":
        axes.set_yscale("logit")
        ticks = [0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]
        axes.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.set_ylim(1 - min(0.96, 1.5 * (1 - min(values))), 0.9997)
    elif metric == "floors":
        axes.set_yscale("log")
        plain_ticks(axes.yaxis, round_numbers([1, *values]))
        axes.set_ylim(0.8, 1.25 * max(values))
    axes.axhline(max(real) if metric == "floors" else min(real), color="0.5", linestyle=":", linewidth=1)
    axes.set_title(TITLES[metric], loc="left")


def round_numbers(values: Sequence[float]) -> list[float]:
    """1, 1.5, 2, 3, 5, 7, 10, ... (over more than two decades 1, 2, 5, 10, ...) as far as the values reach."""
    digits = (1, 2, 5) if max(values) > 100 * min(values) else (1, 1.5, 2, 3, 5, 7)
    steps = [digit * 10.0**power for power in range(-1, 5) for digit in digits]
    return [step for step in steps if 0.7 * min(values) <= step <= 1.4 * max(values)]


def plain_ticks(axis: Any, ticks: Sequence[float]) -> None:
    """Label a logarithmic axis with numbers as people write them."""
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


# Command line -------------------------------------------------------------------------------------


def parser(doc: str) -> argparse.ArgumentParser:
    """The flags of every benchmark."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON and the picture")
    return made


def command(work: Callable[[], None]) -> int:
    """Run a benchmark; the exit code."""
    try:
        work()
    except NoisetteError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0

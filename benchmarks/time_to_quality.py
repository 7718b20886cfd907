"""How good the digits are against the minutes of training: recipes, and the peer, each trained once on this machine.

    python benchmarks/time_to_quality.py quick lab peer --data-dir DIR [--moments 0.5 1 2 4 7 10] [--count 1000]

A learner is a recipe's name, a .toml file of a whole configuration, or `peer` (peer.py). All learn the same split of
the same data for as long as the last moment says. At each moment the clock of training stands still, digits are drawn
from the average of the weights as the recipe samples by default, and two classifiers read them. Runs, samples and JSON
lie in --out; the same command goes on where it was stopped, and one with more learners or seeds adds them.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from measure import (
    COLOURS,
    SAY_SECONDS,
    TITLES,
    Record,
    Row,
    command,
    mildest,
    parser,
    picture,
    plain_ticks,
    quality,
    quality_axis,
    say,
    shown,
    strictest,
    told,
)
from noisette.base.config import require, to_plain
from noisette.base.errors import unknown
from noisette.data.datasets import load_data
from noisette.data.split import split
from noisette.training.loop import Progress
from noisette.workflows.model import LAST_FILE, load
from noisette.workflows.recipes import DataConfig, RunConfig, load_recipe, read_run_config, recipe_names
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_request import SampleRequest
from noisette.workflows.train import Run

MOMENTS = (0.5, 1.0, 2.0, 4.0, 7.0, 10.0)
PEER = "peer"
VALIDATION = 0.05
"""Share held out, for every learner alike."""
SLACK_SECONDS = 15.0
"""A moment is met by the first step that ends after it; the longest step takes about so long."""


class Learner(Protocol):
    """Something that trains in portions and draws from what it has learned."""

    @property
    def progress(self) -> Progress: ...
    @property
    def facts(self) -> Row: ...
    def train_until(self, seconds: float) -> Iterator[object]: ...
    def draw(self, per_class: int, seed: int, out: Path) -> Row: ...


class Recipe:
    """A recipe of the package, trained as `noisette train` does and drawn from as `noisette sample` does."""

    def __init__(self, config: RunConfig, folder: Path, data_dir: Path | None, device: str) -> None:
        self.run, self.device = Run(config, folder, data_dir=data_dir, device=device), device

    @property
    def progress(self) -> Progress:
        return self.run.state.progress

    @property
    def facts(self) -> Row:
        plan = self.run.plan
        return {
            "parameters": plan.parameters,
            "training_precision": plan.precision,
            "sampling": to_plain(self.run.config.sampling),
        }

    def train_until(self, seconds: float) -> Iterator[object]:
        """Train up to so many seconds in all; hands back after each step. The state is saved at the end."""
        if self.progress.seconds < seconds:
            yield from self.run.events(stop=lambda: self.progress.seconds >= seconds)

    def draw(self, per_class: int, seed: int, out: Path) -> Row:
        """Digits of each class into a sample file."""
        model = load(self.run.out / LAST_FILE, self.device)
        drawn = sample_to(model, SampleRequest(model.sampling, per_class=per_class, seed=seed, out=out))
        return {
            "drawing_precision": model.precision,
            "evaluations": drawn.evaluations,
            "draws_per_second": drawn.images / drawn.seconds,
        }


class CoursePeer:
    """The peer behind the same four calls. diffusers is imported only here."""

    def __init__(self, folder: Path, data: str, data_dir: Path | None, seed: int) -> None:
        from peer import STEPS, Peer

        found = load_data(data, data_dir)
        rows, _ = split(found.labels, VALIDATION, 0)
        self.peer, self.steps = Peer(found.images[rows], found.labels[rows], folder, seed), STEPS

    @property
    def progress(self) -> Progress:
        return self.peer.state.progress

    @property
    def facts(self) -> Row:
        return {
            "parameters": sum(parameter.numel() for parameter in self.peer.state.network.parameters()),
            "training_precision": self.peer.precision,
            "sampling": {"sampler": "DPMSolverMultistepScheduler", "steps": self.steps},
        }

    def train_until(self, seconds: float) -> Iterator[object]:
        yield from self.peer.train_until(seconds)

    def draw(self, per_class: int, seed: int, out: Path) -> Row:
        drawn = self.peer.draw(per_class, seed, out)
        return {
            "drawing_precision": self.peer.precision,
            "evaluations": drawn["evaluations"],
            "draws_per_second": 10 * per_class / drawn["seconds"],
        }


def maker(name: str, chosen: argparse.Namespace) -> Callable[[int], Learner]:
    """seed -> the learner called `name`. Raises Refusal at once when there is none."""
    folder = chosen.out / "time_to_quality"
    if name == PEER:
        return lambda seed: CoursePeer(folder / f"{PEER}-{seed}", chosen.data, chosen.data_dir, seed)
    if name.endswith(".toml"):
        config = read_run_config(Path(name))
    elif name in recipe_names():
        config = load_recipe(name)
    else:
        raise unknown("learner", name, [*recipe_names(), PEER])

    def make(seed: int) -> Learner:
        training = dataclasses.replace(config.training, minutes=max(chosen.moments), seed=seed)
        whole = dataclasses.replace(config, dataset=DataConfig(chosen.data, VALIDATION, 0), training=training)
        return Recipe(whole, folder / f"{title(name)}-{seed}", chosen.data_dir, chosen.device)

    return make


def title(name: str) -> str:
    """What a learner is called in rows, folders and the picture."""
    return Path(name).stem if name.endswith(".toml") else name


def row_name(learner: str, seed: int, moment: float) -> str:
    return f"{learner}, seed {seed}, {moment:g} min"


def measure(record: Record, chosen: argparse.Namespace) -> None:
    """Train every learner and measure it at each moment that the record lacks."""
    makers = {name: maker(name, chosen) for name in chosen.learners}
    clock = _Clock(record, chosen)
    for seed in chosen.seeds:
        for name, make in makers.items():
            moments = [m for m in sorted(chosen.moments) if row_name(title(name), seed, m) not in record.rows]
            if not moments:
                continue
            learner = make(seed)
            for moment in moments:
                row = row_name(title(name), seed, moment)
                if learner.progress.seconds > 60 * moment + SLACK_SECONDS:
                    say(f"{row}: left out, the run is past it")
                    continue
                for _ in learner.train_until(60 * moment):
                    clock.tick(name, seed, learner.progress)
                began = time.monotonic()
                measured = _measured(learner, chosen, f"{title(name)}-{seed}-{moment:g}.npz")
                record.add(row, {"learner": title(name), "seed": seed, "moment": moment, **measured})
                clock.reading = time.monotonic() - began
                say(f"{row}: {told(measured)}", clock.left())


def _measured(learner: Learner, chosen: argparse.Namespace, file: str) -> Row:
    progress, samples = learner.progress, chosen.out / "time_to_quality" / file
    drawn = learner.draw(chosen.count // 10, chosen.drawing_seed, samples)
    return {
        **learner.facts,
        "minutes": progress.seconds / 60,
        "images_seen": progress.images_seen,
        "trains_per_second": progress.images_seen / progress.seconds,
        **drawn,
        "samples": str(samples.relative_to(chosen.out)),
        "quality": quality(samples, chosen.data_dir),
    }


class _Clock:
    """Says how far a run is, every few seconds, and how long all of them will take."""

    def __init__(self, record: Record, chosen: argparse.Namespace) -> None:
        self.record, self.chosen, self.said_at = record, chosen, time.monotonic()
        self.reading = 0.0
        """Seconds that the digits of the last moment took to draw and to read."""

    def left(self, trained: float = 0.0) -> float:
        """Seconds left, of which so many of the present run's training are done since its last row."""
        seconds = -trained
        for seed in self.chosen.seeds:
            for name in self.chosen.learners:
                done = self._measured(name, seed)
                seconds += 60 * (max(self.chosen.moments) - max(done, default=0.0))
                seconds += self.reading * (len(self.chosen.moments) - len(done))
        return max(0.0, seconds)

    def _measured(self, name: str, seed: int) -> list[float]:
        """The moments of a run that have their rows."""
        return [m for m in self.chosen.moments if row_name(title(name), seed, m) in self.record.rows]

    def tick(self, name: str, seed: int, progress: Progress) -> None:
        """Tell of the run that is trained now."""
        if time.monotonic() - self.said_at >= SAY_SECONDS:
            rate = progress.images_seen / progress.seconds
            minutes = f"{progress.seconds / 60:.1f} of {max(self.chosen.moments):g} min"
            trained = progress.seconds - 60 * max(self._measured(name, seed), default=0.0)
            who = f"{title(name)}, seed {seed}"
            say(f"{who}: {minutes}, {progress.images_seen:,} images, {rate:,.0f}/s", self.left(trained))
            self.said_at = time.monotonic()


def draw(record: Record, path: Path) -> None:
    """Label accuracy, floors and coverage against minutes, as two classifiers read them: the median of the seeds."""
    learners = list(dict.fromkeys(row["learner"] for row in record.rows.values()))
    settings, rows = record.content["settings"], list(record.rows.values())
    seeds = len({row["seed"] for row in rows})
    heading = f"Time to quality: {settings['count']:,} digits at moments of a run of {settings['minutes']:g} minutes"
    heading += f", median of {seeds} seeds" if seeds > 1 else ""
    with picture(path, heading, record.about(), panels=len(TITLES)) as panels:
        for axes, metric in zip(panels, TITLES, strict=True):
            quality_axis(axes, metric, rows)
            for learner, colour in zip(learners, COLOURS, strict=False):
                _line(axes, [row for row in rows if row["learner"] == learner], metric, colour, learner)
            axes.set(xscale="log", xlabel="minutes of training")
            plain_ticks(axes.xaxis, sorted({row["moment"] for row in rows}))
        panels[-1].plot([], [], "--", color="0.4", linewidth=1, label="the milder classifier")
        panels[-1].plot([], [], ":", color="0.5", linewidth=1, label="real digits")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))


def _line(axes: Any, rows: Sequence[Row], metric: str, colour: str, label: str) -> None:
    """The stricter classifier's reading as a line in the band of the seeds, the other one's dashed."""
    moments = {at: [row for row in rows if row["moment"] == at] for at in sorted({row["moment"] for row in rows})}
    strict = [[shown(metric, strictest(row, metric)) for row in found] for found in moments.values()]
    mild = [[shown(metric, mildest(row, metric)) for row in found] for found in moments.values()]
    at = list(moments)
    axes.fill_between(at, [min(each) for each in strict], [max(each) for each in strict], color=colour, alpha=0.2, lw=0)
    axes.plot(at, [statistics.median(each) for each in mild], "--", color=colour, linewidth=1)
    axes.plot(at, [statistics.median(each) for each in strict], "o-", color=colour, markersize=4, label=label)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("learners", nargs="*", default=["quick", "lab", PEER], help="recipes, .toml files or peer")
    flags.add_argument("--data", default="mnist", help="data set")
    flags.add_argument("--data-dir", type=Path, help="folder with its files (default: as NOISETTE_DATA says)")
    flags.add_argument("--moments", type=float, nargs="+", default=list(MOMENTS), help="minutes; the last is the end")
    flags.add_argument("--count", type=int, default=1000, help="digits drawn at each moment, in equal classes")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training; each is a run")
    flags.add_argument("--drawing-seed", type=int, default=0)
    flags.add_argument("--device", default="auto")
    chosen = flags.parse_args(arguments)

    def work() -> None:
        require(chosen.count % 10 == 0, f"count {chosen.count}", "a multiple of 10")
        settings = {
            "data": load_data(chosen.data, chosen.data_dir).digest,
            "minutes": max(chosen.moments),
            "count": chosen.count,
            "drawing_seed": chosen.drawing_seed,
        }
        record = Record(chosen.out / "time_to_quality.json", settings)
        measure(record, chosen)
        draw(record, chosen.out / "time_to_quality.png")
        say(f"written: {record.path} and its picture")

    return command(work)


if __name__ == "__main__":
    sys.exit(main())

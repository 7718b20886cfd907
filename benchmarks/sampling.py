"""Speed and quality of drawing by sampler, steps and guidance, and which choices no other beats: the Pareto front.

    python benchmarks/sampling.py [MODEL] --data-dir DIR [--samplers NAME/ETA:STEPS ...] [--guidance SCALE:FROM:TO ...]

MODEL is a name that ships, a run folder or a file (default: mnist). Each cell draws --count digits as `noisette sample`
does; two classifiers read them. ETA is the share of noise (none where left out). Guidance 1 is none; its interval is
one of noise levels, and `:perturb` behind it leads away from perturbed attention too. The samples are kept beside the
JSON in --out; the same command goes on where it was stopped, another one adds its cells.
"""

import argparse
import dataclasses
import itertools
import math
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import (
    COLOURS,
    TITLES,
    Record,
    Row,
    command,
    measure_missing,
    parser,
    picture,
    plain_ticks,
    quality,
    quality_axis,
    round_numbers,
    say,
    shown,
    strictest,
    told,
)
from noisette.base.config import require, to_plain
from noisette.base.errors import Refusal
from noisette.diffusion.samplers import make_sampler
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import BATCH, Model, load
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_request import SampleRequest

SAMPLERS = ("dpmpp-2m:6,8,10,12,15,18,24", "dpmpp-2m/0.6:8,10,12,15,18,24", "heun:4,6,9,12,18", "ddim:10,16,24,35")
GUIDANCE = ("1", "1.7:0.3:4", "2:0.3:6", "1.8:0.3:4:perturb")
MARKERS = "osD^vPX*"
FRONT = "floors"
PERTURB = ":perturb"


def cells(samplers: Sequence[str], guidance: Sequence[str], default: SamplingConfig) -> dict[str, SamplingConfig]:
    """Every combination by its name; the rest is the model's default."""
    found = {}
    for sampler, guided in itertools.product(samplers, guidance):
        named, _, steps = sampler.partition(":")
        name, *eta = named.split("/")
        perturb = guided.endswith(PERTURB)
        scale, *interval = numbers(guided, guided.removesuffix(PERTURB).split(":"))
        if len(interval) not in (0, 2):
            raise Refusal(f"guidance {guided!r}: expected SCALE or SCALE:FROM:TO, with {PERTURB} behind it or not")
        low, high = interval or (0.0, math.inf)
        for count in numbers(sampler, steps.split(",")):
            config = dataclasses.replace(
                default,
                sampler=name,
                eta=numbers(sampler, eta)[0] if eta else None,
                steps=int(count),
                guidance_scale=scale,
                guidance_from=low,
                guidance_to=high,
                perturb_attention=perturb,
            )
            found[f"{sampler_name(config)} {config.steps}, guidance {guidance_name(config)}"] = config
    return found


def numbers(text: str, parts: Sequence[str]) -> list[float]:
    """Numbers as given on the command line."""
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise Refusal(f"{text!r}: expected numbers after a slash or a colon") from None


def sampler_name(config: SamplingConfig) -> str:
    """The sampler and its share of noise."""
    return config.sampler if config.eta is None else f"{config.sampler}/{config.eta:g}"


def guidance_name(config: SamplingConfig) -> str:
    """none, or the scale, its interval of noise levels, and whether it leads away from perturbed attention."""
    if config.guidance_scale == 1:
        return "none"
    everywhere = math.isinf(config.guidance_to)
    interval = "everywhere" if everywhere else f"in {config.guidance_from:g}-{config.guidance_to:g}"
    return f"{config.guidance_scale:g} {interval}" + ", perturbed" * config.perturbs()


def cost(config: SamplingConfig) -> float:
    """About how many times the network sees each image."""
    guided = 1.0 if config.guidance_scale == 1 else 2.0 if math.isinf(config.guidance_to) else 1.4
    return config.steps * make_sampler(config.sampler).evaluations * guided


def measure(model: Model, config: SamplingConfig, chosen: argparse.Namespace, samples: Path) -> Row:
    """Draw and judge one cell. images_per_second: the median over the batches."""
    moments = [time.perf_counter()]

    def batch_done(drawn: float, count: int) -> None:
        if drawn % BATCH == 0 or drawn == count:
            moments.append(time.perf_counter())

    request = SampleRequest(config, per_class=chosen.count // 10, seed=chosen.seed, out=samples)
    drawn = sample_to(model, request, batch_done)
    seconds = [after - before for before, after in itertools.pairwise(moments)]
    row = {
        "sampling": to_plain(config),
        "sampler": sampler_name(config),
        "guidance": guidance_name(config),
        "evaluations": drawn.evaluations,
        "images_per_second": min(BATCH, chosen.count) / statistics.median(seconds),
        "seconds": drawn.seconds,
        "quality": quality(samples, chosen.data_dir),
    }
    say(f"    {row['evaluations']:.1f} evaluations, {row['images_per_second']:.0f} images/s; {told(row)}")
    return row


def front(rows: Mapping[str, Row]) -> list[str]:
    """The names of the rows that no other beats in evaluations and floors at once, by rising evaluations."""
    best, names = math.inf, []
    for name, row in sorted(rows.items(), key=lambda item: (item[1]["evaluations"], strictest(item[1], FRONT))):
        if strictest(row, FRONT) < best:
            best = strictest(row, FRONT)
            names.append(name)
    return names


def draw(record: Record, path: Path) -> None:
    """Floors, accuracy and coverage against evaluations, as the stricter classifier reads them."""
    rows, ahead = record.rows, front(record.rows)
    samplers = list(dict.fromkeys(row["sampler"] for row in rows.values()))
    guidances = list(dict.fromkeys(row["guidance"] for row in rows.values()))
    settings, evaluations = record.content["settings"], [row["evaluations"] for row in rows.values()]
    work = statistics.median(row["images_per_second"] * row["evaluations"] for row in rows.values())
    heading = f"Drawing from {settings['model']}: {settings['count']:,} digits a point, {settings['precision']}"
    with picture(path, heading, record.about(), panels=len(TITLES), width=5.0) as panels:
        for axes, metric in zip(panels, TITLES, strict=True):
            quality_axis(axes, metric, list(rows.values()))
            for row in rows.values():
                axes.plot(
                    row["evaluations"],
                    shown(metric, strictest(row, metric)),
                    MARKERS[guidances.index(row["guidance"]) % len(MARKERS)],
                    color=COLOURS[samplers.index(row["sampler"]) % len(COLOURS)],
                    markersize=5,
                    alpha=0.85,
                    markeredgewidth=0,
                )
            _front(axes, metric, [rows[name] for name in ahead])
            axes.set(xscale="log", xlabel=f"evaluations an image ({work:,.0f} evaluations a second)")
            plain_ticks(axes.xaxis, round_numbers(evaluations))
            axes.set_xlim(0.8 * min(evaluations), 1.15 * max(evaluations))
        keys = [(sampler, "s", COLOURS[n % len(COLOURS)]) for n, sampler in enumerate(samplers)]
        keys += [(f"guidance {name}", MARKERS[n % len(MARKERS)], "0.3") for n, name in enumerate(guidances)]
        keys += [(f"{number}  {name}", "", "none") for number, name in enumerate(ahead, start=1)]
        for label, marker, colour in keys:
            panels[-1].plot([], [], marker=marker, linestyle="", color=colour, label=label, markersize=5)
        panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1.05))


def _front(axes: Any, metric: str, rows: Sequence[Row]) -> None:
    """The front's points, numbered as in the legend; where it is the front of this metric, joined by a line."""
    at = [(row["evaluations"], shown(metric, strictest(row, metric))) for row in rows]
    if metric == FRONT:
        axes.plot(*zip(*at, strict=True), color="0.3", linewidth=1, zorder=1)
    for number, point in enumerate(at, start=1):
        place = {"xytext": (-3, -3), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(str(number), point, **place, fontsize=8, color="0.1", fontweight="bold")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("model", nargs="?", default="mnist", help="a name that ships, a run folder or a file")
    flags.add_argument("--data-dir", type=Path, help="folder with MNIST (default: as NOISETTE_DATA says)")
    flags.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="NAME/ETA:STEPS,STEPS")
    flags.add_argument("--guidance", nargs="+", default=GUIDANCE, metavar="SCALE:FROM:TO:perturb")
    flags.add_argument("--count", type=int, default=2000, help="digits a cell, in equal classes")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--precision", default="auto", help="float32, bfloat16 or auto")
    flags.add_argument("--device", default="auto")
    chosen = flags.parse_args(arguments)

    def work() -> None:
        require(chosen.count % 10 == 0, f"count {chosen.count}", "a multiple of 10")
        model = load(chosen.model, chosen.device, chosen.precision)
        name = Path(chosen.model).stem
        settings = {
            "model": name,
            "weights": model.file.card.get("images_seen"),
            "count": chosen.count,
            "seed": chosen.seed,
            "precision": model.precision,
        }
        wanted = cells(chosen.samplers, chosen.guidance, model.sampling)
        for config in wanted.values():
            model.file.spec.sampling_grid(config)  # refuses before anything is drawn
        record = Record(chosen.out / f"sampling-{name}.json", settings)
        folder = chosen.out / f"sampling-{name}"

        def one(cell: str) -> Row:
            return measure(model, wanted[cell], chosen, folder / f"{re.sub('[ ,/]+', '-', cell)}.npz")

        measure_missing(record, {cell: cost(config) for cell, config in wanted.items()}, one)
        draw(record, chosen.out / f"sampling-{name}.png")
        for cell in front(record.rows):
            row = record.rows[cell]
            say(f"front: {cell}: {row['evaluations']:.1f} evaluations, {row['images_per_second']:.0f}/s; {told(row)}")

    return command(work)


if __name__ == "__main__":
    sys.exit(main())

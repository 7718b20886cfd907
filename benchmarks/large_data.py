"""Training on a set that is larger than memory might be: its anonymous memory and rate against a small set's.

    python benchmarks/large_data.py [--count 1000000] [--few 10000] [--images 60000]

A tiny network trains on made-up 32 x 32 colour images: few of them in memory; many, mapped from the cache that the
first of those runs builds by streaming; and the many again after the system was told to forget their pages, so that
they come from the disk. Each is a process of its own, whose anonymous memory (RssAnon, so Linux only) is looked at all
the while: making the images, the check, training, validation, saving. The rate is that of the steps after the first
tenth, in seconds that the process ran or waited for the disk, not for its turn among other programs.
"""

import contextlib
import json
import mmap
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from measure import COLOURS, Record, Row, command, measure_missing, parser, picture, say
from noisette.base.errors import NoisetteError
from noisette.data.cache import Chunk, cached
from noisette.data.datasets import DATASETS
from noisette.data.images import ImageData
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.loop import Stepped
from noisette.workflows.recipes import DataConfig, RunConfig
from noisette.workflows.train import Run

SHAPE, CLASSES = (32, 32, 3), tuple("0123456789")
AT_A_TIME = 1000
LOOK_SECONDS = 0.02
KINDS = ("in memory", "mapped", "mapped, page cache dropped")
NETWORK = UNetConfig(widths=(16, 32), blocks=1, embedding=32)


def made_up(count: int) -> Iterator[Chunk]:
    """Noise on a colour that each image has of its own."""
    random = np.random.default_rng(0)
    for start in range(0, count, AT_A_TIME):
        labels = np.arange(start, min(start + AT_A_TIME, count), dtype=np.int64) % len(CLASSES)
        colour = random.integers(0, 192, (len(labels), 1, 1, 3), np.uint8)
        yield colour + random.integers(0, 64, (len(labels), *SHAPE), np.uint8), labels


def load(kind: str, count: int, data_dir: Path | None, part: str) -> ImageData:
    """The set as a reader would hand it over."""
    if kind == "in memory":
        chunks = list(made_up(count))
        images, labels = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    else:
        images, labels = cached(f"{count:x}", "made up", count, SHAPE, partial(made_up, count))
    return ImageData("made up", images, labels, CLASSES, "made up")


def forget(images: np.memmap) -> None:
    """Let go of the pages of mapped images, and have the system forget them: they come from the disk again."""
    images.base.madvise(mmap.MADV_DONTNEED)
    handle = os.open(images.filename, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def train_on(kind: str, count: int, images: int, batch: int, out: Path) -> Row:
    """A whole run; its rate, the seconds until its first step, and how often its steps waited for the disk."""
    os.environ["NOISETTE_CACHE"] = str(out / "cache")
    name, folder = f"made-up-{kind.replace(' ', '-')}-{count}", out / "run"
    if name not in DATASETS:
        DATASETS.add(name, partial(load, kind, count))
    shutil.rmtree(folder, ignore_errors=True)
    training = TrainingConfig(images=images, batch_size=batch, validate_every=images)
    begun = own_seconds()
    run = Run(RunConfig(DataConfig(name), NETWORK, training=training), folder)
    prepared = own_seconds() - begun
    if kind == KINDS[2]:
        forget(run.batches.images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    steps = [(0, own_seconds())]
    for event in run.events():
        if isinstance(event, Stepped):
            steps.append((event.images_seen, own_seconds()))
    shutil.rmtree(folder)
    first, last = steps[len(steps) // 10], steps[-1]
    return {
        "kind": kind,
        "count": count,
        "prepared_seconds": prepared,
        "images_per_second": (last[0] - first[0]) / (last[1] - first[1]),
        "waits_for_disk": resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before,
    }


def own_seconds() -> float:
    """A clock that stands still while the main thread could run and another program has its processor."""
    waited = int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1])
    return time.perf_counter() - waited / 1e9


def measure(kind: str, count: int, images: int, batch: int, out: Path) -> Row:
    """A cell, in a process of its own; its most anonymous memory in bytes beside what it found."""
    call = [sys.executable, __file__, "--cell", kind, str(count), str(images), str(batch), str(out)]
    peak = 0
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError, IndexError):  # once it has ended
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                peak = max(peak, 1024 * int(status.partition("RssAnon:")[2].split()[0]))
            time.sleep(LOOK_SECONDS)
        assert process.stdout is not None
        found = process.stdout.read()
    if process.returncode:
        raise NoisetteError(f"{kind}, {count:,} images: the process ended with {process.returncode}")
    row = json.loads(found) | {"peak_bytes": peak}
    say(f"    {row['images_per_second']:,.0f} images/s, {peak / 2**20:,.0f} MiB, waits: {row['waits_for_disk']:,}")
    return row


def draw(record: Record, path: Path) -> None:
    """Two bars a cell: the peak of its anonymous memory, and its rate."""
    rows = list(record.rows.values())
    base = rows[0]
    heading = "A tiny network trains on 32 x 32 colour images"
    with picture(path, heading, record.about(), panels=2) as panels:
        names = [f"{row['count']:,}\n{row['kind'].replace(', ', ',' + chr(10))}" for row in rows]
        for axes, key, unit in zip(panels, ("peak_bytes", "images_per_second"), (2**20, 1), strict=True):
            values = [row[key] / unit for row in rows]
            axes.bar(names, values, color=COLOURS[: len(rows)])
            for place, (row, value) in enumerate(zip(rows, values, strict=True)):
                more = (row[key] - base[key]) / unit
                told = f"{more:+,.0f}" if key == "peak_bytes" else f"{row[key] / base[key]:.0%}"
                axes.annotate(f"{value:,.0f} ({told})", (place, value), ha="center", va="bottom")
        panels[0].set_title("most anonymous memory, MiB", loc="left")
        panels[1].set_title("images a second", loc="left")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; with --cell the process that is measured."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--cell"]:
        kind, count, images, batch, out = given[1:]
        print(json.dumps(train_on(kind, int(count), int(images), int(batch), Path(out))))
        return 0
    flags = parser(__doc__)
    flags.add_argument("--count", type=int, default=1_000_000)
    flags.add_argument("--few", type=int, default=10_000)
    flags.add_argument("--images", type=int, default=60_000, help="seen by each run")
    flags.add_argument("--batch", type=int, default=64)
    chosen = flags.parse_args(given)

    def run() -> None:
        settings = {"images": chosen.images, "batch": chosen.batch, "count": chosen.count, "few": chosen.few}
        record = Record(chosen.out / "large_data.json", settings)
        cells = {kind: chosen.few if kind == KINDS[0] else chosen.count for kind in KINDS}
        costs = dict.fromkeys(cells, 1.0)
        measure_missing(record, costs, lambda kind: measure(kind, cells[kind], chosen.images, chosen.batch, chosen.out))
        shutil.rmtree(chosen.out / "cache", ignore_errors=True)
        draw(record, chosen.out / "large_data.png")

    return command(run)


if __name__ == "__main__":
    sys.exit(main())

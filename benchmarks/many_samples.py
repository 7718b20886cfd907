"""Many samples into a folder: memory and rate against their number, and what kills cost.

    python benchmarks/many_samples.py [--model MODEL] [--counts 10000 100000] [--files npz parquet png] [--kills 5]

Each cell is a `noisette sample` of its own, whose anonymous memory (RssAnon, so Linux only) is looked at all the while.
One more draws the largest number of the first kind and is killed (SIGKILL) at random moments; the same command goes on
each time, and what it leaves in the end is compared byte for byte with the unbroken folder. Without --model it is a
network of 8 and 16 channels with random weights, two steps of Euler an image.
"""

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from measure import COLOURS, Record, Row, command, measure_missing, parser, picture, plain_ticks, say
from noisette.base.errors import NoisetteError
from noisette.base.seeds import generator
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, save_model
from noisette.workflows.sample_folder import RECORD, read_record, shards_there

COUNTS, FILES = (10_000, 100_000), ("npz", "parquet", "png")
LOOK_SECONDS = 0.05


def make_model(path: Path) -> None:
    """A small network that draws 28 x 28, its weights random."""
    diffusion, sampling = DiffusionConfig(data_std=0.6), SamplingConfig("euler", steps=2)
    spec = ModelSpec(UNetConfig(widths=(8, 16)), diffusion, sampling, 1, 28, 28, tuple("0123456789"))
    network = spec.new_network()
    network.initialise(generator(0, "weights"))
    with torch.no_grad():  # at birth it would draw every image alike
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=generator(0, "shake", number)), alpha=0.2)
    save_model(path, ModelFile(spec, network, {}))


def drawn(call: Sequence[str], out: Path, shards: float | None = None) -> tuple[float, int, int]:
    """Run a drawing into `out`, and kill it once that has so many shards: seconds, the most anonymous memory in bytes,
    and the exit code."""
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(call, stdout=sys.stderr) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            if "RssAnon:" in status:  # not once it has ended
                peak = max(peak, 1024 * int(status.partition("RssAnon:")[2].split()[0]))
            if shards is not None and there(out) >= shards:
                process.kill()
            time.sleep(LOOK_SECONDS)
    return time.perf_counter() - started, peak, process.returncode


def there(out: Path) -> int:
    """How many shards a folder holds by now."""
    return len(shards_there(out, read_record(out))) if (out / RECORD).exists() else 0


def measure(model: str, count: int, files: str, kills: int, folder: Path) -> Row:
    """A cell: drawn in one go, or killed so many times before. Its folder is removed."""
    out = folder / "drawn"
    shutil.rmtree(out, ignore_errors=True)
    at = sorted(random.Random(0).uniform(1, count / 1000) for _ in range(kills))
    call = [
        sys.executable,
        "-m",
        "noisette",
        "sample",
        model,
        "--count",
        str(count),
        "--files",
        files,
        "--out",
        str(out),
    ]
    ends = [drawn(call, out, shards) for shards in at]
    seconds, peak, code = drawn(call, out)
    if code != 0 or any(each[2] == 0 for each in ends):
        raise NoisetteError(f"a drawing ended with {code}, killed ones with {[each[2] for each in ends]}")
    seconds += sum(each[0] for each in ends)
    row = {
        "count": count,
        "files": files,
        "kills": kills,
        "seconds": seconds,
        "peak_bytes": peak,
        "digest": digest(out),
    }
    row["bytes"] = sum(path.stat().st_size for path in out.rglob("*"))
    say(f"    {count / seconds:,.0f} images/s, {peak / 2**20:,.0f} MiB, {row['bytes'] / 2**20:,.0f} MiB of files")
    shutil.rmtree(out)
    return row


def digest(folder: Path) -> str:
    """SHA-256 of the names and the bytes of all that a folder holds."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def draw(record: Record, path: Path) -> None:
    """Memory and rate against the number of images."""
    rows = [row for row in record.rows.values() if not row["kills"]]
    counts = sorted({row["count"] for row in rows})
    with picture(path, f"Samples of {record.content['settings']['model']}", record.about(), panels=2) as panels:
        for number, files in enumerate(dict.fromkeys(row["files"] for row in rows)):
            own = sorted((row for row in rows if row["files"] == files), key=lambda row: row["count"])
            values = [[row["peak_bytes"] / 2**20 for row in own], [row["count"] / row["seconds"] for row in own]]
            for axes, at in zip(panels, values, strict=True):
                axes.plot([row["count"] for row in own], at, "o-", color=COLOURS[number], label=files)
        for axes, title in zip(panels, ("peak anonymous memory, MiB", "images a second"), strict=True):
            axes.set_title(title, loc="left")
            axes.set(xscale="log", xlabel="images")
            axes.set_ylim(0, None)
            plain_ticks(axes.xaxis, counts)
        panels[0].legend()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("--model", help="a name that ships, a run folder or a file")
    flags.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    flags.add_argument("--files", nargs="+", choices=FILES, default=FILES)
    flags.add_argument("--kills", type=int, default=5)
    chosen = flags.parse_args(arguments)

    def work() -> None:
        record = Record(chosen.out / "many_samples.json", {"model": chosen.model or "widths 8-16, 2 steps"})
        model = chosen.model or str(chosen.out / "many_samples.safetensors")
        if chosen.model is None:
            make_model(Path(model))
        cells = {f"{files}, {count:,}": (count, files, 0) for files in chosen.files for count in chosen.counts}
        unbroken, killed = f"{chosen.files[0]}, {max(chosen.counts):,}", f"{chosen.kills} kills"
        cells[killed] = (max(chosen.counts), chosen.files[0], chosen.kills)
        costs = {name: float(cell[0]) for name, cell in cells.items()}
        measure_missing(record, costs, lambda name: measure(model, *cells[name], chosen.out))
        same = record.rows[killed]["digest"] == record.rows[unbroken]["digest"]
        say(f"after {chosen.kills} kills the folder is {'the unbroken one' if same else 'ANOTHER'}, byte for byte")
        draw(record, chosen.out / "many_samples.png")

    return command(work)


if __name__ == "__main__":
    sys.exit(main())

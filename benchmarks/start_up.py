"""What a person waits for before anything happens: the help, importing, loading, the first image.

    python benchmarks/start_up.py [--repeats 5]

Each is a new process; medians over repeats, after one to warm the disk's cache. An empty Python and `import torch`
stand beside them, since nothing here can be faster than these.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import COLOURS, REPEATS, Record, Row, command, measure_missing, parser, picture, say, seconds_of

LOAD = "import noisette; model = noisette.load('mnist')"
CALLS = {
    "an empty Python": ["-c", ""],
    "noisette --help": ["-m", "noisette", "--help"],
    "import noisette": ["-c", "import noisette"],
    "import torch": ["-c", "import torch"],
    "load('mnist')": ["-c", LOAD],
    "the first image": ["-c", f"{LOAD}; model.sample([7])"],
    "noisette sample, a picture": ["-m", "noisette", "sample", "mnist", "--labels", "7", "--out", "seven.png"],
}


def measure(name: str, repeats: int) -> Row:
    """Seconds of a new process, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, *CALLS[name]]
        seconds = seconds_of(lambda: subprocess.run(call, check=True, capture_output=True, cwd=folder), repeats)
    say(f"    {statistics.median(seconds):.2f} s")
    return {"seconds": statistics.median(seconds), "each": seconds}


def draw(record: Record, path: Path) -> None:
    """A bar each, with the single times as dots."""
    names = [name for name in CALLS if name in record.rows][::-1]
    with picture(path, "Start-up, seconds from a new process", record.about(), panels=1, width=7.5) as (axes,):
        for number, name in enumerate(names):
            row = record.rows[name]
            axes.barh(number, row["seconds"], 0.6, color=COLOURS[0], alpha=0.8)
            axes.plot(row["each"], [number] * len(row["each"]), "o", color="0.2", markersize=2.5)
            text = f"{row['seconds']:.2f} s"
            axes.annotate(text, (max(row["each"]), number), xytext=(5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="seconds, median (dots: each repeat)")
        axes.margins(x=0.12)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("--repeats", type=int, default=REPEATS)
    chosen = flags.parse_args(arguments)

    def work() -> None:
        record = Record(chosen.out / "start_up.json", {"repeats": chosen.repeats})
        measure_missing(record, dict.fromkeys(CALLS, 1.0), lambda name: measure(name, chosen.repeats))
        draw(record, chosen.out / "start_up.png")

    return command(work)


if __name__ == "__main__":
    sys.exit(main())

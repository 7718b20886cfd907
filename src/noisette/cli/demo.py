"""`noisette demo`."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from noisette.base.config import require
from noisette.cli.flags import parse
from noisette.cli.progress import follow
from noisette.workflows.demo import run_demo
from noisette.workflows.train import Run


@dataclass(frozen=True)
class Options:
    """Draw digits with the weights that ship, train a small model from scratch, draw with that too, and tell it all in
    a report."""

    out: Path = Path("demo")
    """The folder of the pictures, the films, and the run with its report."""
    minutes: float = 2.0
    """Of training."""


def run(args: list[str]) -> int:
    """Make the demonstration; the exit code."""
    options = parse(Options, args, "noisette demo")
    require(0 < options.minutes < math.inf, f"minutes {options.minutes}", "a positive number")
    code = 0

    def followed(run: Run) -> bool:
        nonlocal code
        code = follow(run)
        return code == 0

    command = shlex.join(["noisette", "demo", *args])
    written = run_demo(options.out, options.minutes, command, followed, lambda line: print(line, flush=True))
    print("written:", *written, sep="\n  ")
    if code == 0 and written:
        print(f"report, for any browser: {written[-1]}")
    return code

"""`noisette report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, subject
from noisette.workflows.report import write_report

PROG = "noisette report RUN"


@dataclass(frozen=True)
class Options:
    """Tell a run, finished or not, in one page that opens anywhere and prints: what was trained on what, how it
    learned, what it draws, and how good that is beside what real images score."""

    out: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="(default: report.html in the run)")] = None
    """The page. Its figures lie beside it as PNG and SVG, in a folder of its name."""
    count: int = 1000
    """Samples to measure, unless the run's evaluation.json has as many of the same weights."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    classifier: str = "mnist"
    """Reads the samples: a name that ships, or a file that `noisette perceive` wrote."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


def run(args: list[str]) -> int:
    """Make the page and print its path; the exit code."""
    name, flags = subject(args)
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal(f"no run: expected its folder first, as in {PROG}")
    console = Console(stderr=True)
    with console.status("") as status:

        def say(section: str) -> None:
            status.update(section)

        page = write_report(
            Path(name), options.out, options.count, options.data_dir, options.classifier, options.device, say
        )
    print(f"report: {page}")
    return 0

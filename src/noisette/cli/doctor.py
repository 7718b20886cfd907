"""`noisette doctor`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, subject
from noisette.data.form import Form
from noisette.workflows.doctor.examine import examine, lines

PROG = "noisette doctor RUN|DATA"
SOMETHING = 3
"""The exit code when a cause is named: neither failed work (1) nor bad input (2)."""


@dataclass(frozen=True)
class Options:
    """Name the usual causes of noise, blobs and NaN that a run (in any state) or a data set shows, each with its
    evidence and the one change to try first. Exit code 0: nothing found; 3: something found or suspected."""

    overfit: bool = False
    """Also train a new network of the run's configuration on 8 images for 200 steps, which must lower its loss by a
    factor of 5."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    form: Form = Form()


def run(args: list[str]) -> int:
    """Examine and print what was found; the exit code."""
    name, flags = subject(args)
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal(f"nothing to examine: expected a run's folder or a data set first, as in {PROG}")
    with Console(stderr=True).status("") as status:
        found = examine(name, options.data_dir, options.device, options.overfit, status.update, options.form)
    print("\n".join(lines(found)))
    return SOMETHING if found.diagnoses else 0

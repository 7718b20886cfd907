"""`noisette check`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, subject
from noisette.cli.progress import progress_bar
from noisette.data.form import Form
from noisette.workflows.check import check_data, show
from noisette.workflows.recipes import DataConfig

PROG = "noisette check DATA"


@dataclass(frozen=True)
class Options:
    """Look at a data set, and at its split, before training on it."""

    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    validation_fraction: float = 0.2
    """Share held out for validation, stratified by class. Recipes hold out a twentieth, few a tenth, demo and lab a
    fifth."""
    split_seed: int = 0
    """Decides which images are held out."""
    form: Form = Form()


def run(args: list[str]) -> int:
    """Print the report; the exit code. Raises Refusal, after the report, when training would refuse the data."""
    name, flags = subject(args)
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal(f"no data set: expected its name first, as in {PROG}")
    asked = DataConfig(name, options.validation_fraction, options.split_seed, options.form)  # refuses as training does
    split = asked.validation_fraction, asked.split_seed
    with progress_bar() as progress:
        report = check_data(asked.data, options.data_dir, *split, asked.form, progress)
    show(report, Console())
    report.require_sound()
    return 0

"""`noisette study`."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.drawing import Drawing
from noisette.cli.flags import parse, subjects
from noisette.cli.progress import follow
from noisette.data.form import Form
from noisette.workflows.studies.bench import Interrupted, StudyRequest
from noisette.workflows.studies.catalogue import STUDIES, run_study
from noisette.workflows.train import Run

PROG = "noisette study NAME [MODEL]"


@dataclass(frozen=True)
class Options:
    """Make a study; leaves a table, figures and a paragraph of what was found. The same command goes on."""

    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: studies/NAME)")] = None
    """The folder of the study, its trainings and its results."""
    short: bool = False
    """Small and quick, to see how it goes: too little to conclude from."""
    data: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: mnist; with --short mnist-5k)")] = (
        None
    )
    """The data set to train on and to measure against."""
    form: Form = Form()
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    classifier: str = "mnist"
    """Whose features the distances are taken in: one that ships, or a file of `noisette perceive`."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


def run(args: list[str]) -> int:
    """Make the study; the exit code."""
    named, flags = subjects(args)
    name, model = (*named, None, None)[:2]
    if name not in STUDIES:
        print(f"studies:\n{catalogue()}\n", flush=True)
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal("no study: expected its name first, as in noisette study steps")
    if len(named) > 2:
        raise Refusal(
            f"found {' '.join(named[2:])!r}: expected the name of a study and at most a model before the flags"
        )
    code = 0

    def followed(run: Run) -> bool:
        nonlocal code
        code = follow(run)
        return code == 0

    request = StudyRequest(
        name,
        options.out or Path("studies") / name,
        model=model,
        short=options.short,
        data=options.data or ("mnist-5k" if options.short else "mnist"),
        data_dir=options.data_dir,
        classifier=options.classifier,
        device=options.device,
        command=shlex.join(["noisette", "study", *args]),
        form=options.form,
    )
    with Drawing() as drawing:
        try:
            found, written = run_study(request, followed, drawing.say, drawing.show)
        except Interrupted as stopped:
            drawing.say(f"interrupted, {stopped}; to go on: {request.command}")
            return code
    print(f"\n{found.paragraph}\n\nwritten:", *written, sep="\n  ")
    return 0


def catalogue() -> str:
    """The studies, a line each."""
    return "\n".join(f"  {name:12}{study.about}" for name, study in STUDIES.items())

"""`noisette train`."""

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, parse_known
from noisette.cli.progress import follow, progress_bar
from noisette.weights.model_file import load_model
from noisette.workflows.model import locate
from noisette.workflows.recipes import RunConfig, load_recipe
from noisette.workflows.train import Run

PROG = "noisette train"
USUAL, FEW = "quick", "few"
"""The recipe unless named; the same for a run that begins from a model."""


@dataclass(frozen=True)
class Options:
    """Train a model into a run folder, or go on with the run that is there."""

    config: Annotated[RunConfig, arg(name="")]
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """The run folder. The same command on the same folder goes on where it stopped."""
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=f"(default: {USUAL}; with --init: {FEW})")] = (
        None
    )
    """The named settings that the flags change; their defaults below are its own."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    tensorboard: bool = False
    """Also log for TensorBoard, into the run folder."""


@dataclass(frozen=True)
class _Early:
    """What decides the defaults of the other flags."""

    recipe: str | None = None
    init: str | None = None
    images: int | None = None
    minutes: float | None = None


def run(args: list[str]) -> int:
    """Train as the flags say; the exit code."""
    early = parse_known(_Early, args, PROG)
    recipe = early.recipe or (FEW if early.init else USUAL)
    config = load_recipe(recipe)
    if early.init:
        config = config.beginning_from(early.init, load_model(locate(early.init)).spec)
    if (early.images is None) != (early.minutes is None):  # one horizon alone replaces the recipe's
        training = dataclasses.replace(config.training, images=early.images, minutes=early.minutes)
        config = dataclasses.replace(config, training=training)
    options = parse(Options, args, PROG, Options(config, recipe=recipe))
    if options.out is None:
        raise Refusal("no --out: expected a new folder, or the folder of a run to go on with")
    with progress_bar() as reading:
        run = Run(
            options.config,
            options.out,
            data_dir=options.data_dir,
            device=options.device,
            command=shlex.join(["noisette", "train", *args]),
            tensorboard=options.tensorboard,
            reading=reading,
        )
    return follow(run)

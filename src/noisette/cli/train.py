"""`noisette train`."""

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, parse_known
from noisette.cli.progress import follow
from noisette.workflows.recipes import RunConfig, load_recipe
from noisette.workflows.train import Run

PROG = "noisette train"


@dataclass(frozen=True)
class Options:
    """Train a model into a run folder, or go on with the run that is there."""

    config: Annotated[RunConfig, arg(name="")]
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """The run folder. The same command on the same folder goes on where it stopped."""
    recipe: str = "quick"
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

    recipe: str = "quick"
    images: int | None = None
    minutes: float | None = None


def run(args: list[str]) -> int:
    """Train as the flags say; the exit code."""
    early = parse_known(_Early, args, PROG)
    config = load_recipe(early.recipe)
    if (early.images is None) != (early.minutes is None):  # one horizon alone replaces the recipe's
        training = dataclasses.replace(config.training, images=early.images, minutes=early.minutes)
        config = dataclasses.replace(config, training=training)
    options = parse(Options, args, PROG, Options(config, recipe=early.recipe))
    if options.out is None:
        raise Refusal("no --out: expected a new folder, or the folder of a run to go on with")
    return follow(
        Run(
            options.config,
            options.out,
            data_dir=options.data_dir,
            device=options.device,
            command=shlex.join(["noisette", "train", *args]),
            tensorboard=options.tensorboard,
        )
    )

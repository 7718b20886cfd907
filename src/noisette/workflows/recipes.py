"""A run's whole configuration, and the named ones (recipes/*.toml)."""

import dataclasses
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import tomli_w

from noisette.base.config import flatten, from_plain, require, require_storable, to_plain
from noisette.base.errors import Refusal, unknown
from noisette.base.files import names_in
from noisette.base.text_file import read_toml
from noisette.data.augment import NONE, Augmentation
from noisette.data.form import Form
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import ModelSpec, SamplingConfig

C = TypeVar("C")
RECIPES = resources.files("noisette") / "recipes"
MOST_SHOWN = 60
"""Characters of a value in a message."""


@dataclass(frozen=True)
class DataConfig:
    """What is learned from."""

    data: str = "mnist-5k"
    """A data set's name; the path of a folder of pictures, an .npz, .csv or .parquet file; or hub:owner/name."""
    validation_fraction: float = 0.2
    """Share held out for validation, stratified by class."""
    split_seed: int = 0
    """Decides which images are held out."""
    form: Form = Form()

    def __post_init__(self) -> None:
        require_storable(self)
        fraction = self.validation_fraction
        require(0 <= fraction < 1, f"validation_fraction {fraction}", "a share from 0 up to 1")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes."""

    dataset: DataConfig = DataConfig()
    network: UNetConfig = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()
    augmentation: Augmentation = NONE
    init: str | None = None
    """Begin from the weights of this model (a name that ships, a run folder, a file), with a class table of its own."""

    def beginning_from(self, model: str, spec: ModelSpec) -> "RunConfig":
        """This configuration for going on from a model: what its weights were trained for is taken from it, the size of
        its images and their channels among it."""
        form = self.dataset.form.like(spec.height, spec.width, spec.channels)
        return dataclasses.replace(
            self,
            init=model,
            dataset=dataclasses.replace(self.dataset, form=form),
            network=spec.network,
            diffusion=spec.diffusion,
            sampling=spec.sampling,
        )


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    return names_in(RECIPES, ".toml")


def load_recipe(name: str) -> RunConfig:
    """The recipe called `name`; raises Refusal with the nearest name otherwise."""
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    with resources.as_file(RECIPES / f"{name}.toml") as path:
        return from_plain(RunConfig, read_toml(path), f"recipe {name!r}", base=RunConfig())


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML."""
    return tomli_w.dumps(to_plain(config))


def without_horizon(config: RunConfig) -> RunConfig:
    """The configuration less its horizon, the only part that may change when a run is resumed."""
    training = dataclasses.replace(config.training, images=None, minutes=None)
    return dataclasses.replace(config, training=training)


def first_difference(one: C, other: C) -> str | None:
    """The first setting in which two configurations of a kind differ, as "key is one, not other"."""
    left, right = flatten(to_plain(one)), flatten(to_plain(other))
    for key in [*left, *right]:
        if left.get(key) != right.get(key):
            return f"{key} is {_shown(left.get(key))}, not {_shown(right.get(key))}"
    return None


def _shown(value: object) -> str:
    """A value in a message: a long one by how it begins."""
    text = str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def read_run_config(path: Path) -> RunConfig:
    """A configuration written by `to_toml`; what it refuses is told with the file's name."""
    values = read_toml(path, "run")
    try:
        return from_plain(RunConfig, values, "settings", base=RunConfig())
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from error

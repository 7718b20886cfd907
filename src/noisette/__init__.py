"""noisette: train, sample, steer and measure class-conditional diffusion models of small images.

    model = noisette.load("mnist")
    images = model.sample(labels=[7, 7, 3], steps=18)

The names below are loaded when they are touched; importing noisette does no work.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "base.errors": ("NoisetteError", "Refusal"),
    "data.datasets": ("DATASETS", "load_data"),
    "data.images": ("ImageData", "to_model", "to_uint8"),
    "diffusion.noise": ("SCHEDULES", "LevelRange", "add_noise", "grid", "level_table", "unit_variance"),
    "diffusion.precondition": ("PRECONDITIONS", "Denoiser", "denoiser"),
    "diffusion.sample": ("Snapshot", "sample", "start_image"),
    "diffusion.samplers": ("SAMPLERS", "make_sampler"),
    "guidance.clamp": ("clamp",),
    "guidance.free": ("free",),
    "report.pictures": ("grid_picture", "save_film", "save_picture"),
    "weights.model_file": ("SamplingConfig",),
    "workflows.model": ("Model", "load"),
    "workflows.recipes": ("RunConfig", "load_recipe"),
    "workflows.sample": ("SampleRequest", "sample_to"),
    "workflows.train": ("Run",),
}

if TYPE_CHECKING:
    from noisette.base.errors import NoisetteError as NoisetteError, Refusal as Refusal
    from noisette.data.datasets import DATASETS as DATASETS, load_data as load_data
    from noisette.data.images import ImageData as ImageData, to_model as to_model, to_uint8 as to_uint8
    from noisette.diffusion.noise import (
        SCHEDULES as SCHEDULES,
        LevelRange as LevelRange,
        add_noise as add_noise,
        grid as grid,
        level_table as level_table,
        unit_variance as unit_variance,
    )
    from noisette.diffusion.precondition import (
        PRECONDITIONS as PRECONDITIONS,
        Denoiser as Denoiser,
        denoiser as denoiser,
    )
    from noisette.diffusion.sample import Snapshot as Snapshot, sample as sample, start_image as start_image
    from noisette.diffusion.samplers import SAMPLERS as SAMPLERS, make_sampler as make_sampler
    from noisette.guidance.clamp import clamp as clamp
    from noisette.guidance.free import free as free
    from noisette.report.pictures import (
        grid_picture as grid_picture,
        save_film as save_film,
        save_picture as save_picture,
    )
    from noisette.weights.model_file import SamplingConfig as SamplingConfig
    from noisette.workflows.model import Model as Model, load as load
    from noisette.workflows.recipes import RunConfig as RunConfig, load_recipe as load_recipe
    from noisette.workflows.sample import SampleRequest as SampleRequest, sample_to as sample_to
    from noisette.workflows.train import Run as Run


def __getattr__(name: str) -> object:
    """A public name, from its home."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"noisette.{home}"), name)
    raise AttributeError(f"module 'noisette' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name for names in _HOMES.values() for name in names)])

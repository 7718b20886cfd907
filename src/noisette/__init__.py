"""noisette: train, sample, steer and measure class-conditional diffusion models of small images.

    model = noisette.load("mnist")
    images = model.sample(labels=[7, 7, 3], steps=18)

Each name below is loaded when it is touched; importing noisette does no work.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisette.base.errors import NoisetteError, Refusal
    from noisette.data.datasets import load_data
    from noisette.data.images import to_model, to_uint8
    from noisette.diffusion.noise import SCHEDULES, LevelRange, add_noise, grid, level_table, unit_variance
    from noisette.diffusion.precondition import PRECONDITIONS, Denoiser, denoiser
    from noisette.diffusion.sample import sample, start_image
    from noisette.diffusion.samplers import SAMPLERS, make_sampler
    from noisette.guidance.clamp import clamp
    from noisette.guidance.free import free
    from noisette.guidance.steer import steer
    from noisette.report.pictures import grid_picture, save_film, save_picture
    from noisette.weights.model_file import SamplingConfig
    from noisette.workflows.model import Model, load
    from noisette.workflows.recipes import RunConfig, load_recipe
    from noisette.workflows.sample import sample_to
    from noisette.workflows.sample_request import SampleRequest
    from noisette.workflows.train import Run

__version__ = "0.1.0"

__all__ = [
    "PRECONDITIONS",
    "SAMPLERS",
    "SCHEDULES",
    "Denoiser",
    "LevelRange",
    "Model",
    "NoisetteError",
    "Refusal",
    "Run",
    "RunConfig",
    "SampleRequest",
    "SamplingConfig",
    "add_noise",
    "clamp",
    "denoiser",
    "free",
    "grid",
    "grid_picture",
    "level_table",
    "load",
    "load_data",
    "load_recipe",
    "make_sampler",
    "sample",
    "sample_to",
    "save_film",
    "save_picture",
    "start_image",
    "steer",
    "to_model",
    "to_uint8",
    "unit_variance",
]

_HOMES = {
    "base.errors": "NoisetteError Refusal",
    "data.datasets": "load_data",
    "data.images": "to_model to_uint8",
    "diffusion.noise": "SCHEDULES LevelRange add_noise grid level_table unit_variance",
    "diffusion.precondition": "PRECONDITIONS Denoiser denoiser",
    "diffusion.sample": "sample start_image",
    "diffusion.samplers": "SAMPLERS make_sampler",
    "guidance.clamp": "clamp",
    "guidance.free": "free",
    "guidance.steer": "steer",
    "report.pictures": "grid_picture save_film save_picture",
    "weights.model_file": "SamplingConfig",
    "workflows.model": "Model load",
    "workflows.recipes": "RunConfig load_recipe",
    "workflows.sample": "sample_to",
    "workflows.sample_request": "SampleRequest",
    "workflows.train": "Run",
}


def __getattr__(name: str) -> object:
    """A public name, from its home."""
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"noisette.{home}"), name)
    raise AttributeError(f"module 'noisette' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""One safetensors file is all that sampling needs: the weights, and in its header everything else as JSON."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noisette.base.config import require
from noisette.base.errors import unknown
from noisette.base.names import require_names
from noisette.base.network_file import read_network, write_network
from noisette.diffusion.noise import MOST_LEVELS, SCHEDULES, grid, level_table, pick
from noisette.diffusion.objective import DiffusionConfig, trained_range
from noisette.diffusion.precondition import PRECONDITIONS, Denoiser, denoiser
from noisette.diffusion.samplers import make_sampler
from noisette.models.unet import UNet, UNetConfig

FORMAT = "noisette-model-1"
MOST_CHANNELS, LARGEST_SIDE = 64, 4096
"""Of the images. The weights do not tell the sides: without a bound a file of a few bytes could ask for any memory."""
TRAINED = "trained"
"""The sampling schedule that is the model's own: levels picked from its table of betas, or its schedule at any number
of steps."""


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is sampled unless asked otherwise; it travels in the weights."""

    sampler: str = "heun"
    """ddpm, ddim, euler, heun, dpmpp-2m or dpmpp-2s."""
    eta: float | None = None
    """Share of ancestral noise, 0 to 1, of ddim and dpmpp-2m; left out: none."""
    steps: int = 18
    """Of the grid of noise levels."""
    grid: str = TRAINED
    """trained (the levels of training), or a schedule worked out between the ends that training's settings name."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: 1 is the conditional model, 0 the unconditional one."""
    guidance_from: float = 0.0
    """Smallest noise level at which guidance acts."""
    guidance_to: float = math.inf
    """Largest noise level at which guidance acts."""
    perturb_attention: bool = False
    """Whether a scale above 1 leads away from the network without its attention too, not only from other classes."""
    clamp: bool = False
    """Whether estimates are kept in [-1, 1]."""
    clamp_quantile: float | None = None
    """With clamp: by dynamic threshold, at this quantile of the absolute values."""

    def __post_init__(self) -> None:
        make_sampler(self.sampler, self.eta)
        require(1 <= self.steps <= MOST_LEVELS, f"steps {self.steps}", f"at least 1, at most {MOST_LEVELS:,}")
        if self.grid not in (TRAINED, *SCHEDULES):
            raise unknown("grid", self.grid, (TRAINED, *SCHEDULES))
        require(
            math.isfinite(self.guidance_scale) and self.guidance_scale >= 0,
            f"guidance_scale {self.guidance_scale}",
            "a finite number of at least 0",
        )
        require(
            0 <= self.guidance_from < self.guidance_to,
            f"guidance from {self.guidance_from} to {self.guidance_to}",
            "two rising noise levels",
        )
        quantile = self.clamp_quantile
        require(quantile is None or 0 < quantile < 1, f"clamp_quantile {quantile}", "a number between 0 and 1")
        require(self.clamp or quantile is None, f"clamp_quantile {quantile} without clamp", "both, or neither")

    def perturbs(self) -> bool:
        """Whether guidance leads away from perturbed attention: asked for, at a scale above 1."""
        return self.perturb_attention and self.guidance_scale > 1

    def without_eta_of_another(self, sampler: str | None) -> "SamplingConfig":
        """These settings for `sampler` (None: their own), less an eta that belongs to their own sampler."""
        return self if sampler in (None, self.sampler) else dataclasses.replace(self, eta=None)


@dataclass(frozen=True)
class ModelSpec:
    """All that a model is besides its weights: JSON in the file's header.

    channels, height, width: of its images. classes: their names, in the order of the labels. card: what a person
    should know (data and digest, command, images seen, metrics), free keys and plain values.
    """

    network: UNetConfig
    diffusion: DiffusionConfig
    sampling: SamplingConfig
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        sides = self.height, self.width
        require(
            1 <= self.channels <= MOST_CHANNELS and min(sides) >= 1 and max(sides) <= LARGEST_SIDE,
            f"images of {self.channels} x {self.height} x {self.width}",
            f"positive sizes, up to {MOST_CHANNELS} x {LARGEST_SIDE} x {LARGEST_SIDE}",
        )
        require_names(self.classes)
        require(self.diffusion.data_std is not None, "diffusion without data_std", "the data's standard deviation")

    def new_network(self) -> UNet:
        """The network with its weights not yet born."""
        return UNet(self.network, self.channels, len(self.classes))

    def as_denoiser(self, network: UNet) -> Denoiser:
        """The network as the denoiser that it was trained to be."""
        assert self.diffusion.data_std is not None
        return denoiser(network, PRECONDITIONS[self.diffusion.parameterisation], self.diffusion.data_std)

    def trained_range(self) -> tuple[float, float]:
        """The smallest and the largest noise level that the model knows."""
        return trained_range(self.diffusion)

    def sampling_grid(self, sampling: SamplingConfig) -> list[float]:
        """The levels that `sampling` visits, the last 0. Raises Refusal for what this model does not have: more steps
        than its beta table, or attention to perturb."""
        diffusion = self.diffusion
        require(
            not sampling.perturb_attention or len(self.network.attention_at) > 0,
            "perturb_attention of a network without attention",
            "one with attention, or no-perturb-attention",
        )
        if sampling.grid == TRAINED and diffusion.is_chain():
            return grid(pick(diffusion.table(), sampling.steps))
        name = diffusion.schedule if sampling.grid == TRAINED else sampling.grid
        return grid(level_table(name, sampling.steps, diffusion.levels))


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model read from a file. card: what a person should know of it, plain values under free keys."""

    spec: ModelSpec
    network: UNet
    card: dict[str, Any]


def save_model(path: Path, model: ModelFile, dtype: torch.dtype = torch.float32) -> None:
    """Write a model whole or not at all; `dtype` is that of the stored weights (float16 halves the file)."""
    tensors = {name: value.to(dtype) for name, value in model.network.state_dict().items()}
    write_network(path, FORMAT, model.spec, model.card, tensors)


def load_model(path: Path) -> ModelFile:
    """Read a model; the weights become float32 on the CPU, in evaluation mode, without gradients.

    Raises Refusal when the file is missing, damaged, of another format or holds other tensors than its configuration
    asks for.
    """
    spec, card, _, network = read_network(path, "model", FORMAT, ModelSpec)
    assert isinstance(network, UNet)
    return ModelFile(spec, network, card)

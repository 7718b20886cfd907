"""One safetensors file is all that sampling needs: the weights, and in its header everything else as JSON."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import Refusal, one_line, unknown
from noisette.base.files import existing_file
from noisette.base.tensor_file import read_tensors, write_tensors
from noisette.diffusion.noise import SCHEDULES, grid, level_table, pick
from noisette.diffusion.objective import DiffusionConfig, trained_range
from noisette.diffusion.precondition import PRECONDITIONS, Denoiser, denoiser
from noisette.diffusion.samplers import make_sampler
from noisette.models.unet import UNet, UNetConfig

FORMAT = "noisette-model-1"
TRAINED = "trained"
"""The sampling schedule that is the model's own: levels picked from its table of betas, or its schedule at any number
of steps."""


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is sampled unless asked otherwise; it travels in the weights."""

    sampler: str = "heun"
    """ddpm, ddim, euler, heun, dpmpp-2m or dpmpp-2s."""
    eta: float | None = None
    """Share of ancestral noise, 0 to 1; only ddim has one."""
    steps: int = 18
    """Of the grid of noise levels."""
    grid: str = TRAINED
    """trained (the levels of training), or a schedule worked out over the trained range."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: 1 is the conditional model, 0 the unconditional one."""
    guidance_from: float = 0.0
    """Smallest noise level at which guidance acts."""
    guidance_to: float = math.inf
    """Largest noise level at which guidance acts."""
    clamp: bool = False
    """Whether estimates are kept in [-1, 1]."""
    clamp_quantile: float | None = None
    """Clamps by dynamic threshold, at this quantile of the absolute values."""

    def __post_init__(self) -> None:
        make_sampler(self.sampler, self.eta)
        require(self.steps >= 1, f"steps {self.steps}", "at least 1")
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
        require(
            min(self.channels, self.height, self.width) >= 1,
            f"images of {self.channels} x {self.height} x {self.width}",
            "positive sizes",
        )
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
        """The levels that `sampling` visits, the last 0. Raises Refusal for more steps than a beta table has."""
        diffusion = self.diffusion
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
    header = {
        "format": FORMAT,
        "spec": json.dumps(to_plain(model.spec)),
        "card": json.dumps(model.card),
    }
    write_tensors(path, {name: value.to(dtype) for name, value in model.network.state_dict().items()}, header)


def load_model(path: Path) -> ModelFile:
    """Read a model; the weights become float32 on the CPU, in evaluation mode, without gradients.

    Raises Refusal when the file is missing, damaged, of another format or holds other tensors than its configuration
    asks for.
    """
    existing_file(path, "model")
    header, stored = read_tensors(path, "model", FORMAT)
    try:
        spec, card = _read_spec(path, header["spec"]), json.loads(header["card"])
    except (KeyError, ValueError) as error:
        raise Refusal(f"{path} is not a readable model: {one_line(error)}") from error
    require(isinstance(card, dict), f"{path}: card {card!r}", "a table")
    with torch.device("meta"):  # without numbers: neither memory nor chance is spent on weights that may not fit
        network = spec.new_network()
    try:
        tensors = {name: tensor.float() for name, tensor in stored.items()}
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise Refusal(f"{path} holds weights of another network: {one_line(error)}") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ModelFile(spec, network.requires_grad_(False).eval(), card)


def _read_spec(path: Path, text: str) -> ModelSpec:
    """The specification in a header; what it refuses is told with the file's name."""
    try:
        return from_plain(ModelSpec, json.loads(text), "header")
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from error

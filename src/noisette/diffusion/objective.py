"""What training minimises: at which noise levels, with which weight.

    loss = E[ weight(sigma) * ||denoise(clean + sigma * noise, sigma) - clean||^2 ],  the mean over pixels

The weights act on the denoiser's error, whatever the parameterisation; the laboratory's noise MSE is the weight
1/sigma^2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import unknown
from noisette.base.registry import Registry
from noisette.base.shapes import Images, Labels, Levels, Table
from noisette.diffusion.noise import BETA_SCHEDULES, LevelRange, add_noise, level_table, per_image
from noisette.diffusion.precondition import PRECONDITIONS, Network, Row, network_output, network_target

TrainingLevels = Literal["table", "log-normal", "log-snr"]
TRAINING_LEVELS = get_args(TrainingLevels)


@dataclass(frozen=True)
class DiffusionConfig:
    """The diffusion that a model is trained for; it travels in the weights."""

    parameterisation: str = "edm"
    """What the network predicts: noise, clean, velocity, flow or edm."""
    schedule: str = "karras"
    """Of the table of levels: linear, cosine, sigmoid, karras, log-linear or flow."""
    table_steps: int = 1000
    """Levels in the table."""
    levels: LevelRange = LevelRange()
    """The ends of the table, and of log-snr training levels."""
    training_levels: TrainingLevels = "log-normal"
    """The levels that training draws: uniform over the table, log-normal, or uniform in ln sigma (log-snr)."""
    noise_log_mean: float = -1.2
    """Mean of ln sigma where training levels are log-normal."""
    noise_log_std: float = 1.2
    """Standard deviation of ln sigma where training levels are log-normal."""
    loss_weight: str = "edm"
    """noise (the noise MSE), min-snr (capped at snr_gamma) or edm."""
    snr_gamma: float = 5.0
    """Largest weight that min-snr gives."""
    data_std: float | None = None
    """Standard deviation of the pixels in [-1, 1]; measured on the training images when left out."""

    def __post_init__(self) -> None:
        PRECONDITIONS[self.parameterisation]
        LOSS_WEIGHTS[self.loss_weight]
        level_table(self.schedule, self.table_steps, self.levels)
        if self.training_levels not in TRAINING_LEVELS:
            raise unknown("training_levels", self.training_levels, TRAINING_LEVELS)
        require(math.isfinite(self.noise_log_mean), f"noise_log_mean {self.noise_log_mean}", "a finite number")
        for name in ("noise_log_std", "snr_gamma", "data_std"):
            value = getattr(self, name)
            require(value is None or 0 < value < math.inf, f"{name} {value}", "a positive number")

    def table(self) -> Table:
        """The table of levels, [table_steps]."""
        return level_table(self.schedule, self.table_steps, self.levels)

    def is_chain(self) -> bool:
        """Whether the table is a discrete chain of betas, so that sampling starts from a unit-variance image."""
        return self.schedule in BETA_SCHEDULES


@runtime_checkable
class LossWeight(Protocol):
    """Weight of the denoiser's squared error at levels sigma."""

    def __call__(self, sigma: Tensor, config: DiffusionConfig, data_std: float) -> Tensor: ...


LOSS_WEIGHTS: Registry[LossWeight] = Registry("loss weight")


@LOSS_WEIGHTS.register("noise")
def noise_weight(sigma: Tensor, config: DiffusionConfig, data_std: float) -> Tensor:
    """1/sigma^2: the mean squared error of the noise (Ho et al. 2020, eq. 14)."""
    return sigma**-2


@LOSS_WEIGHTS.register("min-snr")
def min_snr_weight(sigma: Tensor, config: DiffusionConfig, data_std: float) -> Tensor:
    """min(1/sigma^2, gamma) (Hang et al. 2023, section 3.4)."""
    return (sigma**-2).clamp(max=config.snr_gamma)


@LOSS_WEIGHTS.register("edm")
def edm_weight(sigma: Tensor, config: DiffusionConfig, data_std: float) -> Tensor:
    """(sigma^2 + data_std^2)/(sigma data_std)^2 = 1/c_out^2 of EDM's row (Karras et al. 2022, table 1)."""
    return (sigma**2 + data_std**2) / (sigma * data_std) ** 2


LevelDraw = Callable[[Tensor], Tensor]
"""Uniform numbers in [0, 1) -> noise levels, both [B]."""


def training_levels(config: DiffusionConfig) -> LevelDraw:
    """The inverse distribution function of the levels that training draws."""
    if config.training_levels == "table":
        table = config.table()
        return lambda u: table[(u.double() * len(table)).long().clamp(max=len(table) - 1)].to(u.dtype)
    if config.training_levels == "log-normal":
        # ndtri diverges at 0 and 1, where float32 rounding may put u; the cut is at 5 standard deviations.
        return lambda u: torch.exp(
            config.noise_log_mean + config.noise_log_std * torch.special.ndtri(u.double().clamp(3e-7, 1 - 3e-7))
        ).to(u.dtype)
    low, high = math.log(config.levels.noise_level_min), math.log(config.levels.noise_level_max)
    return lambda u: torch.exp(low + (high - low) * u.double()).to(u.dtype)


def trained_range(config: DiffusionConfig) -> tuple[float, float]:
    """The smallest and the largest level that sampling may visit without leaving what training has seen."""
    if config.training_levels == "table":
        table = config.table()
        return float(table[-1]), float(table[0])
    return config.levels.noise_level_min, config.levels.noise_level_max


class Objective:
    """The loss of one configuration, with the data's standard deviation settled."""

    def __init__(self, config: DiffusionConfig) -> None:
        require(config.data_std is not None, "data_std left open", "the standard deviation of the training pixels")
        assert config.data_std is not None
        self.config = config
        self.data_std = config.data_std
        self.row: Row = PRECONDITIONS[config.parameterisation]
        self.draw_levels = training_levels(config)

    def per_image_loss(
        self, network: Network, clean: Images, label: Labels, noise_level: Levels, noise: Images
    ) -> Levels:
        """The weighted squared error of each image, mean over pixels, [B].

        It is worked out on the network's own target: weight * c_out^2 * (F - target)^2 equals
        weight * (denoised - clean)^2 without the cancellation at small levels.
        """
        noisy = add_noise(clean, noise_level, noise)
        output = network_output(network, self.row, self.data_std, noisy, noise_level, label)
        target = network_target(self.row, self.data_std, clean, noisy, noise_level)
        weight = LOSS_WEIGHTS[self.config.loss_weight](noise_level, self.config, self.data_std)
        scale = weight * self.row(noise_level, self.data_std).c_out ** 2  # [B]
        squares = (output.to(target.dtype) - target) ** 2  # [B, C, H, W]
        return (per_image(scale, squares) * squares).flatten(1).mean(1)

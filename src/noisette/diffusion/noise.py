"""Noise levels and the forward process.

The noise level sigma is the only clock: `noisy = clean + sigma * noise`. A schedule only makes a table of levels,
float64 on the CPU, strictly falling, positive and finite. A sampling grid is such a table with a final 0.

A discrete chain with rates beta_t (DDPM) is a table too: with alpha_bar_t = prod(1 - beta), its image
x_t = sqrt(alpha_bar_t) clean + sqrt(1 - alpha_bar_t) noise is `noisy / sqrt(1 + sigma_t^2)` at
sigma_t = sqrt(1 / alpha_bar_t - 1).
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import Refusal
from noisette.base.registry import Registry
from noisette.base.shapes import Images, Levels, Table

MOST_LEVELS = 100_000
"""In a table: bounds the memory that a file of settings can ask for."""
BETA_CAP = 0.999  # Nichol & Dhariwal 2021, section 3.2: keeps the last level of a cosine table finite


@dataclass(frozen=True)
class LevelRange:
    """What a schedule may need to know besides its number of levels."""

    beta_start: float = 1e-4
    """First rate of the linear table (DDPM's 1e-4, whatever the number of levels)."""
    beta_end: float = 0.02
    """Last rate of the linear table (DDPM's 0.02, whatever the number of levels)."""
    noise_level_min: float = 0.002
    """Low end of the karras, log-linear and flow tables, as a standard deviation."""
    noise_level_max: float = 80.0
    """High end of the karras, log-linear and flow tables, as a standard deviation."""
    rho: float = 7.0
    """Bend of the Karras table (7 there; larger puts more levels near the clean end)."""

    def __post_init__(self) -> None:
        require(
            0 < self.beta_start <= self.beta_end <= BETA_CAP,
            f"beta_start {self.beta_start} and beta_end {self.beta_end}",
            f"0 < beta_start <= beta_end <= {BETA_CAP}",
        )
        require(
            0 < self.noise_level_min < self.noise_level_max < math.inf,
            f"noise_level_min {self.noise_level_min} and noise_level_max {self.noise_level_max}",
            "0 < noise_level_min < noise_level_max, both finite",
        )
        require(self.rho > 0, f"rho {self.rho}", "a positive number")


@runtime_checkable
class Schedule(Protocol):
    """Makes a table of `steps` levels within a range."""

    def __call__(self, steps: int, within: LevelRange) -> Table: ...


SCHEDULES: Registry[Schedule] = Registry("schedule")
BETA_SCHEDULES = ("linear", "cosine", "sigmoid")
"""Schedules that are discrete chains: sampling picks from their table and starts from a unit-variance image."""


def betas_to_levels(betas: Table) -> Table:
    """Levels of the chain with rates betas [T] in (0, 1), largest first: sigma_t = sqrt(1/alpha_bar_t - 1)."""
    log_alpha_bar = torch.log1p(-betas.double()).cumsum(0)
    return torch.expm1(-log_alpha_bar).sqrt().flip(0)


def levels_to_betas(levels: Table) -> Table:
    """Rates [T] of the discrete chain whose falling levels [T] are given; the inverse of `betas_to_levels`."""
    alpha_bar = 1 / (1 + levels.double().flip(0) ** 2)
    return 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])


def _signal_to_levels(steps: int, alpha_bar: Callable[[Tensor], Tensor]) -> Table:
    """Levels of the chain that follows alpha_bar(t), t in [0, 1], with beta capped (Nichol & Dhariwal 2021)."""
    signal = alpha_bar(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    return betas_to_levels((1 - signal[1:] / signal[:-1]).clamp(max=BETA_CAP))


@SCHEDULES.register("linear")
def linear(steps: int, within: LevelRange) -> Table:
    """Rates that grow linearly, whatever their number (Ho et al. 2020, section 4). Few steps never reach pure noise."""
    return betas_to_levels(torch.linspace(within.beta_start, within.beta_end, steps, dtype=torch.float64))


@SCHEDULES.register("cosine")
def cosine(steps: int, within: LevelRange) -> Table:
    """alpha_bar = cos^2((t + s)/(1 + s) pi/2), s = 0.008 (Nichol & Dhariwal 2021, eq. 17).

    The last rate is capped at 0.999: a table of 1000 ends at about 20,000.
    """
    s = 0.008
    return _signal_to_levels(steps, lambda t: torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2)


@SCHEDULES.register("sigmoid")
def sigmoid(steps: int, within: LevelRange) -> Table:
    """alpha_bar falls as a sigmoid from -3 to 3 (Jabri et al. 2022; Chen 2023, algorithm 1, tau = 1).

    alpha_bar reaches 0 at t = 1, so the last rate is capped at 0.999.
    """
    first, last = torch.sigmoid(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    return _signal_to_levels(steps, lambda t: (last - torch.sigmoid(6 * t - 3)) / (last - first))


@SCHEDULES.register("karras")
def karras(steps: int, within: LevelRange) -> Table:
    """Evenly spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5)."""
    low, high = within.noise_level_min ** (1 / within.rho), within.noise_level_max ** (1 / within.rho)
    return torch.pow(high + _ramp(steps) * (low - high), within.rho)


@SCHEDULES.register("log-linear")
def log_linear(steps: int, within: LevelRange) -> Table:
    """Evenly spaced in log sigma, that is in log signal-to-noise ratio."""
    low, high = math.log(within.noise_level_min), math.log(within.noise_level_max)
    return torch.exp(high + _ramp(steps) * (low - high))


@SCHEDULES.register("flow")
def flow(steps: int, within: LevelRange) -> Table:
    """Evenly spaced in t = sigma / (1 + sigma), the time of rectified flow (Liu et al. 2022; Lipman et al. 2022).

    t = 1 would be an infinite level: the ends are capped at noise_level_min and noise_level_max.
    """
    low, high = (level / (1 + level) for level in (within.noise_level_min, within.noise_level_max))
    t = high + _ramp(steps) * (low - high)
    return t / (1 - t)


def _ramp(steps: int) -> Tensor:
    return torch.linspace(0, 1, steps, dtype=torch.float64)


def level_table(schedule: str, steps: int, within: LevelRange) -> Table:
    """The falling table of `steps` levels, [steps] float64. Raises Refusal for an unknown name, for steps outside 1 to
    MOST_LEVELS, and for a range that gives no such table."""
    require(1 <= steps <= MOST_LEVELS, f"{steps} steps", f"at least 1, at most {MOST_LEVELS:,}")
    make = SCHEDULES[schedule]
    try:
        table = make(steps, within)
    except OverflowError as error:  # of an extreme rho
        raise Refusal(f"schedule {schedule!r} within {within} goes beyond what a number can hold") from error
    if not (bool(table.isfinite().all()) and bool((table > 0).all()) and bool((table.diff() < 0).all())):
        raise Refusal(f"schedule {schedule!r} with {steps} steps and {within} does not fall strictly within (0, inf)")
    return table


def signal_left(steps: int, within: LevelRange) -> float:
    """alpha_bar at the end of the linear chain: the share of the signal's variance that its last level leaves."""
    return 1 / (1 + float(level_table("linear", steps, within)[0]) ** 2)


def scaled(steps: int, signal: float, within: LevelRange) -> LevelRange:
    """`within` with both rates times the one factor at which a chain of `steps` leaves `signal`, found by bisection."""

    def times(factor: float) -> LevelRange:
        start, end = within.beta_start * factor, within.beta_end * factor
        return dataclasses.replace(within, beta_start=start, beta_end=min(end, BETA_CAP))

    low, high = 0.0, BETA_CAP / within.beta_end  # less signal is left at larger factors
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if signal_left(steps, times(middle)) > signal else (low, middle)
    return times(high)


def pick(table: Table, steps: int) -> Float[Tensor, " picked"]:
    """`steps` levels of a longer table, evenly spaced by index, the noisiest always among them.

    This is the "trailing" spacing of Lin et al. 2023 (table 2): sampling starts at the level that is nearest pure
    noise.
    Raises Refusal when the table has fewer levels.
    """
    T = len(table)
    require(1 <= steps <= T, f"{steps} sampling steps", f"1 to {T}, the levels that the model was trained on")
    t = (T - torch.arange(steps, dtype=torch.float64) * T / steps).round().long()  # from T down, none is 0
    return table[T - t]


def grid(table: Table) -> list[float]:
    """A sampling grid: the table's levels as exact Python numbers, then 0."""
    return [*table.tolist(), 0.0]


def add_noise(clean: Images, noise_level: Levels, noise: Images) -> Images:
    """The forward process at once: clean + sigma * noise, [B, C, H, W]."""
    return clean + per_image(noise_level, clean) * noise


def forward_step(noisy: Images, noise_level: float, next_level: float, noise: Images) -> Images:
    """One step of the forward process from sigma to a larger next sigma: variances add, so the increment's is their
    difference. Applied T times it has the same law as `add_noise` at once."""
    require(0 <= noise_level <= next_level, f"a forward step from {noise_level} to {next_level}", "a step upwards")
    return noisy + math.sqrt(next_level**2 - noise_level**2) * noise


def unit_variance(noisy: Images, noise_level: float) -> Images:
    """The noisy image as the discrete chain has it and people look at it: noisy / sqrt(1 + sigma^2)."""
    return noisy / math.sqrt(1 + noise_level**2)


def per_image(levels: Levels, like: Tensor) -> Tensor:
    """Levels [B] as [B, 1, 1, 1], so that they never broadcast along a width that happens to equal B."""
    if levels.shape != like.shape[:1]:
        raise ValueError(f"expected one level an image: {like.shape[0]}, found shape {tuple(levels.shape)}")
    return levels.reshape(-1, *[1] * (like.ndim - 1))

"""How a network becomes a denoiser: a table in which one row is four functions of the noise level.

    denoised = c_skip * noisy + c_out * F(c_in * noisy, c_noise)            (Karras et al. 2022, eq. 7)

The training target `(clean - c_skip * noisy) / c_out` and the denoiser follow from the row; nothing is written twice.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from noisette.base.registry import Registry
from noisette.base.shapes import Images, Labels, Levels
from noisette.diffusion.noise import per_image


class Scalars(NamedTuple):
    """The four functions of a row at given levels, each of the levels' shape."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


Row = Callable[[Tensor, float], Scalars]
"""(noise levels, standard deviation of the data) -> Scalars."""

PRECONDITIONS: Registry[Row] = Registry("parameterisation")


@PRECONDITIONS.register("noise")
def noise(sigma: Tensor, data_std: float) -> Scalars:
    """F predicts the noise (Ho et al. 2020, eq. 12)."""
    return Scalars(torch.ones_like(sigma), -sigma, _unit_in(sigma), _log_clock(sigma))


@PRECONDITIONS.register("clean")
def clean(sigma: Tensor, data_std: float) -> Scalars:
    """F predicts the clean image."""
    return Scalars(torch.zeros_like(sigma), torch.ones_like(sigma), _unit_in(sigma), _log_clock(sigma))


@PRECONDITIONS.register("velocity")
def velocity(sigma: Tensor, data_std: float) -> Scalars:
    """F predicts a * noise - s * clean, a = 1/sqrt(1 + sigma^2), s = a * sigma (Salimans & Ho 2022, section 4)."""
    return Scalars(1 / (1 + sigma**2), -sigma * _unit_in(sigma), _unit_in(sigma), _log_clock(sigma))


@PRECONDITIONS.register("flow")
def flow(sigma: Tensor, data_std: float) -> Scalars:
    """F predicts noise - clean at t = sigma/(1 + sigma), where c_in * noisy = (1 - t) clean + t noise."""
    return Scalars(1 / (1 + sigma), -sigma / (1 + sigma), 1 / (1 + sigma), sigma / (1 + sigma))


@PRECONDITIONS.register("edm")
def edm(sigma: Tensor, data_std: float) -> Scalars:
    """F's input and target have unit variance on data of standard deviation data_std (Karras et al. 2022, table 1)."""
    total = sigma**2 + data_std**2
    return Scalars(data_std**2 / total, sigma * data_std / total.sqrt(), 1 / total.sqrt(), _log_clock(sigma))


def _unit_in(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()


def _log_clock(sigma: Tensor) -> Tensor:
    return sigma.log() / 4


@runtime_checkable
class Network(Protocol):
    """F: scaled noisy images [B, C, H, W], c_noise [B], labels [B] -> [B, C, H, W]."""

    def __call__(self, x: Images, c_noise: Levels, label: Labels, /) -> Images: ...


@runtime_checkable
class Denoiser(Protocol):
    """The only interface: noisy images at one noise level -> estimate of the clean images.

    noisy [B, C, H, W]; noise_level > 0, a Python number; label [B], -1 for no class. Returns [B, C, H, W].
    """

    def __call__(self, noisy: Images, noise_level: float, label: Labels, /) -> Images: ...


def network_target(row: Row, data_std: float, clean: Images, noisy: Images, noise_level: Levels) -> Images:
    """What F must return for the denoiser to return `clean`: (clean - c_skip * noisy) / c_out."""
    c_skip, c_out, _, _ = (per_image(c, noisy) for c in row(noise_level, data_std))
    return (clean - c_skip * noisy) / c_out


def network_output(
    network: Network, row: Row, data_std: float, noisy: Images, noise_level: Levels, label: Labels
) -> Images:
    """F(c_in * noisy, c_noise), [B, C, H, W]."""
    _, _, c_in, c_noise = row(noise_level, data_std)
    return network(per_image(c_in, noisy) * noisy, c_noise, label)


def denoiser(network: Network, row: Row, data_std: float) -> Denoiser:
    """The network as a denoiser."""

    def denoise(noisy: Images, noise_level: float, label: Labels, /) -> Images:
        # The row is worked out in float64 on the CPU, where a level of 1e-3 or 1e4 loses nothing; only float32
        # travels on.
        exact = row(torch.tensor(noise_level, dtype=torch.float64), data_std)
        c_skip, c_out, c_in, c_noise = (float(c) for c in exact)
        clock = torch.full(noisy.shape[:1], c_noise, dtype=noisy.dtype, device=noisy.device)
        return c_skip * noisy + c_out * network(c_in * noisy, clock, label)

    return denoise

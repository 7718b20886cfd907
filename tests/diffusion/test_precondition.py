"""Each row of the table makes the network predict what its name says, from the input that it says.

That the denoiser inverts the target holds for any row and proves nothing by itself. So each row is held
against formulas of its own, and each of these must fail for every other row.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from noisette.base.seeds import generator
from noisette.diffusion.precondition import PRECONDITIONS, Row, denoiser, network_output, network_target

STD = 0.37
B = 28  # as many images as columns: a level that broadcasts along the width would go unnoticed elsewhere
LABEL = torch.arange(B) % 10


def draw() -> tuple[Tensor, Tensor, Tensor]:
    """Clean images, unit noise, and a level for each, small to large: all float64."""
    chance = generator(0, "rows")
    clean, noise = torch.randn(2, B, 1, 3, B, generator=chance, dtype=torch.float64)
    return STD * clean, noise, torch.logspace(-2, 2, B, dtype=torch.float64)


def column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def velocity(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    a = 1 / (1 + sigma**2).sqrt()
    s = (1 - a**2).sqrt()
    return a * noise - s * clean


TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "noise": lambda clean, noise, sigma: noise,
    "clean": lambda clean, noise, sigma: clean,
    "velocity": velocity,
    "flow": lambda clean, noise, sigma: noise - clean,
}
"""What the network must return, from the clean image, the noise and sigma. EDM's row is told by variances."""


def chain_input(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """sqrt(alpha_bar) clean + sqrt(1 - alpha_bar) noise."""
    alpha_bar = 1 / (1 + sigma**2)
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def flow_input(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The straight line from the clean image at t = 0 to the noise at t = 1."""
    t = sigma / (1 + sigma)
    return (1 - t) * clean + t * noise


def handed(row: Row, clean: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The network's input and target under `row`, as training makes them."""
    noisy = clean + column(sigma) * noise
    seen = network_output(lambda x, c_noise, label: x, row, STD, noisy, sigma, LABEL)
    return seen, network_target(row, STD, clean, noisy, sigma)


def mix(row: Row, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The coefficients of (clean, noise) in the network's input and in its target, each [B]."""
    one, zero = torch.ones(B, 1, 1, 1, dtype=torch.float64), torch.zeros(B, 1, 1, 1, dtype=torch.float64)
    on_clean, on_noise = handed(row, one, zero, sigma), handed(row, zero, one, sigma)
    return tuple(images.flatten() for pair in zip(on_clean, on_noise, strict=True) for images in pair)


def mistake(name: str, row: Row) -> float:
    """How far `row` is from what the row called `name` promises."""
    clean, noise, sigma = draw()
    if name == "edm":
        in_clean, in_noise, on_clean, on_noise = mix(row, sigma)
        in_variance = in_clean**2 * STD**2 + in_noise**2
        target_variance = on_clean**2 * STD**2 + on_noise**2
        covariance = in_clean * on_clean * STD**2 + in_noise * on_noise  # c_skip takes out all that it can
        sign = (on_clean.sign() - 1).abs()
        return max(float(each.abs().max()) for each in (in_variance - 1, target_variance - 1, covariance, sign))
    seen, target = handed(row, clean, noise, sigma)
    make_input = flow_input if name == "flow" else chain_input
    wanted = make_input(clean, noise, column(sigma)), TARGETS[name](clean, noise, column(sigma))
    return max(float((seen - wanted[0]).abs().max()), float((target - wanted[1]).abs().max()))


def test_every_row_has_its_own_promise():
    assert {*TARGETS, "edm"} == set(PRECONDITIONS)


@pytest.mark.parametrize("name", PRECONDITIONS)
def test_a_row_keeps_its_promise(name):
    assert mistake(name, PRECONDITIONS[name]) < 1e-9


@pytest.mark.parametrize("other", PRECONDITIONS)
@pytest.mark.parametrize("name", PRECONDITIONS)
def test_no_row_keeps_the_promise_of_another(name, other):
    assert name == other or mistake(name, PRECONDITIONS[other]) > 0.1


@pytest.mark.parametrize("name", PRECONDITIONS)
def test_the_network_is_told_t_by_flow_and_a_quarter_of_ln_sigma_by_others(name):
    sigma = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    wanted = [1 / 3, 1 / 2, 3 / 4] if name == "flow" else [-0.1732867951399863, 0.0, 0.27465307216702745]
    assert PRECONDITIONS[name](sigma, STD).c_noise.tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("noise_level", [0.002, 0.5, 80.0])
@pytest.mark.parametrize("name", TARGETS)
def test_a_network_that_returns_its_target_denoises_to_the_clean_image(name, noise_level):
    clean, noise, _ = draw()
    noisy, sigma = clean + noise_level * noise, torch.tensor(noise_level, dtype=torch.float64)
    denoise = denoiser(lambda x, c_noise, label: TARGETS[name](clean, noise, sigma), PRECONDITIONS[name], STD)
    torch.testing.assert_close(denoise(noisy, noise_level, LABEL), clean, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", PRECONDITIONS)
def test_the_denoiser_undoes_the_training_target(name):
    clean, noise, _ = draw()
    row, noise_level = PRECONDITIONS[name], 0.7
    noisy = clean + noise_level * noise
    target = network_target(row, STD, clean, noisy, torch.full((B,), noise_level, dtype=torch.float64))
    denoise = denoiser(lambda x, c_noise, label: target, row, STD)
    torch.testing.assert_close(denoise(noisy, noise_level, LABEL), clean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PRECONDITIONS)
def test_sampling_hands_the_network_what_training_does(name, dtype):
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def network(x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        seen.append((x, c_noise, label))
        return x

    clean, noise, _ = draw()
    noisy, row = (clean + 0.7 * noise).to(dtype), PRECONDITIONS[name]
    network_output(network, row, STD, noisy, torch.full((B,), 0.7, dtype=dtype), LABEL)
    denoiser(network, row, STD)(noisy, 0.7, LABEL)
    for in_training, in_sampling in zip(*seen, strict=True):
        torch.testing.assert_close(in_sampling, in_training)

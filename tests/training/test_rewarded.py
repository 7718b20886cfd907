"""The reward in the loss: its value, and its gradient, which finite differences know, through the last steps only."""

import dataclasses

import pytest
import torch
from torch import nn

from noisette.base.errors import Refusal
from noisette.base.shapes import NO_CLASS
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.diffusion.precondition import denoiser
from noisette.diffusion.sample import sample
from noisette.diffusion.samplers import make_sampler
from noisette.training.rewarded import RewardedObjective

CONFIG = DiffusionConfig(data_std=0.5, noise_log_mean=0.0)
LEVELS = [5.0, 1.5, 0.6, 0.2, 0.0]
LABELS = torch.tensor([0, 1, 2, NO_CLASS])
NOISE = torch.randn(4, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """Two numbers that everything depends on, and the class."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.7, -0.4], dtype=torch.float64))

    def forward(self, x, c_noise, label):
        turned = x.flip(3) * c_noise.reshape(-1, 1, 1, 1)
        return torch.tanh(self.weight[0] * x + self.weight[1] * turned + 0.1 * label.reshape(-1, 1, 1, 1))


def judge(images, labels):
    """Likes bright images, those of class 2 most; says nothing where no class is asked for."""
    return -(images - 0.3).square().flatten(1).mean(1) * (1 + labels) * (labels != NO_CLASS)


def rewarded(last_steps, weight=1.0, sampler="dpmpp-2m", **more):
    return RewardedObjective(CONFIG, judge, make_sampler(sampler), LEVELS, weight, last_steps, **more)


def drawn_by(early, late, last_steps, sampler):
    """What two networks draw together: one the first steps, the other the last, through the plain driver."""
    calls = []

    def denoise(noisy, noise_level, label):
        calls.append(noise_level)
        network = late if noise_level <= LEVELS[len(LEVELS) - 1 - last_steps] else early
        return denoiser(network, rewarded(1).row, 0.5)(noisy, noise_level, label)

    *_, last = sample(denoise, make_sampler(sampler), LEVELS, LEVELS[0] * NOISE, LABELS)
    assert max(calls) == LEVELS[0]
    return last.denoised


@pytest.mark.parametrize("sampler", ["euler", "dpmpp-2m"])
@pytest.mark.parametrize("last_steps", [1, 2, 4])
def test_gradients_go_through_the_last_steps_only(sampler, last_steps):
    """The derivative is that of drawings whose last steps alone are made with other weights."""
    network = Network()
    reward = judge(rewarded(last_steps, sampler=sampler).drawn(network, NOISE, LABELS), LABELS).sum()
    assert reward.item() == pytest.approx(judge(drawn_by(network, network, last_steps, sampler), LABELS).sum().item())
    (found,) = torch.autograd.grad(reward, network.weight)
    for place in range(2):
        values = []
        for step in (1e-5, -1e-5):
            moved = Network()
            with torch.no_grad():
                moved.weight[place] += step
                values.append(judge(drawn_by(network, moved, last_steps, sampler), LABELS).sum().item())
        assert float(found[place]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
        assert abs(float(found[place])) > 1e-3


def test_the_loss_is_that_of_training_less_the_weighted_reward():
    network, clean = Network(), NOISE.flip(0) / 3
    level = torch.tensor([0.3, 1.0, 2.0, 0.5], dtype=torch.float64)
    given = network, clean, LABELS, level, NOISE
    plain = Objective(CONFIG).per_image_loss(*given)
    assert torch.equal(rewarded(2, weight=0.0).per_image_loss(*given), plain)
    objective = rewarded(2, weight=0.25)
    expected = plain - 0.25 * judge(objective.drawn(network, NOISE, LABELS), LABELS)
    assert torch.allclose(objective.per_image_loss(*given), expected)
    assert objective.per_image_loss(*given)[3] == plain[3]  # no class is asked for
    assert not torch.isclose(objective.per_image_loss(*given)[:3], plain[:3]).any()


def test_drawings_are_guided_and_start_as_the_model_does():
    network = Network()

    def dimmed(denoise):
        return lambda noisy, noise_level, label: 0.5 * denoise(noisy, noise_level, label)

    plain = rewarded(1).drawn(network, NOISE, LABELS)
    assert not torch.allclose(rewarded(1, guide=dimmed).drawn(network, NOISE, LABELS), plain)
    chain = dataclasses.replace(CONFIG, schedule="linear")
    started = RewardedObjective(chain, judge, make_sampler("euler"), [5.0, 0.0], 1.0, 1).drawn(network, NOISE, LABELS)
    expected = denoiser(network, rewarded(1).row, 0.5)((1 + 5.0**2) ** 0.5 * NOISE, 5.0, LABELS)
    assert torch.allclose(started, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last_steps": 0}, "last_steps 0: expected 1 to 4, the steps of a drawing"),
        ({"last_steps": 5}, "last_steps 5: expected 1 to 4"),
        ({"last_steps": 1, "weight": -1.0}, "reward weight -1"),
        ({"last_steps": 1, "weight": float("nan")}, "reward weight nan"),
        ({"last_steps": 1, "sampler": "ddpm"}, "a sampler that draws noise: expected one that does not"),
    ],
)
def test_what_cannot_be_rewarded_is_refused(change, message):
    with pytest.raises(Refusal, match=message):
        rewarded(**change)

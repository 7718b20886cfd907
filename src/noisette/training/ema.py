"""The exponential moving average of the weights, which makes all samples."""

import copy

import torch
from torch import nn


def ema_decay(images_seen: int, batch_size: int, halflife_images: float, ramp: float) -> float:
    """The share of the old average that stays after a batch: 0.5^(batch / half-life).

    The half-life, in images, is at most `ramp` of the images seen so far, so that the first, random weights are
    forgotten (Karras et al. 2022, appendix F.6). images_seen counts this batch. A half-life of 0 keeps the newest
    weights.
    """
    halflife = min(float(halflife_images), ramp * images_seen)
    return 0.5 ** (batch_size / halflife) if halflife > 0 else 0.0


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network, for every parameter at once."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def average_of(network: nn.Module) -> nn.Module:
    """A copy of the network that holds the average: no gradients, in evaluation mode."""
    return copy.deepcopy(network).requires_grad_(False).eval()

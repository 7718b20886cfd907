"""A judge's verdict on finished drawings as a part of the loss: its gradient goes through their last steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import Images, Labels, Levels
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.diffusion.precondition import Denoiser, Network, denoiser
from noisette.diffusion.sample import check_grid, sample, start_image
from noisette.diffusion.samplers import Sampler


class RewardedObjective(Objective):
    """The loss of training less `weight` times log p(asked | drawing), image by image.

    The drawing is walked from the image's own noise down all `levels`; gradients go through the network's part in the
    last `last_steps` of them only (DRaFT-K: Clark et al. 2024, section 4.1), which bounds the memory and keeps the
    gradient from growing. The loss of training beside it, on real images, holds the network to what it has learned.
    """

    def __init__(
        self,
        config: DiffusionConfig,
        log_probability: Callable[[Tensor, Tensor], Tensor],
        sampler: Sampler,
        levels: Sequence[float],
        weight: float,
        last_steps: int,
        guide: Callable[[Denoiser], Denoiser] = lambda denoise: denoise,
    ) -> None:
        """log_probability: (clean images [B, C, H, W], labels [B]) -> log p(what is asked | image) [B], differentiable.

        guide: what the drawings are guided by. Raises Refusal for a sampler that draws noise, a grid that is none, a
        weight below 0, or more last steps than the grid has.
        """
        super().__init__(config)
        check_grid(levels)
        require(not sampler.draws_noise, "a sampler that draws noise", "one that does not, to lead gradients through")
        require(0 <= weight < float("inf"), f"reward weight {weight}", "a finite number of at least 0")
        steps = len(levels) - 1
        require(1 <= last_steps <= steps, f"last_steps {last_steps}", f"1 to {steps}, the steps of a drawing")
        self.log_probability, self.sampler, self.levels, self.guide = log_probability, sampler, levels, guide
        self.weight, self.last_steps = weight, last_steps

    def per_image_loss(
        self, network: Network, clean: Images, label: Labels, noise_level: Levels, noise: Images
    ) -> Levels:
        """The loss of each image of training, less what its drawing is rewarded with, [B]."""
        loss = super().per_image_loss(network, clean, label, noise_level, noise)
        return loss - self.weight * self.log_probability(self.drawn(network, noise, label), label)

    def drawn(self, network: Network, noise: Images, label: Labels) -> Images:
        """The images that the network draws from unit noise [B, C, H, W] for labels [B]."""
        start = start_image(noise, self.levels[0], self.config.is_chain())
        denoise = self.guide(denoiser(network, self.row, self.data_std))
        walk = sample(denoise, self.sampler, self.levels, start, label)
        for steps_left in range(len(self.levels) - 1, 0, -1):
            with torch.set_grad_enabled(steps_left <= self.last_steps):  # which the generator runs under
                snapshot = next(walk)
        return snapshot.denoised

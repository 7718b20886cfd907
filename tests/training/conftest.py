"""A lesson so small that a step takes milliseconds: made-up 8 x 8 digits and a network of a few thousand weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from noisette.base.seeds import generator
from noisette.data.batches import Batch, Batches
from noisette.data.images import to_model
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.models.unet import UNet, UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.loop import Event, TrainState, new_state, train

NETWORK = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8)
TRAINING = TrainingConfig(
    images=64, batch_size=16, warmup_images=0, rate="constant", validate_every=10**6, validation_images=8, seed=5
)


@dataclass
class Lesson:
    """All that the loop is handed."""

    state: TrainState
    objective: Objective
    config: TrainingConfig
    batches: Batches
    held_out: Batch | None

    def events(self, **changes: Any) -> Iterator[Event]:
        """Train to the horizon."""
        given = {"draw": self.batches.at, "validation": self.held_out} | changes
        return train(self.state, self.objective, self.config, **given)

    def run(self, **changes: Any) -> list[Event]:
        """Train to the horizon at once."""
        return list(self.events(**changes))


@pytest.fixture
def lesson() -> Callable[..., Lesson]:
    """Makes a lesson; keywords are settings of training, or `network` and `diffusion` whole."""

    def make(network: UNetConfig = NETWORK, diffusion: DiffusionConfig | None = None, **training: Any) -> Lesson:
        config = replace(TRAINING, **training)
        pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
        pixels[:, 2:6, 2:6] //= 8  # something to learn
        labels = np.arange(60, dtype=np.int64) % 3
        module = UNet(network, 1, 3)
        module.initialise(generator(config.seed, "weights"))
        objective = Objective(diffusion or DiffusionConfig(data_std=0.6, noise_log_mean=0.0))
        held_out = Batch(to_model(pixels[40:]), torch.from_numpy(labels[40:]), range(20))
        return Lesson(new_state(module, config), objective, config, Batches(pixels, labels, np.arange(40), 1), held_out)

    return make

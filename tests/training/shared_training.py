"""Trainings in float64 that any number of processes share, and what they tell each other: the program of the tests.

As a program it writes what the first process holds in the end into a folder. All processes assert.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from noisette.base.errors import NoisetteError
from noisette.base.processes import ALONE, Processes, join
from noisette.base.seeds import generator
from noisette.data.batches import Batch, Batches
from noisette.data.images import to_model
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.models.unet import UNet, UNetConfig
from noisette.training.checkpoint import share_state, state_tensors
from noisette.training.config import TrainingConfig
from noisette.training.loop import Event, TrainState, new_state, train

NETWORK = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, dropout=0.2)
CASES = {
    f"{optimizer}, accumulation {accumulation}": TrainingConfig(
        **{"images": 64, "batch_size": 16, "accumulation": accumulation, "optimizer": optimizer, "seed": 5},
        **{"learning_rate": 0.02, "adamw_rate": 0.01, "weight_decay": 0.01, "warmup_images": 20, "gradient_clip": 0.5},
        **{"validate_every": 32, "ema_halflife_images": 50, "ema_ramp": 0.5, "label_drop": 0.3},
    )
    for optimizer in ("adamw", "muon")
    for accumulation in (1, 2)
}


def learn(
    config: TrainingConfig,
    processes: Processes = ALONE,
    dtype: torch.dtype = torch.float64,
    precision: torch.dtype = torch.float32,
    spoil: Callable[[TrainState], None] = lambda state: None,
) -> tuple[TrainState, list[Event]]:
    """A training, and all that it said."""
    pixels = np.random.default_rng(0).integers(0, 256, (59, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(59, dtype=np.int64) % 3
    batches = Batches(pixels, labels, np.arange(40), 1)
    held_out = Batch(to_model(pixels[40:]).to(dtype), torch.from_numpy(labels[40:]), range(19))
    network = UNet(NETWORK, 1, 3).to(dtype)
    network.initialise(generator(config.seed + processes.rank, "weights"))  # which the first gives to all
    state = new_state(network, config)
    share_state(state, processes)
    spoil(state)

    def draw(images_seen: int, count: int) -> Batch:
        batch = batches.at(images_seen, count)
        return Batch(batch.images.to(dtype), batch.labels, batch.position)

    objective = Objective(DiffusionConfig(data_std=0.6, noise_log_mean=0.0))
    return state, list(train(state, objective, config, draw, held_out, precision, processes=processes))


def tell_each_other(processes: Processes) -> None:
    """What processes promise of the little that they say."""
    own = processes.rank
    assert processes.by_first(lambda: {"rank": own, "best": float("inf")}) == {"rank": 0, "best": float("inf")}
    assert processes.total(own + 1.5, 2.0) == (4.0, 4.0)
    assert processes.agree(lambda: 2**62 + 1)
    assert not processes.agree(lambda: 2**62 + own)
    assert not processes.asked(own == 1)  # not before all have heard of it
    processes.total()
    assert processes.asked(False)


def drift(processes: Processes) -> None:
    """Weights that differ in one process are noticed by all."""

    def spoil(state: TrainState) -> None:
        if processes.rank == 1:
            state.average.get_parameter("stem.weight").add_(1e-9)

    with pytest.raises(NoisetteError, match="after 32 images the weights differ between the processes"):
        learn(CASES["adamw, accumulation 1"], processes, spoil=spoil)


def main(folder: Path) -> None:
    """All of it, by the processes that the launcher has started."""
    processes = join(torch.device("cpu"))
    tell_each_other(processes)
    for name, config in CASES.items():
        state, events = learn(config, processes)
        keep(folder, name, state, events, processes)
    state, events = learn(CASES["muon, accumulation 2"], processes, torch.float32, torch.bfloat16)
    keep(folder, "bfloat16", state, events, processes)
    drift(processes)


def keep(folder: Path, name: str, state: TrainState, events: list[Event], processes: Processes) -> None:
    """Write what the first process holds."""
    if processes.is_first:
        save_file({key: tensor.contiguous() for key, tensor in state_tensors(state).items()}, folder / name)
        (folder / f"{name}.json").write_text(json.dumps([asdict(event) for event in events]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

"""The peer: what the diffusers course teaches for class-conditional MNIST, given as good a chance as we know.

Network, loss, schedule and optimiser are the course's (unit 2, class-conditioned model): UNet2DModel of widths 32, 64,
64 with attention at 14 x 14 and 7 x 7, the class as four more input channels, noise predicted over 1,000 steps of the
cosine table, Adam at 0.001, batches of 128. Beyond the course it is given: pictures in memory instead of worker
processes, channels-last memory and bfloat16 autocast where a timed batch says they are faster, an average of the
weights with the package's half-life, and for drawing DPM-Solver++ in 20 steps with the clipping that its authors ask
for with this table.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from noisette.base.errors import Refusal
from noisette.base.files import whole_file, write_text
from noisette.base.seeds import ImageNoise, generator
from noisette.data.batches import Batches
from noisette.data.images import to_uint8
from noisette.training.checkpoint import load_state, save_state
from noisette.training.config import TrainingConfig
from noisette.training.ema import average_into, ema_decay
from noisette.training.loop import new_state

TABLE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
DRAWING = {"algorithm_type": "dpmsolver++", "lambda_min_clipped": -5.1}
STEPS, BATCH, DRAW_BATCH, RATE = 20, 128, 100, 1e-3
EMA = TrainingConfig()
SAVE_SECONDS = 60.0


class CourseNetwork(nn.Module):
    """(noisy [B, 1, H, W], step [B], label [B]) -> the noise in it; the class is four more channels of the input."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 64), layers: int = 2) -> None:
        super().__init__()
        self.embed_class = nn.Embedding(10, 4)
        self.unet = UNet2DModel(
            sample_size=28,
            in_channels=1 + 4,
            out_channels=1,
            layers_per_block=layers,
            block_out_channels=widths,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )

    def forward(self, noisy: Tensor, step: Tensor, label: Tensor) -> Tensor:
        planes = self.embed_class(label)[:, :, None, None].expand(-1, -1, *noisy.shape[2:])
        noise: Tensor = self.unet(torch.cat([noisy, planes], dim=1), step).sample
        return noise


@dataclass(frozen=True)
class Speed:
    """How the network is computed: chosen by a timed batch, then kept for the run."""

    threads: int
    channels_last: bool
    bfloat16: bool


class Peer:
    """A run of the peer in a folder of its own, to be trained in portions."""

    def __init__(self, images: Any, labels: Any, folder: Path, seed: int, network: nn.Module | None = None) -> None:
        """images uint8 [N, 28, 28, 1] and labels int64 [N] to train on; goes on from what the folder holds."""
        self.batches, self.folder, self.seed = Batches(images, labels, np.arange(len(images)), seed), folder, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = network or CourseNetwork()
        self.table, settled = DDPMScheduler(**TABLE), folder / "speed.json"
        if settled.exists():
            self.speed = Speed(**json.loads(settled.read_text(encoding="utf-8")))
        else:
            self.speed = self._fastest(network)
            write_text(settled, json.dumps(asdict(self.speed)) + "\n")
        if self.speed.threads != torch.get_num_threads():
            raise Refusal(f"{folder} began with threads: {self.speed.threads}, found {torch.get_num_threads()}")
        network = network.to(memory_format=self._format(self.speed))
        # AdamW without decay is the course's Adam.
        self.state = new_state(network, TrainingConfig(optimizer="adamw", learning_rate=RATE, weight_decay=0.0))
        for group in self.state.optimizers[0].param_groups:
            group["betas"] = (0.9, 0.999)
        if self._file.exists():
            load_state(self._file, self.state)

    @property
    def _file(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def precision(self) -> str:
        return "bfloat16 autocast" if self.speed.bfloat16 else "float32"

    def train_until(self, seconds: float) -> Iterator[None]:
        """Train up to so many seconds in all; hands back after each step. Saves each minute and at the end."""
        progress, saved_at = self.state.progress, time.monotonic()
        while progress.seconds < seconds:
            started = time.perf_counter()
            self._step()
            progress.seconds += time.perf_counter() - started
            if time.monotonic() - saved_at > SAVE_SECONDS:
                save_state(self._file, self.state)
                saved_at = time.monotonic()
            yield
        save_state(self._file, self.state)

    def _step(self) -> None:
        progress, network = self.state.progress, self.state.network
        batch = self.batches.at(progress.images_seen, BATCH)
        random = generator(self.seed, "peer", progress.images_seen)
        step = torch.randint(0, self.table.config.num_train_timesteps, (BATCH,), generator=random)
        noise = torch.empty_like(batch.images).normal_(generator=random)
        loss = self._loss(network, self.speed, batch.images, noise, step, batch.labels)
        (optimizer,) = self.state.optimizers
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress.images_seen += BATCH
        decay = ema_decay(progress.images_seen, BATCH, EMA.ema_halflife_images, EMA.ema_ramp)
        average_into(self.state.average, network, decay)

    def _loss(
        self, network: nn.Module, speed: Speed, clean: Tensor, noise: Tensor, step: Tensor, label: Tensor
    ) -> Tensor:
        noisy = self.table.add_noise(clean, noise, step).contiguous(memory_format=self._format(speed))
        with torch.autocast("cpu", torch.bfloat16, enabled=speed.bfloat16):
            guess = network(noisy, step, label)
        return F.mse_loss(guess.float(), noise)

    def _fastest(self, network: nn.Module) -> Speed:
        """The fastest of the ways to compute a batch's gradients: the best of three each, in turns, so that a busy
        moment of the machine meets all alike."""
        batch, step = self.batches.at(0, BATCH), torch.arange(BATCH)
        ways = [Speed(torch.get_num_threads(), *way) for way in itertools.product((False, True), repeat=2)]
        seconds: dict[Speed, list[float]] = {way: [] for way in ways}
        for way in ways * 4:
            network.to(memory_format=self._format(way))
            started = time.perf_counter()
            self._loss(network, way, batch.images, torch.zeros_like(batch.images), step, batch.labels).backward()
            seconds[way].append(time.perf_counter() - started)
        network.zero_grad(set_to_none=True)
        return min(ways, key=lambda way: min(seconds[way][1:]))  # the first warms up

    @staticmethod
    def _format(speed: Speed) -> torch.memory_format:
        return torch.channels_last if speed.channels_last else torch.contiguous_format

    @torch.inference_mode()
    def draw(self, per_class: int, seed: int, out: Path) -> dict[str, float]:
        """Draw digits of each class from the average into a sample file: seconds, and evaluations an image."""
        labels, started = torch.arange(10).repeat(per_class), time.perf_counter()
        pixels = []
        for first in range(0, len(labels), DRAW_BATCH):
            rows = labels[first : first + DRAW_BATCH]
            noise = ImageNoise(seed, "peer", range(first, first + len(rows)), (1, 28, 28)).draw()
            solver = DPMSolverMultistepScheduler(**TABLE, **DRAWING)
            solver.set_timesteps(STEPS)
            x = noise.contiguous(memory_format=self._format(self.speed))
            for step in solver.timesteps:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.speed.bfloat16):
                    guess = self.state.average(x, step.expand(len(x)), rows)
                x = solver.step(guess.float(), step, x).prev_sample
            pixels.append(to_uint8(x))
        seconds = time.perf_counter() - started
        with whole_file(out) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=np.concatenate(pixels), labels=labels.numpy())
        return {"seconds": seconds, "evaluations": float(STEPS)}

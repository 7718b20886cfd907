"""The training loop: a generator of events, the caller owns it.

Everything random is keyed by (seed, position), where a position counts the images seen by training: which batch or
process draws an image changes nothing, and a run that is stopped and resumed is the unbroken one bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from noisette.base.errors import NoisetteError
from noisette.base.processes import ALONE, Processes
from noisette.base.seeds import ImageNoise, generator, hash_seed
from noisette.base.shapes import NO_CLASS, Images, Labels
from noisette.diffusion.objective import Objective
from noisette.models.layers import key_dropout
from noisette.training.config import TrainingConfig
from noisette.training.ema import average_into, average_of, ema_decay
from noisette.training.optimizers import OPTIMIZERS
from noisette.training.rates import rate_share
from noisette.training.worker import Worker

BUCKETS = 8
GOLDEN = (math.sqrt(5) - 1) / 2


class Diverged(NoisetteError):
    """A loss or a gradient that is not finite."""


@runtime_checkable
class Batch(Protocol):
    """Images [B, C, H, W] in [-1, 1] and labels [B], with the position of each among the images seen."""

    @property
    def images(self) -> Images: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def position(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Stepped:
    """After an optimiser step: the batch's loss, the rate it was taken with, the gradient's norm before clipping."""

    images_seen: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Validated:
    """After a validation of the average: the mean loss, its mean in each bucket of noise levels, and what followed
    from it.

    bucket_edges: rising levels between which the buckets lie. There are BUCKETS, or fewer where too few images are held
    out to fill each.
    """

    images_seen: int
    loss: float
    bucket_losses: tuple[float, ...]
    bucket_edges: tuple[float, ...]
    is_best: bool
    rate_dropped: bool


@dataclass(frozen=True)
class Finished:
    """Training is over: at its horizon, or early."""

    images_seen: int
    reason: str


Event = Stepped | Validated | Finished


@dataclass
class Progress:
    """How far a run has come: plain numbers, all that resuming needs beside the tensors."""

    images_seen: int = 0
    seconds: float = 0.0
    validated_at: int = -1
    best_loss: float = math.inf
    best_images_seen: int = 0
    validations_since_best: int = 0
    validations_since_drop: int = 0
    rate_drops: float = 1.0


@dataclass
class TrainState:
    """The network in training, its average, its optimisers and the progress: what a checkpoint holds."""

    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    progress: Progress = field(default_factory=Progress)


def new_state(network: nn.Module, config: TrainingConfig) -> TrainState:
    """The state before the first image. The network is already initialised and on its device."""
    make = OPTIMIZERS[config.optimizer]
    optimizers = make(network, config.learning_rate, config.adamw_rate, config.weight_decay)
    for optimizer in optimizers:
        _allocate(optimizer)
    return TrainState(network, average_of(network), optimizers)


def _allocate(optimizer: torch.optim.Optimizer) -> None:
    """Make the optimiser hold its (zero) state before the first step, so that a state always has the same tensors."""
    for group in optimizer.param_groups:
        rate, group["lr"] = group["lr"], 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    for values in optimizer.state.values():
        for tensor in values.values():
            tensor.zero_()


def train(
    state: TrainState,
    objective: Objective,
    config: TrainingConfig,
    draw: Callable[[int, int], Batch],
    validation: Batch | None,
    precision: torch.dtype = torch.float32,
    clock: Callable[[], float] = time.perf_counter,
    processes: Processes = ALONE,
) -> Iterator[Event]:
    """Train `state` in place until the horizon or early stopping; yield an event after each step and validation.

    draw(images_seen, count) returns the images at those positions; validation is the held-out batch (None: there is
    none).
    The caller may stop between any two events and later go on from a saved state. Raises Diverged.

    Many processes that begin with the same state each draw their share of every batch, and the clock of the first is
    the time of all: each yields the same events and holds the same state after each. A batch must divide into
    accumulation times processes. Raises Lost when another has ended.
    """
    progress, device = state.progress, next(state.network.parameters()).device
    worker = Worker(state.network, precision, processes)
    while True:
        started = clock()
        done = config.share_done(progress.images_seen, progress.seconds)
        due = progress.images_seen // config.validate_every > max(0, progress.validated_at) // config.validate_every
        if validation is not None and (due or (done >= 1 and progress.validated_at != progress.images_seen)):
            validated = _validate(state, objective, config, validation, device, processes)
            (seconds,) = processes.total(clock() - started if processes.is_first else 0.0)
            progress.seconds += seconds
            yield validated
            continue
        if config.patience and progress.validations_since_best >= config.patience:
            yield Finished(progress.images_seen, f"no better validation loss in {config.patience} validations")
            return
        if done >= 1:
            yield Finished(progress.images_seen, "horizon reached")
            return
        mean, rate, norm = _step(state, worker, objective, config, draw, device, done, processes)
        loss, seconds = processes.total(mean / processes.count, clock() - started if processes.is_first else 0.0)
        progress.seconds += seconds
        yield Stepped(progress.images_seen, loss, rate, norm)


def _step(
    state: TrainState,
    worker: Worker,
    objective: Objective,
    config: TrainingConfig,
    draw: Callable[[int, int], Batch],
    device: torch.device,
    done: float,
    processes: Processes,
) -> tuple[float, float, float]:
    """One optimiser step: the mean loss of this process's share, the rate, the gradient's norm before clipping."""
    progress, part = state.progress, config.batch_size // (config.accumulation * processes.count)
    share = rate_share(config.rate, progress.images_seen, config.warmup_images, done, progress.rate_drops)
    worker.refresh()
    total = 0.0
    for number in range(config.accumulation):
        first = progress.images_seen + (number * processes.count + processes.rank) * part
        with worker.backward(last=number == config.accumulation - 1):
            losses = _losses(worker, objective, config, draw(first, part), device)
            loss = losses.sum() / (config.accumulation * part)
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    worker.hand_over_gradients()

    norm = nn.utils.get_total_norm([p.grad for p in state.network.parameters() if p.grad is not None])
    if not (math.isfinite(total) and bool(norm.isfinite())):  # before clipping, which would spread a NaN to all
        raise Diverged(_divergence(state, total, float(norm), config.batch_size))
    if config.gradient_clip:
        nn.utils.clip_grads_with_norm_(state.network.parameters(), config.gradient_clip, norm)
    peaks = (config.learning_rate, config.adamw_rate)
    for optimizer, peak in zip(state.optimizers, peaks, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = peak * share
        optimizer.step()

    progress.images_seen += config.batch_size
    decay = ema_decay(progress.images_seen, config.batch_size, config.ema_halflife_images, config.ema_ramp)
    average_into(state.average, state.network, decay)
    return total, config.learning_rate * share, float(norm)


def gradient_seconds(
    network: nn.Module, objective: Objective, config: TrainingConfig, batch: Batch, precision: torch.dtype
) -> float:
    """Seconds that the gradients of one batch take: the best of three, after one to warm up. Changes only `network`'s
    gradients."""
    worker, device = Worker(network, precision), next(network.parameters()).device
    best = math.inf
    for _ in range(4):
        started = time.perf_counter()
        worker.refresh()
        _losses(worker, objective, config, batch, device).mean().backward()  # type: ignore[no-untyped-call]
        worker.hand_over_gradients()
        float(next(network.parameters()).grad.sum())  # type: ignore[union-attr]  # waits for the device
        best = min(best, time.perf_counter() - started)
    return best


def _losses(worker: Worker, objective: Objective, config: TrainingConfig, batch: Batch, device: torch.device) -> Tensor:
    """The loss of each image, [B], with its level, noise, label drop and dropout drawn from its position."""
    label, levels, noise = draw_randomness(objective, config, batch)
    key_dropout(worker.copy, [hash_seed(config.seed, "dropout", position) for position in batch.position])
    clean = batch.images.to(device, non_blocking=True)
    return objective.per_image_loss(worker, clean, label.to(device), levels.to(clean), noise.to(clean))


def draw_randomness(objective: Objective, config: TrainingConfig, batch: Batch) -> tuple[Labels, Tensor, Images]:
    """What training draws for a batch, on the CPU: labels after the drop [B], noise levels [B], noise [B, C, H, W].

    Levels come from a low-discrepancy sequence (Kingma et al. 2021, appendix I.1): consecutive positions step by the
    golden ratio through the levels' distribution, so that each batch covers it evenly, however batches are cut.
    """
    offset = torch.rand((), dtype=torch.float64, generator=generator(config.seed, "levels")).item()
    positions = torch.tensor(list(batch.position), dtype=torch.float64)
    levels = objective.draw_levels((offset + positions * GOLDEN).remainder(1.0)).float()
    noise, drops = torch.empty(batch.images.shape), torch.empty(len(batch.position))
    for row, position in enumerate(batch.position):
        stream = generator(config.seed, "training", position)
        drops[row] = torch.rand((), generator=stream)
        noise[row].normal_(generator=stream)
    label = batch.labels.masked_fill(drops < config.label_drop, NO_CLASS)
    return label, levels, noise


@torch.no_grad()
def _validate(
    state: TrainState,
    objective: Objective,
    config: TrainingConfig,
    held_out: Batch,
    device: torch.device,
    processes: Processes,
) -> Validated:
    """The average's loss on the held-out images at fixed levels with fixed noise; updates best, patience and
    plateau. Raises NoisetteError when the processes no longer hold the same weights."""
    if not processes.agree(lambda: _checksum(state)):
        raise NoisetteError(
            f"after {state.progress.images_seen} images the weights differ between the processes, so none is right: "
            "expected machines and libraries that compute alike"
        )
    count = len(held_out.position)
    share = (torch.arange(count, dtype=torch.float64) * GOLDEN + 0.5).remainder(1.0)
    levels = objective.draw_levels(share).float()
    losses = torch.zeros(count, dtype=torch.float64)
    own, end = (count * rank // processes.count for rank in (processes.rank, processes.rank + 1))
    for first in range(own, end, 256):
        rows = slice(first, min(first + 256, end))
        clean, label = held_out.images[rows], held_out.labels[rows]
        noise = ImageNoise(config.seed, "validation", held_out.position[rows], clean.shape[1:]).draw()
        losses[rows] = objective.per_image_loss(
            state.average, clean.to(device), label.to(device), levels[rows].to(device), noise.to(device)
        ).cpu()
    processes.add(losses)  # zero where another process has looked
    number = next(count for count in range(BUCKETS, 0, -1) if len(torch.unique((share * count).long())) == count)
    bucket = (share * number).long()
    buckets = tuple(float(losses[bucket == place].mean()) for place in range(number))
    edges = objective.draw_levels(torch.arange(number + 1, dtype=torch.float64) / number)
    if edges[0] > edges[-1]:  # a table falls
        edges, buckets = edges.flip(0), buckets[::-1]
    loss, seen = float(losses.mean()), state.progress.images_seen
    if not math.isfinite(loss):
        raise Diverged(f"validation after {seen} images: loss {loss}, of the average of the weights")
    is_best, dropped = _judge(state.progress, config, loss)
    return Validated(seen, loss, buckets, tuple(edges.tolist()), is_best, dropped)


def _checksum(state: TrainState) -> int:
    """The bits of the weights and of their average in one number, the same wherever they are the same."""
    total = torch.zeros((), dtype=torch.int64)
    for number, parameter in enumerate([*state.network.parameters(), *state.average.parameters()], start=1):
        bits = parameter.detach().view(torch.int32 if parameter.element_size() == 4 else torch.int64)
        total += number * bits.sum(dtype=torch.int64).cpu()
    return int(total)


def _judge(progress: Progress, config: TrainingConfig, loss: float) -> tuple[bool, bool]:
    """Note a validation loss: (whether it is the best, whether the plateau rate drops)."""
    progress.validated_at = progress.images_seen
    if loss < progress.best_loss:
        progress.best_loss, progress.best_images_seen = loss, progress.images_seen
        progress.validations_since_best = progress.validations_since_drop = 0
        return True, False
    progress.validations_since_best += 1
    progress.validations_since_drop += 1
    dropped = config.rate == "plateau" and progress.validations_since_drop >= config.plateau_patience
    if dropped:
        progress.rate_drops *= config.plateau_factor
        progress.validations_since_drop = 0
    return False, dropped


def _divergence(state: TrainState, loss: float, norm: float, batch_size: int) -> str:
    """One line that names the batch and the first parameter that is not finite, or whose gradient is not."""
    seen = state.progress.images_seen
    at = f"images {seen} to {seen + batch_size - 1}"
    told = f"training diverged at {at}: loss {loss}, gradient norm {norm}"
    parameters = dict(state.network.named_parameters())  # values first: one bad value spoils every gradient
    values = [("value", name, parameter) for name, parameter in parameters.items()]
    gradients = [("gradient", name, p.grad) for name, p in parameters.items() if p.grad is not None]
    for what, name, value in [*values, *gradients]:
        if not bool(value.isfinite().all()):
            return f"{told}; first bad {what}: parameter {name}"
    return f"{told}; every parameter is finite"

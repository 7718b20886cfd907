"""What is tried out on the user's own images and weights: the only part of the doctor that computes."""

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from noisette.base.seeds import ImageNoise, generator
from noisette.base.shapes import Images, Labels
from noisette.data.batches import Batch
from noisette.data.images import ImageData, to_model
from noisette.data.split import Index
from noisette.diffusion.objective import LOSS_WEIGHTS, DiffusionConfig, Objective
from noisette.models.unet import UNet
from noisette.training.loop import GOLDEN, Diverged, Stepped, new_state, train
from noisette.weights.model_file import ModelSpec
from noisette.workflows.doctor.evidence import Measured, Neighbours, Numbers, Overfit
from noisette.workflows.recipes import RunConfig

MEASURED = 128
"""Images of each kind whose loss is measured."""
NEIGHBOURS, AGREE = 10, 8
KNOWN, ASKED = 2000, 500
"""Training images among which the neighbours of so many held-out images are sought, at most."""
FEWEST_OF_A_CLASS = 10
VALUES_READ = 2**22
SIDE = 14
"""Images are compared at most this large."""
OVERFIT_STEPS, OVERFIT_IMAGES = 200, 8


def evenly(rows: Index, most: int) -> Index:
    """At most `most` of the rows, evenly spaced."""
    return rows[:: max(1, math.ceil(len(rows) / most))]


# Data ---------------------------------------------------------------------------------------------


def values(data: ImageData) -> tuple[int, ...]:
    """The pixel values of at most VALUES_READ pixels, in images that are evenly spread."""
    rows = evenly(np.arange(len(data.images)), max(1, VALUES_READ // math.prod(data.images.shape[1:])))
    return tuple(np.unique(data.images[rows]).tolist())


def neighbours(data: ImageData, train: Index, held_out: Index) -> Neighbours | None:
    """Ask the nearest training images for the labels of held-out ones, as many of each class.

    None where a class would have fewer than FEWEST_OF_A_CLASS images among them.
    """
    classes = [label for label in range(len(data.classes)) if (data.labels[train] == label).any()]
    if len(classes) < 2:
        return None

    def of_each(rows: Index, most: int) -> Index:
        members = [rows[data.labels[rows] == label] for label in classes]
        count = min(most // len(classes), *(len(rows) for rows in members))
        return np.concatenate([own[np.linspace(0, len(own) - 1, count).round().astype(int)] for own in members])

    known, asked = of_each(train, KNOWN), of_each(held_out, ASKED)
    if len(known) < FEWEST_OF_A_CLASS * len(classes) or len(asked) < max(50, len(classes)):
        return None
    known_labels, asked_labels = (torch.from_numpy(data.labels[rows].copy()) for rows in (known, asked))
    own, other = _small(data, known), _small(data, asked)  # [K, P], [A, P]
    near = known_labels[torch.cdist(other, own).topk(NEIGHBOURS, largest=False).indices]  # [A, 10]
    means = torch.stack([own[known_labels == label].mean(0) for label in classes])
    by_mean = torch.tensor(classes)[torch.cdist(other, means).argmin(1)]
    right = max(float((guess == asked_labels).double().mean()) for guess in (near[:, 0], by_mean))
    looks = near.mode(1).values
    agreed = (near == looks[:, None]).sum(1) >= AGREE
    against = agreed & (looks != asked_labels)
    pairs = Counter(zip(asked_labels[against].tolist(), looks[against].tolist(), strict=True)).most_common()
    named = tuple((data.classes[bears], data.classes[other], count) for (bears, other), count in pairs)
    return Neighbours(len(asked), right, 1 / len(classes), int(agreed.sum()), int(against.sum()), named)


def _small(data: ImageData, rows: Index) -> Tensor:
    """Images as vectors of at most SIDE x SIDE pixels a channel, [N, P]."""
    size = min(SIDE, data.images.shape[1]), min(SIDE, data.images.shape[2])
    parts = [to_model(data.images[rows[first : first + 64]]) for first in range(0, len(rows), 64)]
    return torch.cat([nn.functional.adaptive_avg_pool2d(part, size).flatten(1) for part in parts])


# Losses -------------------------------------------------------------------------------------------


def trivial_loss(diffusion: DiffusionConfig, std: float) -> float:
    """The loss of the best denoiser that knows only that pixels have standard deviation `std`, at the levels of
    training: its squared error at level sigma is std^2 sigma^2 / (std^2 + sigma^2)."""
    objective = Objective(dataclasses.replace(diffusion, data_std=diffusion.data_std or std))
    share = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    sigma = objective.draw_levels(share)
    weight = LOSS_WEIGHTS[diffusion.loss_weight](sigma, objective.config, objective.data_std)
    return float((weight * std**2 * sigma**2 / (std**2 + sigma**2)).mean())


@torch.no_grad()
def losses(network: UNet, objective: Objective, images: Images, labels: Labels) -> Numbers:
    """The loss of each image, [N]: evenly spread levels and keyed noise, the same for every network."""
    device = next(network.parameters()).device
    share = (torch.arange(len(images), dtype=torch.float64) * GOLDEN + 0.5).remainder(1.0)
    levels = objective.draw_levels(share).float()
    noise = ImageNoise(0, "doctor", range(len(images)), images.shape[1:]).draw()
    found = [
        objective.per_image_loss(network, *(part[rows].to(device) for part in (images, labels, levels, noise)))
        for rows in (slice(first, first + 64) for first in range(0, len(images), 64))
    ]
    return torch.cat(found).double().cpu().numpy()


def measure(
    spec: ModelSpec, average: UNet, raw: UNet | None, data: ImageData, train: Index, held_out: Index, born: UNet | None
) -> Measured:
    """Losses of the saved weights on held-out images (where there are none, on training images), and on training ones.

    born: the network before its first step, on the CPU, where it can be made again.
    """
    objective = Objective(spec.diffusion)

    def some(rows: Index) -> tuple[Images, Labels]:
        chosen = evenly(rows, MEASURED)
        return to_model(data.images[chosen]), torch.from_numpy(data.labels[chosen].copy())

    seen, unseen = some(train), some(held_out if len(held_out) else train)
    rounded = copy.deepcopy(average).to(torch.bfloat16)
    return Measured(
        losses(average, objective, *unseen),
        losses(raw, objective, *unseen) if raw is not None else None,
        losses(rounded, objective, *unseen),
        losses(average, objective, *seen),
        _moved(raw, born) if raw is not None and born is not None else None,
    )


def _moved(network: UNet, born: UNet) -> float:
    pairs = list(zip(network.parameters(), born.parameters(), strict=True))
    way = sum(float((now.detach().cpu() - then.detach()).square().sum()) for now, then in pairs)
    return math.sqrt(way / sum(float(then.detach().square().sum()) for _, then in pairs))


def first_bad(network: nn.Module) -> str | None:
    """The first parameter with a value that is not finite."""
    return next((name for name, value in network.named_parameters() if not bool(value.isfinite().all())), None)


def overfit(
    spec: ModelSpec,
    config: RunConfig,
    data: ImageData,
    train_rows: Index,
    device: torch.device,
    say: Callable[[str], None],
) -> Overfit:
    """Train a new network on OVERFIT_IMAGES images for OVERFIT_STEPS steps, always with the same noise and levels."""
    rows = evenly(train_rows, OVERFIT_IMAGES)
    count = len(rows)
    batch = Batch(to_model(data.images[rows]), torch.from_numpy(data.labels[rows].copy()), range(count))
    training = dataclasses.replace(
        config.training,
        images=OVERFIT_STEPS * count,
        minutes=None,
        batch_size=count,
        accumulation=1,
        warmup_images=0,
        rate="constant",
        patience=0,
    )
    network = spec.new_network()
    network.initialise(generator(training.seed, "weights"))
    found: list[float] = []
    try:
        for event in train(
            new_state(network.to(device), training), Objective(spec.diffusion), training, lambda *_: batch, None
        ):
            if isinstance(event, Stepped):
                found.append(event.loss)
                say(f"one-batch overfit test: step {len(found)} of {OVERFIT_STEPS}, loss {event.loss:.4g}")
    except Diverged:
        return Overfit(len(found) + 1, count, found[0] if found else math.inf, math.inf)
    return Overfit(OVERFIT_STEPS, count, found[0], float(np.mean(found[-OVERFIT_STEPS // 10 :])))

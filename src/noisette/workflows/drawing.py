"""Drawing: the pixels of some images, what that took, and the film of it."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from noisette.base.shapes import Images
from noisette.data.images import to_uint8
from noisette.diffusion.noise import unit_variance
from noisette.diffusion.sample import Snapshot
from noisette.report.pictures import Pixels, columns_for, film_moments, grid_picture, save_film
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model

FILM_IMAGES, FILM_WIDTH = 100, 300
"""A film shows at most the first so many images; each half is enlarged to at most about so many pixels."""


@dataclass(frozen=True)
class Sampled:
    """What was drawn. seconds: of drawing alone; evaluations: times that the network saw each image. Of a folder
    besides: before, images that were there; left, images that are still to be drawn."""

    images: int
    seconds: float
    evaluations: float
    before: int = 0
    left: int = 0


def draw_pixels(
    model: Model,
    labels: Sequence[int],
    seed: int,
    index: Sequence[int],
    sampling: SamplingConfig,
    progress: Callable[[float, int], None] | None = None,
    watch: Callable[[Snapshot, int], None] = lambda snapshot, drawn: None,
    clean: Images | None = None,
    first: int = 0,
) -> tuple[Pixels, Sampled]:
    """Draw image index[i] of the seed for the i-th label: pixels [N, H, W, C], and what it took.

    progress is told (images done, images in all) after each step; watch is handed each snapshot, and how many images
    were drawn before its batch. clean, first: as in `Model.snapshots`.
    """
    pixels: list[Pixels] = []
    started, drawn = time.perf_counter(), 0
    with _Counter(model.file.network) as counter:
        for batch in model.batches(labels, seed, index, sampling, clean, first):
            for snapshot in batch:
                watch(snapshot, drawn)
                if progress is not None:
                    progress(drawn + len(snapshot.noisy) * snapshot.step / snapshot.steps, len(labels))
            pixels.append(to_uint8(snapshot.denoised))
            drawn += len(pixels[-1])
    images = np.concatenate(pixels)
    return images, Sampled(len(images), time.perf_counter() - started, counter.rows / len(images))


class _Counter:
    """Counts the rows that pass through a network."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.rows = network, 0

    def __enter__(self) -> "_Counter":
        self.hook = self.network.register_forward_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _count(self, network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.rows += len(output)


class Film:
    """Gathers, at the moments of a film of so many steps, the noisy images and the estimates of every batch."""

    def __init__(self, steps: int) -> None:
        self.moments = film_moments(steps)
        self.halves: dict[int, list[tuple[Pixels, Pixels]]] = defaultdict(list)

    def take(self, snapshot: Snapshot, drawn: int) -> None:
        """Keep a snapshot of the batch that begins with image `drawn`, if the film shows it."""
        if snapshot.step in self.moments and drawn < FILM_IMAGES:
            noisy = unit_variance(snapshot.noisy, snapshot.noise_level)
            self.halves[snapshot.step].append((to_uint8(noisy), to_uint8(snapshot.denoised)))

    def save(self, path: Path, images: int, classes: int) -> None:
        """Write the film of a drawing of so many images: noisy on the left, the estimates on the right."""
        columns = columns_for(min(images, FILM_IMAGES), classes)
        save_film([_frame(self.halves[moment], columns) for moment in sorted(self.halves)], path)


def _frame(batches: Sequence[tuple[Pixels, Pixels]], columns: int) -> Image.Image:
    sides = (np.concatenate(side)[:FILM_IMAGES] for side in zip(*batches, strict=True))
    left, right = (grid_picture(side, columns, zoom=max(1, FILM_WIDTH // (columns * side.shape[2]))) for side in sides)
    frame = Image.new(left.mode, (left.width + right.width, left.height))
    frame.paste(left, (0, 0))
    frame.paste(right, (left.width, 0))
    return frame

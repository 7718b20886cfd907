"""The order in which training sees images: fixed by (seed, images seen), so any process draws any batch."""

import mmap
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noisette.base.config import require
from noisette.base.seeds import generator
from noisette.base.shapes import Images, Labels
from noisette.data.augment import NONE, Augmentation, augmented


@dataclass(frozen=True, eq=False)
class Batch:
    """Images for one step, each with its place in the whole run."""

    images: Images  # float32 [B, C, H, W] in [-1, 1], channels-last in memory
    labels: Labels  # int64 [B]
    position: range  # the count of images seen before each: keys its noise, level and label drop


class Batches:
    """Some images of a set, its `rows`, in an endless seeded order: position p is element p % N of epoch p // N, a
    permutation of N rows.

    The order depends neither on the batch size nor on where a run was interrupted. Pixels stay where they are, uint8
    [M, H, W, C], on the disk if they are mapped from it; they are altered and scaled when drawn. Raises Refusal for no
    rows or arrays that don't fit.
    """

    def __init__(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        rows: npt.NDArray[Any],
        seed: int,
        augmentation: Augmentation = NONE,
    ) -> None:
        require(
            images.dtype == np.uint8 and images.ndim == 4 and images.size > 0,
            f"images are {images.dtype} {list(images.shape)}",
            "uint8 [N, H, W, C] with at least one",
        )
        require(
            labels.shape == images.shape[:1] and labels.dtype == np.int64,
            f"labels are {labels.dtype} {list(labels.shape)}",
            f"int64 [{len(images)}], one an image",
        )
        require(
            rows.ndim == 1
            and rows.dtype == np.int64
            and len(rows) > 0
            and bool(rows.min() >= 0 and rows.max() < len(images)),
            f"rows are {rows.dtype} {list(rows.shape)}",
            f"int64 [N] with at least one, each from 0 to {len(images) - 1}",
        )
        require(
            augmentation.shift < min(images.shape[1:3]),
            f"shift {augmentation.shift} for images of {images.shape[1]} x {images.shape[2]}",
            "fewer pixels than either side has",
        )
        self.images, self.labels, self.rows, self.seed = images, labels, rows, seed
        self.augmentation = augmentation
        if sys.platform != "win32" and isinstance(images.base, mmap.mmap):
            # They are drawn here and there: to read on from each would fetch a hundred times what is wanted.
            images.base.madvise(mmap.MADV_RANDOM)
        self._current: tuple[int, npt.NDArray[np.int64]] = (
            -1,
            np.empty(0, np.int64),
        )  # an epoch and its order

    def __len__(self) -> int:
        """Images in an epoch."""
        return len(self.rows)

    def at(self, images_seen: int, count: int) -> Batch:
        """The batch of positions images_seen .. images_seen + count - 1; it may straddle epochs."""
        require(images_seen >= 0, f"images_seen {images_seen}", "0 or more")
        require(count >= 1, f"batch of {count}", "1 or more")
        position = range(images_seen, images_seen + count)
        index = self._index(position)
        images = augmented(self.images[index], position, self.seed, self.augmentation)
        return Batch(images, torch.from_numpy(self.labels[index]), position)

    def _index(self, position: range) -> npt.NDArray[np.int64]:
        """Which image of the set stands at each position, [B]."""
        pieces = []
        seen = position.start
        while seen < position.stop:
            epoch, first = divmod(seen, len(self))
            piece = self._order(epoch)[first : first + position.stop - seen]
            pieces.append(piece)
            seen += len(piece)
        return self.rows[np.concatenate(pieces)]

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The permutation of one epoch, [N]."""
        cached, order = self._current  # one read and one write: threads may draw at once
        if cached != epoch:
            order = torch.randperm(len(self), generator=generator(self.seed, "order", epoch)).numpy()
            self._current = (epoch, order)
        return order

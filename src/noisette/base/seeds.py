"""One seed, one picture: every random draw is keyed by what it is for, never by a global generator.

Noise is drawn on the CPU from a hash of (seed, purpose, image index), so that an image is the same at any batch
size, on any number of processes and on any device up to rounding.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def hash_seed(*key: int | str) -> int:
    """A 63-bit seed from a key such as `(seed, "sample", index)`; `(0, 1)` and `(1, 0)` differ."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(hash_seed(*key))


class ImageNoise:
    """Standard normal noise for a batch, each image from a stream of its own.

    `draw()` returns the next [B, *shape] float32 tensor. The n-th draw of image i depends on (seed, purpose, i, n)
    alone: not on the batch it is drawn in.
    """

    def __init__(self, seed: int, purpose: str, indices: Sequence[int], shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._streams = [generator(seed, purpose, int(index)) for index in indices]

    def draw(self) -> Tensor:
        """The next noise of every image, [B, *shape], float32 on the CPU."""
        noise = torch.empty(len(self._streams), *self.shape)
        for row, stream in zip(noise, self._streams, strict=True):
            row.normal_(generator=stream)
        return noise

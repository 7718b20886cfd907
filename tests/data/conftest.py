import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisette.data.images import ImageData


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def as_idx() -> Callable[[np.ndarray], bytes]:
    """An array of bytes as the content of an IDX file."""
    return idx_bytes


@pytest.fixture
def write_mnist() -> Callable[..., None]:
    """Write a folder like MNIST's: images uint8 [N, H, W] and their labels."""

    def write(folder: Path, images, labels, part: str = "train", zipped: bool = True, dot: str = "-") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = {"train": "train", "test": "t10k"}[part]
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            name, content = f"{stem}-{what}-ubyte".replace("-idx", f"{dot}idx"), idx_bytes(np.asarray(array))
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)

    return write


@pytest.fixture
def digits() -> Callable[..., ImageData]:
    """Random images, a data set without any fault unless one is planted."""

    def make(per_class: int = 20, classes: int = 3, shape: tuple[int, ...] = (5, 4, 1), seed: int = 0) -> ImageData:
        count = per_class * classes
        images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % classes
        return ImageData("digits", images, labels, tuple("abcdefghij"[:classes]), "made up")

    return make

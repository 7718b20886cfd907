"""The IDX files that MNIST and its relatives come in: each is exactly what its header says, or refused.

An IDX file is `0 0 8 D` (8: unsigned bytes, D: number of axes), D big-endian 32-bit sizes, then the bytes.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisette.base.errors import Refusal, one_line
from noisette.base.files import existing_file

LARGEST = 2**30
"""Bytes of pixels that a header may announce: twenty times MNIST."""

_GZIP = b"\x1f\x8b"
_CHUNK = 2**20


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzipped or not (told by its content, not by its name).

    `axes` is the number of axes expected. Raises Refusal for anything but one whole array of at least one
    element, and never inflates more than one byte past what the header announces.
    """
    path = existing_file(path, "IDX file")
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP
            file.seek(0)
            stored = path.stat().st_size
            if not compressed:
                return _read(file, path, axes, most=stored)
            with gzip.open(file) as inflated:
                # Deflate cannot shrink below 1 byte in 1032: a header that announces more is false.
                return _read(inflated, path, axes, most=1032 * stored)
    except (EOFError, zlib.error, OSError) as error:
        raise Refusal(f"{path} cannot be read: {one_line(error)}") from error


def _read(file: io.BufferedIOBase, path: Path, axes: int, most: int) -> npt.NDArray[np.uint8]:
    """The array behind an open file that can hold `most` bytes at best."""
    header, magic = file.read(4 + 4 * axes), bytes((0, 0, 8, axes))
    if header[:4] != magic:
        raise Refusal(f"{path} begins with {header[:4].hex(' ') or 'nothing'}: expected IDX's {magic.hex(' ')}")
    if len(header) != 4 + 4 * axes:
        raise Refusal(f"{path} ends within its header")
    shape = struct.unpack(f">{axes}I", header[4:])
    size = math.prod(shape)
    sizes = " x ".join(map(str, shape))
    if size == 0 or size > LARGEST:
        raise Refusal(f"{path} announces {sizes} bytes: expected between 1 and {LARGEST:,}")
    if size > most:
        raise Refusal(f"{path} announces {sizes} bytes but is too short to hold them")
    pixels = bytearray()
    # One byte more than announced is asked for: it tells trailing bytes, and makes gzip compare its checksum.
    while more := file.read(min(_CHUNK, size + 1 - len(pixels))):
        pixels += more
    if len(pixels) != size:
        found = "more" if len(pixels) > size else f"{len(pixels):,}"
        raise Refusal(f"{path} announces {sizes} = {size:,} bytes and holds {found}")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def read_labelled(images: Path, labels: Path, classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Grey images uint8 [N, H, W, 1] and their labels int64 [N], each in 0..classes-1, from two IDX files."""
    pixels, numbers = read_idx(images, axes=3), read_idx(labels, axes=1)
    if len(pixels) != len(numbers):
        raise Refusal(f"{images} holds {len(pixels):,} images but {labels} holds {len(numbers):,} labels")
    if int(numbers.max()) >= classes:
        raise Refusal(f"{labels} holds label {numbers.max()}: expected 0 to {classes - 1}")
    return pixels[..., None], numbers.astype(np.int64)

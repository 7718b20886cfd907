"""Data sets that were decoded once and lie on the disk, memory-mapped: larger than memory, and at hand at once.

An entry of the cache is a folder: `pixels` (uint8 [N, H, W, C], as they stand), `labels` (int64 [N]) and `entry.json`,
which says their sizes. It is filled under another name and renamed when it is whole.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import cache_folder, remove_abandoned, whole_folder, writing
from noisette.base.text_file import read_json

FORMAT = "noisette-set-1"

Chunk = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def cached(
    key: str, name: str, count: int, shape: tuple[int, int, int], rows: Callable[[], Iterable[Chunk]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels uint8 [N, H, W, C], read-only and mapped from the disk, and labels int64 [N] of the entry `key`.

    `key` is a hex digest of all that decides the content. Where there is no such entry it is filled from `rows()`,
    which yields pixels [n, *shape] and labels [n], at most `count` in all; no more than one chunk is in memory. Several
    processes may fill the same entry at once: the first that is done wins. Raises NoisetteError when the disk refuses.
    """
    entry = cache_folder("sets") / key
    if not _is_whole(entry):
        with writing(entry):
            _make_room(entry)
        try:
            with whole_folder(entry) as filling:
                _fill(filling, name, count, shape, rows())
        except NoisetteError:
            if not _is_whole(entry):  # else another process has been faster
                raise
    return _opened(entry)


def _fill(folder: Path, name: str, count: int, shape: tuple[int, int, int], rows: Iterable[Chunk]) -> None:
    written = 0
    with (folder / "pixels").open("wb") as pixels, (folder / "labels").open("wb") as labels:
        for images, numbers in rows:
            assert images.dtype == np.uint8
            assert images.shape == (len(numbers), *shape)
            assert numbers.dtype == np.int64
            written += len(images)
            assert written <= count
            pixels.write(np.ascontiguousarray(images).data)
            labels.write(np.ascontiguousarray(numbers, "<i8").data)
    facts = {"format": FORMAT, "name": name, "shape": [written, *shape]}
    (folder / "entry.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _make_room(entry: Path) -> None:
    """Remove what is damaged, and what killed processes left. Others may be filling or removing beside this one."""
    if entry.exists() and not _is_whole(entry):  # asked anew: another process may just have put it there
        shutil.rmtree(entry, ignore_errors=True)
    remove_abandoned(entry.parent)


def _is_whole(entry: Path) -> bool:
    """Whether the entry is there and its files have the sizes that it says."""
    try:
        shape = _shape(entry)
        sizes = [(entry / name).stat().st_size for name in ("pixels", "labels")]
    except (OSError, Refusal, ValueError, KeyError, TypeError):
        return False
    return sizes == [math.prod(shape), 8 * shape[0]]


def _shape(entry: Path) -> tuple[int, int, int, int]:
    facts = read_json(entry / "entry.json", "entry")
    count, height, width, channels = facts["shape"]
    if facts["format"] != FORMAT or any(type(size) is not int or size < 0 for size in facts["shape"]):
        raise ValueError("another format")
    return count, height, width, channels


def _opened(entry: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    shape = _shape(entry)
    labels = np.fromfile(entry / "labels", "<i8").astype(np.int64, copy=False)
    if math.prod(shape) == 0:  # nothing can be mapped
        return np.empty(shape, np.uint8), labels
    return np.memmap(entry / "pixels", np.uint8, "r", shape=shape), labels

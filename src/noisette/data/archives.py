"""An .npz file of images and labels, read as a stream: neither its size nor what it claims costs memory."""

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noisette.base.array_file import ALWAYS, TIMES, read_header
from noisette.base.config import require
from noisette.base.errors import NoisetteError, Refusal, one_line, unknown
from noisette.base.files import existing_file
from noisette.base.names import class_name, class_table
from noisette.base.progress import Progress
from noisette.base.shapes import NO_CLASS
from noisette.data.arrays import ArraySet, brought
from noisette.data.form import Form
from noisette.data.images import ImageData, NoTestPart

IMAGES, LABELS, CLASSES = "images", "labels", "classes"
LARGEST_TABLE = 2**30
"""Bytes of labels or of class names, which are read whole."""

AT_A_TIME = 2**22
"""Bytes of pixels read at a time."""


def read_archive(name: str, part: str, form: Form, progress: Progress) -> ImageData:
    """The arrays `images`, `labels` and `classes` (the latter two optional) in the file `name`.

    images: uint8 [N, H, W] or [N, H, W, C], C from 1 to 4, the last of 2 or 4 being opacity. labels: whole numbers, or
    class names, [N]; all -1 as without them: of no class. classes: the name of each label. Raises Refusal for anything
    else, NoTestPart for its test part.
    """
    path = existing_file(name, ".npz file")
    if part == "test":
        raise NoTestPart(f"{name} has no test part: use its validation split")
    with _refused(name), zipfile.ZipFile(path) as archive:
        members = [member.filename.removesuffix(".npy") for member in archive.infolist()]
        require(
            IMAGES in members, f"{name} holds {', '.join(members[:10]) or 'nothing'}", "the arrays images and labels"
        )
        with _member(archive, IMAGES) as images:
            shape = _image_shape(images, name)
        labels = _whole(archive, LABELS) if LABELS in members else None
        table = _whole(archive, CLASSES) if CLASSES in members else None
        numbers, classes = _numbered(labels, table, shape[0], name)
    found = path.stat()
    digest = hashlib.sha256(json.dumps([found.st_size, found.st_mtime_ns, classes]).encode() + numbers.tobytes())

    def chunks() -> Iterator[npt.NDArray[np.uint8]]:
        with _refused(name), zipfile.ZipFile(path) as archive, _member(archive, IMAGES) as images:
            each = math.prod(shape[1:])
            for start in range(0, shape[0], max(1, AT_A_TIME // each)):
                count = min(max(1, AT_A_TIME // each), shape[0] - start)
                yield np.frombuffer(images.take(count * each), np.uint8).reshape(count, *shape[1:])
            images.end()

    source = f"the arrays {name}"
    return brought(ArraySet(name, source, classes, digest.hexdigest(), numbers, shape, chunks), form, progress)


# The arrays of an archive -------------------------------------------------------------------------


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """What zipfile and numpy raise for a damaged archive becomes Refusal."""
    try:
        yield
    except NoisetteError:
        raise
    except Exception as error:  # of many kinds, for any byte may be wrong
        raise Refusal(f"{name} is not a readable .npz file: {one_line(error)}") from error


@dataclass(frozen=True, eq=False)
class _Member:
    """An array whose header was read and agrees with the size of its file."""

    read: Callable[[int], bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def take(self, size: int) -> bytearray:
        """The next `size` bytes."""
        found = bytearray()
        while more := self.read(size - len(found)):
            found += more
        if len(found) < size:
            raise EOFError("it ends within an array")
        return found

    def end(self) -> None:
        """Nothing follows; the archive's checksum is compared."""
        if self.read(1):
            raise ValueError("bytes follow an array")


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[_Member]:
    stored = archive.getinfo(f"{name}.npy")
    if stored.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed in another way than numpy's")
    with archive.open(stored) as file:
        shape, by_columns, dtype = read_header(file, stored)
        if by_columns and len(shape) > 1:
            raise ValueError(f"{name} is stored column by column: save np.ascontiguousarray of it")
        size, most = stored.file_size, max(ALWAYS, TIMES * stored.compress_size)
        if size > most:
            raise ValueError(f"{name} announces {size:,} bytes: expected at most {most:,} of {stored.compress_size:,}")
        yield _Member(file.read, shape, dtype)


def _whole(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """A small array."""
    with _member(archive, name) as member:
        size = math.prod(member.shape) * member.dtype.itemsize
        require(size <= LARGEST_TABLE, f"{name} of {size:,} bytes", f"at most {LARGEST_TABLE:,}")
        content = member.take(size)
        member.end()
        return np.frombuffer(content, member.dtype).reshape(member.shape)


def _image_shape(images: _Member, name: str) -> tuple[int, ...]:
    shape, found = images.shape, f"{name}: images are {images.dtype} {list(images.shape)}"
    expected = "uint8 (0 to 255), [N, H, W] or [N, H, W, C] with C from 1 to 4"
    require(images.dtype == np.uint8 and len(shape) in (3, 4) and 0 not in shape, found, expected)
    require(len(shape) == 3 or shape[3] <= 4, found, f"{expected}, the channels last")
    return shape


def _numbered(
    labels: npt.NDArray[Any] | None, table: npt.NDArray[Any] | None, count: int, name: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The labels as places in the class names, int64 [N], and these."""
    given = None if table is None else tuple(class_name(str(text), name) for text in _texts(table, CLASSES, name))
    if labels is None or (labels.dtype.kind == "i" and labels.size > 0 and bool((labels == NO_CLASS).all())):
        require(given is None, f"{name}: classes without labels", "both, or neither")
        return np.full(count, NO_CLASS, np.int64), ()
    require(labels.shape == (count,), f"{name}: labels {list(labels.shape)}", f"[{count}], one an image")
    values, places = np.unique(labels, return_inverse=True)
    if labels.dtype.kind in "iu":
        low, high = int(values[0]), int(values[-1])
        require(low >= 0, f"{name}: labels {low} to {high}", "0 or more, or -1 for all")
        if given is not None:
            require(high < len(given), f"{name}: labels {low} to {high}", f"0 to {len(given) - 1}, by its classes")
            return labels.astype(np.int64), given
        names = [str(value) for value in values]
    else:
        names = [class_name(text, name) for text in _texts(values, LABELS, name)]
    classes = given or class_table(names, name)
    numbers = {text: number for number, text in enumerate(classes)}
    for text in names:
        if text not in numbers:
            raise Refusal(f"{name}: {unknown('label', text, classes)}")
    return np.array([numbers[text] for text in names], np.int64)[places], classes


def _texts(array: npt.NDArray[Any], what: str, name: str) -> list[str]:
    require(
        array.ndim == 1 and array.dtype.kind in "US",
        f"{name}: {what} are {array.dtype} {list(array.shape)}",
        "a list of names" if what == CLASSES else "whole numbers or names",
    )
    return [text.decode() if isinstance(text, bytes) else text for text in array.tolist()]

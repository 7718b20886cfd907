"""Images that come as arrays of one size, brought into another form."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisette.base.progress import Progress
from noisette.data.cache import cached
from noisette.data.form import AS_IT_IS, Fit, Form, Header, Headers, Shape, settle, told
from noisette.data.images import ImageData
from noisette.data.pictures import fitted, opaque

FORMAT = "noisette-arrays-1"
"""Of what they become. Raise it when that is done in another way: what was kept is then passed over."""

AT_A_TIME = 2**22
"""Bytes of pixels held at a time."""

Chunk = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ArraySet:
    """What a reader has found."""

    name: str
    source: str
    classes: tuple[str, ...]
    digest: str
    """Hex; of all that decides pixels and labels."""
    labels: npt.NDArray[np.int64]  # [N]
    shape: tuple[int, ...]
    """Of the images: [N, H, W] or [N, H, W, C], C from 1 to 4, the last of 2 or 4 being opacity."""
    chunks: Callable[[], Iterable[Chunk]]
    """The images in order, some at a time; may be called more than once."""


def brought(found: ArraySet, form: Form, progress: Progress) -> ImageData:
    """The set in the form, from the cache where it was before. Raises Refusal where the form leaves open what images
    become."""
    count, height, width, channels = (*found.shape, 1)[:4]
    headers = Headers({Header(height, width, channels < 3): count})
    shape = settle(form, headers, found.name)
    key = hashlib.sha256(json.dumps([FORMAT, found.digest, shape, form.fit]).encode()).hexdigest()

    def rows() -> Iterator[tuple[Chunk, npt.NDArray[np.int64]]]:
        done = 0
        for chunk in found.chunks():
            progress("reading the arrays", done, count)
            yield _in_form(chunk, shape, form.fit), found.labels[done : done + len(chunk)]
            done += len(chunk)

    images, labels = cached(key, found.name, count, shape, rows)
    return ImageData(found.name, images, labels, found.classes, found.source, tuple(told(form, headers, shape)))


def in_form(data: ImageData, form: Form, progress: Progress) -> ImageData:
    """A sound data set in memory in another form; where the form asks for nothing else, the data set itself."""
    if form == AS_IT_IS:
        return data
    count, height, width, channels = data.images.shape
    if settle(form, Headers({Header(height, width, channels < 3): count}), data.name) == (height, width, channels):
        return data
    size = max(1, AT_A_TIME // math.prod(data.images.shape[1:]))

    def chunks() -> Iterator[Chunk]:
        return (data.images[start : start + size] for start in range(0, len(data.images), size))

    found = ArraySet(data.name, data.source, data.classes, data.digest, data.labels, data.images.shape, chunks)
    return brought(found, form, progress)


def _in_form(images: Chunk, shape: Shape, fit: Fit) -> Chunk:
    """Images [n, H, W] or [n, H, W, C] as [n, *shape]."""
    if (*images.shape, 1)[1:4] == shape:
        return images.reshape(len(images), *shape)
    pictures = images[..., 0] if images.shape[3:] == (1,) else images
    return np.stack([fitted(opaque(Image.fromarray(picture)), shape, fit) for picture in pictures])

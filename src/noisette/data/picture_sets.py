"""Picture files that a reader has listed become a data set: surveyed by their headers, decoded once into the cache."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from noisette.base.config import to_plain
from noisette.base.errors import Refusal, one_line, printable
from noisette.base.files import cache_folder, write_text
from noisette.base.progress import Progress
from noisette.base.text_file import read_json
from noisette.data.cache import cached
from noisette.data.form import Form, Header, Headers, Shape, settle, told
from noisette.data.images import ImageData
from noisette.data.pictures import File, UnreadablePicture, read_header, read_picture

FORMAT = "noisette-pictures-1"
"""Of what is decoded. Raise it when pictures are read in another way: what was kept is then passed over."""

AT_A_TIME = 2**22
"""Bytes of pixels handed to the cache at a time."""

TOLD_EVERY = 64
"""Pictures between two reports of progress."""

NAMED = 5
"""Unreadable files that are named; the rest are counted."""

Rows = Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]


class Picture(NamedTuple):
    """One picture of a set, not yet decoded. name: for messages."""

    name: str
    file: File
    label: int


@dataclass(frozen=True, eq=False)
class PictureSet:
    """What a reader has found."""

    name: str
    source: str
    classes: tuple[str, ...]
    digest: str
    """Hex; of all that decides pictures and labels, told cheaply."""
    count: int
    pictures: Callable[[], Iterable[Picture]]
    """May be called more than once; the files are opened anew each time."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def picture_files(
    name: str,
    source: str,
    classes: tuple[str, ...],
    root: Path,
    files: Sequence[tuple[str, int]],
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> PictureSet:
    """Files of a disk, by their paths from `root`, each with its label. They are told apart by path, size and time."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for file, label in files:
        digest.update(f"\0{file}\0{label}\0{stamp(root / file)}".encode(errors="surrogatepass"))

    def pictures() -> Iterator[Picture]:
        return (Picture(printable(root / file), root / file, label) for file, label in files)

    return PictureSet(name, source, classes, digest.hexdigest(), len(files), pictures, notes, warnings)


def stamp(path: Path) -> str:
    """What tells a file from what it was before: size and time."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # the latter for a name that no file can have
        return "absent"
    return f"{found.st_size} {found.st_mtime_ns}"


def decoded(found: PictureSet, form: Form, progress: Progress) -> ImageData:
    """The pictures in one form, decoded unless the cache has them. Raises Refusal for what is unreadable, or where the
    form leaves open what the images become."""
    surveyed = _survey(found, form, progress)
    surveyed.refuse(found, form)
    if not surveyed.headers:
        raise Refusal(f"{found.name}: none of {found.count:,} pictures can be read: {surveyed.first[0]}")
    shape = settle(form, surveyed.headers, found.name)
    key = _key(found.digest, to_plain(form))

    def rows() -> Rows:
        decoding = _Survey()
        yield from _in_chunks(_decode(found, form, shape, decoding, progress), shape)
        decoding.refuse(found, form)
        if decoding.unreadable:
            decoding.keep(key)

    # Up to all, though fewer were surveyed: some that could not be read then may have been mended.
    images, labels = cached(key, found.name, found.count, shape, rows)
    warnings = found.warnings
    if skipped := found.count - len(images):
        named = (_Survey.kept(key) or surveyed).first
        more = f", and {skipped - len(named):,} more" if len(named) < skipped else ""
        told_of = f"{skipped:,} of {found.count:,} pictures cannot be read and are skipped: {'; '.join(named)}{more}"
        warnings = (told_of, *warnings)
    notes = (*told(form, surveyed.headers, shape), *found.notes)
    return ImageData(found.name, images, labels, found.classes, found.source, notes, warnings)


def _key(*content: object) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *content]).encode()).hexdigest()


@dataclass(eq=False)
class _Survey:
    """What all the pictures of a set are: how many have which header, and what is wrong with the unreadable ones."""

    headers: Headers = field(default_factory=Headers)
    unreadable: int = 0
    first: list[str] = field(default_factory=list)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A picture that cannot be read within is counted, and passed over."""
        try:
            yield
        except UnreadablePicture as error:
            self.unreadable += 1
            if len(self.first) < NAMED:
                self.first.append(one_line(error))

    def refuse(self, found: PictureSet, form: Form) -> None:
        """Raise Refusal for what cannot be read, unless it is to be skipped."""
        if self.unreadable and form.unreadable == "refuse":
            more = f", and {self.unreadable - 1:,} more of {found.count:,} pictures" if self.unreadable > 1 else ""
            raise Refusal(f"{self.first[0]}{more}; --unreadable skip goes on without")

    def forbids(self, form: Form) -> bool:
        """Whether the set is refused for what cannot be read."""
        return self.unreadable > 0 and (form.unreadable == "refuse" or not self.headers)

    def keep(self, key: str) -> None:
        """Keep it beside the entries of the cache."""
        rows = [[*header, count] for header, count in self.headers.items()]
        write_text(cache_folder("surveys") / f"{key}.json", json.dumps([rows, self.unreadable, self.first]) + "\n")

    @staticmethod
    def kept(key: str) -> "_Survey | None":
        """What was kept under a key; None where nothing was, or it is damaged."""
        try:
            rows, unreadable, first = read_json(cache_folder("surveys") / f"{key}.json", "survey")
            headers = Headers(
                {Header(int(h), int(w), bool(grey), bool(moves)): int(n) for h, w, grey, moves, n in rows}
            )
            return _Survey(headers, int(unreadable), list(map(str, first)))
        except (Refusal, ValueError, TypeError, OverflowError):
            return None


def _survey(found: PictureSet, form: Form, progress: Progress) -> _Survey:
    """The headers of all pictures, looked at unless that was done before: it takes a while for a million files. Of a
    set that is refused they are looked at each time, for what could not be read may be mended, its time unchanged."""
    key = _key(found.digest)
    if (kept := _Survey.kept(key)) and not kept.forbids(form):
        return kept
    surveyed = _Survey()
    for picture in _told(found, progress, "looking at the pictures"):
        with surveyed.counted():
            surveyed.headers[read_header(picture.file, picture.name)] += 1
    if not surveyed.forbids(form):
        surveyed.keep(key)
    return surveyed


def _told(found: PictureSet, progress: Progress, what: str) -> Iterator[Picture]:
    """The pictures, while progress is told how many there were."""
    for number, picture in enumerate(found.pictures()):
        if number % TOLD_EVERY == 0:
            progress(what, number, found.count)
        yield picture


def _decode(
    found: PictureSet, form: Form, shape: Shape, surveyed: _Survey, progress: Progress
) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    for picture in _told(found, progress, "decoding the pictures"):
        pixels = None
        with surveyed.counted():
            pixels = read_picture(picture.file, picture.name, shape, form.fit)
        if pixels is not None:
            yield pixels, picture.label


def _in_chunks(pairs: Iterator[tuple[npt.NDArray[np.uint8], int]], shape: Shape) -> Rows:
    size = max(1, AT_A_TIME // math.prod(shape))
    while chunk := list(islice(pairs, size)):
        images, labels = zip(*chunk, strict=True)
        yield np.stack(images), np.array(labels, np.int64)  # [n, H, W, C], [n]

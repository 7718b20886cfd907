"""A folder of samples, of any number: drawn shard by shard in bounded memory, by any number of processes, and gone on
with by the same command.

A shard is drawn in batches that are always cut at the same images, and is there whole or not at all: a folder that was
stopped and gone on with, or that many processes drew, holds the same bytes as one that was drawn in one go. What
decides them stands in samples.json, which is written first; at the end it says that the folder is finished.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import noisette
from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import NoisetteError, Refusal, one_line
from noisette.base.files import UNFINISHED, write_text
from noisette.base.shapes import NO_CLASS
from noisette.base.text_file import read_json
from noisette.diffusion.sample import Snapshot
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.drawing import Film, Sampled, draw_pixels
from noisette.workflows.model import BATCH, Model, file_digest
from noisette.workflows.recipes import first_difference
from noisette.workflows.sample_files import WRITERS, Shard, check_has_library, picture_name, shard_place
from noisette.workflows.sample_request import Asked, Files, SampleRequest, finite
from noisette.workflows.steering import SteeringConfig

SHARD_IMAGES, SHARD_BYTES = 1000, 64 * 2**20
"""A shard has at most so many images, of at most so many bytes of pixels: all that is held in memory, and lost by a
kill."""
RECORD = "samples.json"
FORMAT = "noisette-samples-1"


@dataclass(frozen=True)
class FolderRecord:
    """What a folder of samples is: samples.json."""

    format: str
    precision: str
    device: str
    model_digest: str
    """SHA-256 (hex) of the model's file; empty of one that was never saved."""
    seed: int
    sampling: SamplingConfig
    files: Files
    images: int
    shard_images: int
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    """Of the model, in the order of the labels."""
    labels: tuple[int, ...]
    """Of every image of the command, when they were given; else `in_turns` classes in turns, 0: no class."""
    in_turns: int
    index: tuple[int, ...]
    """Which images of the command these are; empty: all."""
    model: str
    noisette: str
    steering: SteeringConfig = SteeringConfig()
    judge_digest: str = ""
    """SHA-256 (hex) of the judge that led the drawing; empty: none did."""
    finished: bool = False

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format {self.format!r}", FORMAT)
        require(self.images >= 1, f"{self.images} images", "at least 1")
        require(1 <= self.shard_images <= SHARD_IMAGES, f"{self.shard_images} a shard", f"1 to {SHARD_IMAGES}")
        require(min(self.height, self.width, self.channels) >= 1, "an empty image", "positive sizes")
        require(not self.index or len(self.index) == self.images, f"{len(self.index)} indices", "one an image")
        require(self.in_turns in (0, len(self.classes)), f"{self.in_turns} classes in turns", "all of them or none")
        known = range(NO_CLASS, len(self.classes))
        require(all(label in known for label in self.labels), "labels of no class", f"-1 to {known[-1]}")
        labels, numbers = len(self.labels) or math.inf, self.index or (self.images - 1,)
        require(all(0 <= number < labels for number in numbers), "numbers of no image", "one a label")

    @cached_property
    def asked(self) -> Asked:
        """The images and their labels."""
        return Asked(self.index or range(self.images), self.labels, self.in_turns)

    @property
    def shards(self) -> int:
        """How many there are."""
        return math.ceil(self.images / self.shard_images)

    def place(self, shard: int) -> Path:
        """Where a shard lies in the folder; `.` is the folder itself, that of few pictures."""
        return Path(shard_place(self.files, shard, self.shards))

    def index_of(self, shard: int) -> Sequence[int]:
        """The number of each image of a shard."""
        return self.asked.index[shard * self.shard_images : (shard + 1) * self.shard_images]

    def picture_names(self, shard: int) -> list[str]:
        """What the images of a shard are called as single pictures."""
        index = self.index_of(shard)
        return [
            picture_name(number, label, self.classes)
            for number, label in zip(index, self.asked.labels(index), strict=True)
        ]

    def difference(self, other: "FolderRecord") -> str | None:
        """The first difference in what decides the files, as "key is this, not that"; None: there is none."""
        free = dataclasses.replace(other, model=self.model, noisette=self.noisette, finished=self.finished)
        return first_difference(self, free)


def sample_to_folder(
    model: Model,
    request: SampleRequest,
    asked: Asked,
    progress: Callable[[float, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    process: int = 0,
    processes: int = 1,
    judge_digest: str = "",
) -> Sampled:
    """Draw the shards that the folder lacks; of many processes each draws every `processes`-th, from its own number on.

    progress is told (images done, images in all) of this process's share after each step. `stop` is asked after each
    step: when true, the shard that is being drawn is given up. judge_digest: of what leads the model.
    Raises Refusal before drawing for a folder that holds anything else, and for files that cannot be written here.
    """
    check_has_library(request.files)
    record, out = _record(model, request, asked, judge_digest), request.out
    finished = _begin(out, record)
    there = shards_there(out, record)
    share = range(process, record.shards, processes)
    missing = [shard for shard in share if shard not in there]
    if request.film is not None and 0 in there:
        require(request.film.exists(), f"film {request.film} of images that {out} holds already", "a new folder")
    _remove_unfinished(out, record, missing)

    images, before = _images(record, share), _images(record, set(share) - set(missing))
    drawn: list[Sampled] = []

    def show(of_shard: float, _: int) -> None:
        if progress is not None:
            progress(before + sum(each.images for each in drawn) + of_shard, images)

    show(0, 0)
    with suppress(_Stopped):
        for shard in missing:
            drawn.append(_draw(model, request, record, shard, show, stop))
    left = _images(record, set(range(record.shards)) - shards_there(out, record))
    if left == 0 and not finished:  # whoever writes the last shard finds all of them there
        _write_record(out, dataclasses.replace(record, finished=True))
    number = sum(each.images for each in drawn)
    evaluations = sum(each.images * each.evaluations for each in drawn) / max(1, number)
    return Sampled(number, sum(each.seconds for each in drawn), evaluations, before, left)


class _Stopped(Exception):
    """The caller asked to stop."""


def _draw(
    model: Model,
    request: SampleRequest,
    record: FolderRecord,
    shard: int,
    show: Callable[[float, int], None],
    stop: Callable[[], bool],
) -> Sampled:
    """Draw a shard and write it; with the first one the film, before it: a shard that is there has been filmed."""
    film = Film(record.sampling.steps) if request.film is not None and shard == 0 else None

    def watch(snapshot: Snapshot, drawn: int) -> None:
        if film is not None:
            film.take(snapshot, drawn)
        if stop():
            raise _Stopped

    index = record.index_of(shard)
    labels = record.asked.labels(index)
    pixels, sampled = draw_pixels(model, labels, request.seed, index, request.sampling, show, watch)
    if film is not None and request.film is not None:
        film.save(request.film, record.images, len(record.classes))
    WRITERS[record.files](request.out / record.place(shard), Shard(pixels, labels, index, record.seed, record.classes))
    return sampled


def shards_there(out: Path, record: FolderRecord) -> set[int]:
    """The shards that a folder holds."""
    if record.place(0) == Path():
        return {0} if all((out / name).exists() for name in record.picture_names(0)) else set()
    names = {path.name for path in _shard_folder(out, record).glob("[0-9t]*")}
    return {shard for shard in range(record.shards) if record.place(shard).name in names}


def read_record(out: Path) -> FolderRecord:
    """What a folder of samples is. Raises Refusal for one that `noisette sample` did not write."""
    path = out / RECORD
    try:
        return from_plain(FolderRecord, read_json(path, "record of samples"), "record")
    except Refusal as error:
        raise Refusal(f"{path} is not a record of samples: {one_line(error)}") from error


def _record(model: Model, request: SampleRequest, asked: Asked, judge_digest: str = "") -> FolderRecord:
    channels, height, width = model.shape
    fit = SHARD_BYTES // (channels * height * width)
    return FolderRecord(
        FORMAT,
        model.precision,
        model.device.type,
        file_digest(model.name) or "",
        request.seed,
        request.sampling,
        request.files,
        len(asked),
        max(1, min(SHARD_IMAGES, fit) // BATCH) * BATCH,
        height,
        width,
        channels,
        model.classes,
        tuple(asked.given),
        asked.classes,
        request.index,
        model.name,
        noisette.__version__,
        request.steering,
        judge_digest,
    )


def _begin(out: Path, record: FolderRecord) -> bool:
    """Write the record into a new or an empty folder; whether one that holds these very samples is finished.

    Raises Refusal for a folder that holds anything else. Many processes may do this at once.
    """
    if out.exists() and not out.is_dir():
        raise Refusal(f"output {out} is a file: expected a new or an empty folder")
    if not out.is_dir() or all(path.name.startswith(UNFINISHED) for path in out.iterdir()):
        try:
            _write_record(out, record)
        except NoisetteError as error:
            raise Refusal(str(error)) from error
        return False
    if not (out / RECORD).exists():
        raise Refusal(f"output folder {out} is not empty: expected a new or an empty one, or one to go on with")
    there = read_record(out)
    if difference := record.difference(there):
        raise Refusal(f"output folder {out} holds other samples: {difference} as there; expected a new folder")
    return there.finished


def _write_record(out: Path, record: FolderRecord) -> None:
    plain = to_plain(record) | {"sampling": finite(record.sampling), "steering": finite(record.steering)}
    write_text(out / RECORD, json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _shard_folder(out: Path, record: FolderRecord) -> Path:
    """Where the shards lie."""
    place = record.place(0)
    return out if place == Path() else (out / place).parent


def _remove_unfinished(out: Path, record: FolderRecord, missing: Sequence[int]) -> None:
    """Remove what a killed process left half-written of the shards that this one is about to draw."""
    stems = {record.place(shard).stem for shard in missing}
    if stems == {""}:  # few pictures, in the folder itself
        stems = {Path(name).stem for name in record.picture_names(0)}
    for path in list(_shard_folder(out, record).glob(f"{UNFINISHED}*")):
        if path.name.removeprefix(UNFINISHED).rpartition("-")[0] not in stems:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _images(record: FolderRecord, shards: Iterable[int]) -> int:
    """How many images some shards have."""
    return sum(len(record.index_of(shard)) for shard in shards)

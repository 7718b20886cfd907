"""Every file that is read from outside, and what reads it."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from fuzz.files import (
    ENTRY,
    IMAGES,
    LABELS,
    NETWORK,
    RECORDS,
    SETTLED,
    TABLE,
    csv_of,
    evaluation,
    fresh_state,
    header,
    idx,
    lines,
    manifest,
    network_file,
    npy,
    npz,
    own,
    parquet,
    picture,
    record_of_samples,
    rotated,
    samples,
    with_header,
    zipped_classes,
    zipped_images,
    zipped_labels,
)
from fuzz.guard import command
from fuzz.mutations import as_json, as_toml
from noisette.base.config import require, to_plain
from noisette.data.cache import cached
from noisette.data.pictures import read_header, read_picture
from noisette.perception.classifier_file import load_classifier
from noisette.training.checkpoint import load_state
from noisette.training.log import read_log
from noisette.training.manifest import Checkpoints
from noisette.workflows.evaluation_record import is_record
from noisette.workflows.recipes import RunConfig, read_run_config
from noisette.workflows.report_samples import confused, measured
from noisette.workflows.run_folder import read_table
from noisette.workflows.sample_folder import read_record
from noisette.workflows.settled import read_settled
from noisette.workflows.sources import open_samples


@dataclass(frozen=True, eq=False)
class Reader:
    """name: of the file in an empty folder. make: its valid content. read: reads it, or raises Refusal.

    wrap: puts the content into what holds it and is sound. value, dump: where the content is made of plain values,
    these, and how they are written.
    """

    name: str
    make: Callable[[], bytes]
    read: Callable[[Path], object]
    wrap: Callable[[bytes], bytes] = bytes
    value: Callable[[], Any] | None = None
    dump: Callable[[Any], bytes] = as_json


def plain(name: str, value: Any, dump: Callable[[Any], bytes], read: Callable[[Path], object]) -> Reader:
    """A reader of a file of plain values."""
    return Reader(name, lambda: dump(value), read, bytes, lambda: value, dump)


def of_header(kind: str, text: str, read: Callable[[Path], object]) -> Reader:
    """A reader of the plain values in a network file's header."""
    return Reader(
        "file.safetensors",
        lambda: as_json(header(kind, text)),
        read,
        with_header(kind, text),
        lambda: header(kind, text),
    )


# What reads them ----------------------------------------------------------------------------------


def read_mnist(path: Path) -> None:
    """The folder of an IDX file, its partner laid beside it."""
    images = path.name.startswith(IMAGES)
    (path.parent / (LABELS if images else IMAGES)).write_bytes(idx(20) if images else idx(20, 3, 4))
    command("check", "mnist", "--data-dir", path.parent)


def decode(path: Path) -> None:
    """Its header and its pixels, as every folder of pictures is read."""
    read_header(path, path.name)
    assert read_picture(path, path.name, (4, 6, 3), "pad").shape == (4, 6, 3)


def read_csv(path: Path) -> None:
    """A CSV file beside the picture that it names."""
    (path.parent / "a.png").write_bytes(picture("PNG"))
    command("check", path, "--validation-fraction", "0")


def read_folder(path: Path) -> None:
    """A folder of one class with two pictures; the other is sound."""
    (path.parent / "cat").mkdir()
    path.rename(path.parent / "cat" / path.name)
    (path.parent / "cat" / "other.png").write_bytes(picture("PNG"))
    command("check", path.parent, "--validation-fraction", "0")


def check(path: Path) -> None:
    """A user's own arrays, or a parquet file."""
    command("check", path, "--validation-fraction", "0")


KEY = "0" * 64


def read_entry(path: Path) -> None:
    """An entry of the cache: where it is damaged it is made again."""
    (path.parent / "sets" / KEY).mkdir(parents=True)
    path.rename(path.parent / "sets" / KEY / path.name)
    (path.parent / "sets" / KEY / "pixels").write_bytes(bytes(24))
    (path.parent / "sets" / KEY / "labels").write_bytes(bytes(16))
    rows = [(np.ones((2, 3, 4, 1), np.uint8), np.ones(2, np.int64))]
    with mock.patch.dict(os.environ, NOISETTE_CACHE=str(path.parent)):
        images, labels = cached(KEY, "made up", 2, (3, 4, 1), lambda: rows)
    assert images.ndim == 4
    assert len(images) == len(labels)


def info(path: Path) -> None:
    """What a model is."""
    command("info", path)


def read_evaluation(path: Path) -> None:
    """What a page tells of an evaluation."""
    found = read_table(path)
    require(is_record(found), "another file", "an evaluation")
    measured(found)
    with mock.patch("noisette.report.figures.MOST_CONFUSED", 0):  # told in words, not drawn
        confused(found, path.parent)


def read_manifest(path: Path) -> None:
    """A folder of checkpoints."""
    (path.parent / "000000010.safetensors").write_bytes(b"abcd")
    Checkpoints(path.parent)


READERS: dict[str, Reader] = {
    "IDX images": Reader(IMAGES, lambda: idx(20, 3, 4), read_mnist),
    "IDX labels": Reader(LABELS, lambda: idx(20), read_mnist),
    "IDX in gzip": Reader(f"{IMAGES}.gz", lambda: gzip.compress(idx(20, 3, 4)), read_mnist),
    "samples .npz": Reader("samples.npz", lambda: npz(**samples()), open_samples),
    "array in .npz": Reader("samples.npz", lambda: npy(samples()["images"]), open_samples, zipped_images),
    "PNG": Reader("a.png", lambda: picture("PNG"), decode),
    "PNG with a palette": Reader("a.png", lambda: picture("PNG", "P"), decode),
    "JPEG": Reader("a.jpg", lambda: picture("JPEG"), decode),
    "JPEG with EXIF": Reader("a.jpg", lambda: rotated("JPEG"), decode),
    "GIF": Reader("a.gif", lambda: picture("GIF"), decode),
    "WebP": Reader("a.webp", lambda: picture("WEBP"), decode),
    "BMP": Reader("a.bmp", lambda: picture("BMP"), decode),
    "TIFF": Reader("a.tif", lambda: picture("TIFF"), decode),
    "PPM": Reader("a.ppm", lambda: picture("PPM"), decode),
    "folder of pictures": Reader("a.png", lambda: picture("PNG"), read_folder),
    "table of pictures": plain("table.csv", TABLE, csv_of, read_csv),
    "own .npz": Reader("own.npz", lambda: npz(**own()), check),
    "labels in own .npz": Reader("own.npz", lambda: npy(own()["labels"]), check, zipped_labels),
    "class names in own .npz": Reader("own.npz", lambda: npy(own()["classes"]), check, zipped_classes),
    "parquet": Reader("set.parquet", parquet, check),
    "parquet, compressed": Reader("set.parquet", lambda: parquet("zstd"), check),
    "cache entry": plain("entry.json", ENTRY, as_json, read_entry),
    "model": Reader("model.safetensors", lambda: network_file("model"), info),
    "model's spec": of_header("model", "spec", info),
    "model's card": of_header("model", "card", info),
    "classifier": Reader("file.safetensors", lambda: network_file("classifier"), load_classifier),
    "classifier's spec": of_header("classifier", "spec", load_classifier),
    "state": Reader("file.safetensors", lambda: network_file("state"), lambda path: load_state(path, fresh_state())),
    "state's progress": of_header("state", "progress", lambda path: load_state(path, fresh_state())),
    "config.toml": plain("config.toml", to_plain(RunConfig(network=NETWORK)), as_toml, read_run_config),
    "metrics.jsonl": plain("metrics.jsonl", list(RECORDS), lines, read_log),
    "run.json": plain("run.json", SETTLED, as_json, lambda path: (read_table(path), read_settled(path))),
    "evaluation.json": plain("evaluation.json", evaluation(), as_json, read_evaluation),
    "manifest.json": plain("manifest.json", manifest(), as_json, read_manifest),
    "samples.json": plain("samples.json", record_of_samples(), as_json, lambda path: read_record(path.parent)),
}

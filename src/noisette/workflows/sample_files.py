"""The files that samples lie in: single pictures, arrays, parquet. Each is written whole or not at all."""

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisette.base.files import whole_file, whole_folder
from noisette.base.shapes import NO_CLASS
from noisette.data.parquet import require_pyarrow
from noisette.report.pictures import Pixels, as_picture, save_picture
from noisette.workflows.sample_request import Files


@dataclass(frozen=True, eq=False)
class Shard:
    """Images that go into one file or one folder. images [N, H, W, C]; labels, index: of each, as in the request."""

    images: Pixels
    labels: Sequence[int]
    index: Sequence[int]
    seed: int
    classes: tuple[str, ...]

    def named(self) -> Iterator[tuple[str, Pixels]]:
        """The file name of each as a single picture, and its pixels [H, W, C]."""
        for image, label, number in zip(self.images, self.labels, self.index, strict=True):
            yield picture_name(number, label, self.classes), image


def picture_name(number: int, label: int, classes: Sequence[str]) -> str:
    """The file name of a single picture. Whatever a class is called, it names a file of this folder on any system."""
    name = "none" if label == NO_CLASS else classes[label]
    safe = re.sub(r"[^\w-]", "_", name)[:40]  # of up to four bytes each, where names may have 255
    return f"{number:06d}-{safe}.png"


def shard_place(files: Files, number: int, shards: int) -> str:
    """Where shard `number` of so many lies in its folder; `.` is the folder itself, that of few pictures."""
    if files == "parquet":
        return f"data/train-{number:05d}-of-{shards:05d}.parquet"  # the datasets library knows a split by this name
    if files == "npz":
        return f"{number:05d}-of-{shards:05d}.npz"
    return "." if shards == 1 else f"{number:05d}-of-{shards:05d}"


def check_has_library(files: Files) -> None:
    """Refuse files whose library is missing."""
    if files == "parquet":
        require_pyarrow()


def write_arrays(path: Path, shard: Shard) -> None:
    """An .npz of images uint8 [N, H, W, C], labels and index int64 [N], seed int64."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            images=shard.images,
            labels=np.array(shard.labels, np.int64),
            index=np.array(shard.index, np.int64),
            seed=np.int64(shard.seed),
        )


def write_pictures(folder: Path, shard: Shard) -> None:
    """A PNG an image: into a folder that is there one by one, else with the folder, all or none."""
    if folder.is_dir():
        for name, image in shard.named():
            save_picture(as_picture(image), folder / name)
        return
    with whole_folder(folder) as temporary:
        for name, image in shard.named():
            as_picture(image).save(temporary / name)


def write_parquet(path: Path, shard: Shard) -> None:
    """Rows of image (struct of bytes and path) and label, which `datasets.load_dataset` reads as Image and ClassLabel:
    -1 is no class; a model without classes has no labels."""
    import pyarrow as pa  # the extra hub
    import pyarrow.parquet as pq

    columns = {"image": pa.array([{"bytes": _png(image), "path": name} for name, image in shard.named()])}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if shard.classes:
        columns["label"] = pa.array(shard.labels, pa.int64())
        features["label"] = {"_type": "ClassLabel", "names": list(shard.classes)}
    table = pa.table(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary)


def _png(image: Pixels) -> bytes:
    with io.BytesIO() as file:
        as_picture(image).save(file, format="PNG")
        return file.getvalue()


WRITERS: dict[Files, Callable[[Path, Shard], None]] = {
    "png": write_pictures,
    "npz": write_arrays,
    "parquet": write_parquet,
}

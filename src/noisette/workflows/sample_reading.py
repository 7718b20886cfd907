"""What a folder of samples holds, read back shard by shard."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from noisette.base.array_file import read_arrays
from noisette.base.config import require
from noisette.base.errors import Refusal, one_line
from noisette.report.pictures import Pixels
from noisette.workflows.sample_files import check_has_library
from noisette.workflows.sample_folder import FolderRecord
from noisette.workflows.sample_request import Files


def read_shard(out: Path, record: FolderRecord, shard: int) -> Pixels:
    """The images of a shard, [N, H, W, C]. Raises Refusal when it is missing, damaged or holds other images than the
    record says."""
    check_has_library(record.files)
    place = out / record.place(shard)
    try:
        images = READERS[record.files](place, record, shard)
    except Refusal:
        raise
    except Exception as error:  # none of the libraries says which errors a damaged file raises
        raise Refusal(f"{place} is not a readable shard of samples: {one_line(error)}") from None
    expected = (len(record.index_of(shard)), record.height, record.width, record.channels)
    require(
        images.dtype == np.uint8 and images.shape == expected,
        f"{place}: images {images.dtype} {list(images.shape)}",
        f"uint8 {list(expected)}, as samples.json says",
    )
    return images


def _read_arrays(place: Path, record: FolderRecord, shard: int) -> Pixels:
    return read_arrays(place, "shard of samples", ("images",))[0]


def _read_pictures(place: Path, record: FolderRecord, shard: int) -> Pixels:
    return np.stack([_picture(place / name, record) for name in record.picture_names(shard)])


def _read_parquet(place: Path, record: FolderRecord, shard: int) -> Pixels:
    import pyarrow.parquet as pq  # the extra hub

    with pq.ParquetFile(place) as file:
        rows, expected = file.metadata.num_rows, len(record.index_of(shard))
        require(rows == expected, f"{place}: {rows:,} rows", f"{expected:,}, as samples.json says")
        pictures = file.read(columns=["image"]).column("image").to_pylist()
    return np.stack([_picture(io.BytesIO(picture["bytes"]), record) for picture in pictures])


def _picture(file: Path | io.BytesIO, record: FolderRecord) -> Pixels:
    """A picture, [H, W, C]; raises ValueError, before it is decoded, for one of another size."""
    with Image.open(file, formats=["PNG"]) as picture:
        if picture.size != (record.width, record.height):
            raise ValueError(f"a picture of {picture.width} x {picture.height}")
        return np.asarray(picture).reshape(record.height, record.width, -1)


READERS: dict[Files, Callable[[Path, FolderRecord, int], Pixels]] = {
    "png": _read_pictures,
    "npz": _read_arrays,
    "parquet": _read_parquet,
}

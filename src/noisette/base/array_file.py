"""Arrays from an .npz file by anybody: each is what its header says, or refused before memory is taken for it.

Nothing is unpickled.
"""

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from noisette.base.errors import Refusal, one_line
from noisette.base.files import existing_file

ALWAYS, TIMES = 2**26, 100
"""Bytes that a compressed file may always hold, and how many times its own size where that is more: no pictures shrink
as far, and a file made to fill the memory does."""


def read_arrays(path: Path, kind: str, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """The arrays called `names`, in that order; `kind` is the word for messages ("sample file").

    Raises Refusal when the file is missing or damaged, lacks one of them, holds Python objects or inflates beyond
    reason.
    """
    path = existing_file(path, kind)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in names if name not in members]:
                raise Refusal(f"{path} has no array {missing[0]!r}: expected the arrays {' and '.join(names)}")
            wanted = [members[name] for name in names]
            size, most = sum(info.file_size for info in wanted), max(ALWAYS, TIMES * path.stat().st_size)
            if size > most:
                raise Refusal(f"{path} announces {size:,} bytes: expected at most {most:,} of a file of its size")
            return [_read(archive, info) for info in wanted]
    except Refusal:
        raise
    except Exception as error:  # neither library says which errors a damaged file raises; there are a dozen
        raise Refusal(f"{path} is not a readable {kind}: {one_line(error)}") from None


def read_header(
    member: io.BufferedIOBase | IO[bytes], info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is stored column by column, and type of the array that `member` begins with, which is `info`
    of an archive.

    Raises ValueError for Python objects, and for a header that is not of as many bytes as follow.
    """
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"{info.filename} is of version {version}")
    shape, by_columns, dtype = read[version](member)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects, which are never unpickled")
    follow = info.file_size - member.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != follow:
        raise ValueError(f"{info.filename} announces {dtype} {list(shape)} but {follow:,} bytes follow")
    return shape, by_columns, dtype


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One member; its header is looked at before its array is made."""
    with archive.open(info) as member:
        read_header(member, info)
    with archive.open(info) as member:  # from its beginning, so that the checksum is compared
        array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array

import gzip
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.base.errors import Refusal
from noisette.data.idx import LARGEST, read_idx, read_labelled

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 3, 4) + IMAGES.tobytes()


def announce(*shape: int) -> bytes:
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)


def read(content: bytes, axes: int = 3) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        return read_idx(path, axes)


def read_or_none(content: bytes) -> np.ndarray | None:
    try:
        return read(content)
    except Refusal:
        return None


@pytest.mark.parametrize("content", [PLAIN, gzip.compress(PLAIN)], ids=["plain", "gzipped"])
def test_a_whole_file_is_read_whatever_its_name(content):
    found = read(content)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)
    found[0] = 1  # torch wants memory that it may write to


FAULTS = {
    "nothing": (b"", "begins with nothing"),
    "html": (b"<html>not found</html>", "begins with 3c 68 74 6d"),
    "other type": (bytes((0, 0, 13, 3)) + PLAIN[4:], "begins with 00 00 0d 03"),
    "other axes": (announce(24) + IMAGES.tobytes(), "begins with 00 00 08 01: expected IDX's 00 00 08 03"),
    "half a header": (PLAIN[:10], "ends within its header"),
    "no images": (announce(0, 28, 28), "announces 0 x 28 x 28 bytes"),
    "too large": (announce(2**20, 2**10, 2), "announces 1048576 x 1024 x 2 bytes"),
    "overflow": (announce(2**31, 2**31, 4), "expected between 1 and"),
    "short": (PLAIN[:-1], "too short|holds 23"),
    "trailing": (PLAIN + b"\0", "holds more"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_a_false_file_is_refused(fault, zipped):
    content, message = FAULTS[fault]
    with pytest.raises(Refusal, match=message) as caught:
        read(gzip.compress(content) if zipped and content else content)
    assert "\n" not in str(caught.value)


def test_a_gzip_file_must_be_whole():
    zipped = gzip.compress(PLAIN)
    for length in range(2, len(zipped)):
        with pytest.raises(Refusal):
            read(zipped[:length])
    with pytest.raises(Refusal, match="cannot be read"):
        read(zipped + b"rubbish")
    with pytest.raises(Refusal, match="CRC"):
        read(zipped[:-8] + b"\0\0\0\0" + zipped[-4:])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4), st.booleans())
def test_flipped_bytes_give_a_refusal_or_an_array(flips, zipped):
    content = bytearray(gzip.compress(PLAIN, mtime=0) if zipped else PLAIN)
    for place, bits in flips:
        content[place % len(content)] ^= bits
    found = read_or_none(bytes(content))
    # A flip may change pixels, or 2 x 3 into 3 x 2, but not their number; any error but Refusal fails here.
    assert found is None or found.size == IMAGES.size


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x1f\x8b\x08\x00", PLAIN[:4], PLAIN[:16]]))
def test_any_bytes_give_a_refusal_or_an_array(tail, head):
    found = read_or_none(head + tail)
    assert found is None or found.size <= len(head + tail)


def peak_of_refusal(content: bytes, message: str) -> int:
    """The most memory held while `content` is read and refused, bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match=message):
            read(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_never_inflated_past_its_header():
    bomb = gzip.compress(PLAIN + bytes(2**26), 1)  # 64 MiB of zeros
    assert peak_of_refusal(bomb, "holds more") < 2**20


def test_a_false_announcement_takes_no_memory():
    content = announce(2**10, 2**10, 2**10)
    assert LARGEST == 2**30
    for file in (content + bytes(100), gzip.compress(content + bytes(100))):
        assert peak_of_refusal(file, "too short") < 2**20


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Refusal, match=r"no IDX file at .*absent"):
        read_idx(tmp_path / "absent", 3)


def test_labels_belong_to_images(tmp_path, as_idx):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(PLAIN)
    labels.write_bytes(as_idx(np.array([9, 0])))
    pixels, numbers = read_labelled(images, labels, 10)
    np.testing.assert_array_equal(pixels, IMAGES[..., None])
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [9, 0]
    with pytest.raises(Refusal, match="holds label 9: expected 0 to 8"):
        read_labelled(images, labels, 9)
    labels.write_bytes(as_idx(np.array([1, 2, 3])))
    with pytest.raises(Refusal, match=r"holds 2 images but .* holds 3 labels"):
        read_labelled(images, labels, 10)

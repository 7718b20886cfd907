"""Pictures made to do harm, and tables, folders and names that lead astray."""

import json
import os
import struct
import zlib

import pytest

from fuzz.files import csv_of, header, picture, with_header
from fuzz.guard import ACCEPTED, REFUSED, command, guarded, refused
from fuzz.readers import decode


def png(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    """A PNG of grey pixels that may say anything."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    middle = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


BOMB = zlib.compress(bytes(2**28), 1)
PICTURES = {
    "50,000 x 50,000": png(50_000, 50_000, pixels=bytes(2**20)),
    "2^31 x 2^31": png(2**31 - 1, 2**31 - 1),
    "a text": png(2, 2, (b"zTXt", b"a\0\0" + BOMB), pixels=bytes(6)),
    "an international text": png(2, 2, (b"iTXt", b"a\0\1\0\0\0" + BOMB), pixels=bytes(6)),
    "a profile": png(2, 2, (b"iCCP", b"a\0\0" + BOMB), pixels=bytes(6)),
    "rows without end": png(2, 2, pixels=bytes(2**26)),
    "a chunk of 2^31": png(2, 2)[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt",
    "a GIF": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf7\0\0" + bytes(1000),
    "a BMP": b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100),
    "a PPM": b"P6 200000 200000 255 " + bytes(100),
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_that_takes_no_memory_though_it_asks_for_it(tmp_path, case):
    """Most are refused; what Pillow passes over, such as a text that is too long, may be read."""
    (tmp_path / "a.png").write_bytes(PICTURES[case])
    outcome = guarded(lambda: decode(tmp_path / "a.png"))
    assert outcome == REFUSED or case in ("rows without end", "a text", "an international text", "a profile")


def test_parquet_that_inflates_to_far_more_than_it_should(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": pa.array([bytes(2**27)], pa.binary())})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False, write_statistics=False)
    assert (tmp_path / "a.parquet").stat().st_size < 300_000
    refused(lambda: command("check", tmp_path / "a.parquet"), "announces 1 rows, 134,")


def test_parquet_of_more_rows_than_it_has_bytes(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": pa.nulls(10**6, pa.binary())}), tmp_path / "a.parquet")
    refused(lambda: command("check", tmp_path / "a.parquet"), "announces 1,000,000 rows")


def table_of(path: str, label: str = "cat") -> bytes:
    return csv_of([["path", "label"], ["sound.png", "cat"], [f'"{path}"', f'"{label}"']])


@pytest.mark.parametrize(
    "where", ["pipe.png", "/dev/zero", "/dev/stdin", "loop.png", "x" * 1000, "a\0b", ".", "folder.png"]
)
def test_a_table_that_leads_to_what_is_no_picture(tmp_path, where):
    """A path may lead anywhere, for a table is the user's own; what is there must be a picture file."""
    (tmp_path / "sound.png").write_bytes(picture("PNG"))
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "table.csv").write_bytes(table_of(where))
    refused(lambda: command("check", tmp_path / "table.csv"), "no file is there|cannot be read|line contains NUL")


def test_a_line_of_a_table_without_end(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("wb") as file:
        file.write(b"path,label\n" + b"x" * 100)
        file.truncate(2**31)
    refused(lambda: command("check", path), "a line of more than 262,144 characters|line contains NUL")


def test_a_folder_of_loops_and_pipes(tmp_path):
    top = tmp_path / "set"
    for name in ("cat", "dog"):
        (top / name).mkdir(parents=True)
        (top / name / "a.png").write_bytes(picture("PNG"))
    (top / "cat" / "round").symlink_to(top)
    (top / "dog" / "self").symlink_to(top / "dog" / "self")
    os.mkfifo(top / "dog" / "pipe")
    assert guarded(lambda: command("check", top, "--validation-fraction", "0")) == ACCEPTED
    os.mkfifo(top / "dog" / "pipe.png")
    refused(lambda: command("check", top), "pipe.png: no file is there")


NAMES = [
    "..",
    "../../x",
    "/etc/x",
    "CON",
    "a. ",
    "a\\b",
    "\x1b[31m",
    "a\nb",
    "\u202e",
    "x" * 201,
    "\ud800",
    "",
    "𝒳" * 200,
    "a:b",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_class_name_never_leads_out_of_a_folder(tmp_path, name):
    """Neither from a table, nor from a model: it is refused, or names a file of the folder itself."""
    spec = header("model", "spec") | {"classes": [name, "dog"]}
    path, out = tmp_path / "model.safetensors", tmp_path / "in" / "out"
    path.write_bytes(with_header("model", "spec")(json.dumps(spec).encode()))
    (tmp_path / "sound.png").write_bytes(picture("PNG"))
    (tmp_path / "table.csv").write_bytes(table_of("sound.png", name))
    before = sorted(tmp_path.iterdir())
    printable = name.isprintable() and 0 < len(name) <= 200
    drawn = guarded(lambda: command("sample", path, "--per-class", 1, "--out", out))
    assert drawn == (ACCEPTED if printable else REFUSED)
    checked = guarded(lambda: command("check", tmp_path / "table.csv", "--validation-fraction", "0"))
    assert checked == (ACCEPTED if name.strip().isprintable() and 0 < len(name.strip()) <= 200 else REFUSED)
    assert sorted(tmp_path.iterdir()) == sorted([*before, *([tmp_path / "in"] if printable else [])])
    if printable:
        assert [each.name for each in out.parent.iterdir()] == ["out"]
        assert len(list(out.iterdir())) == 3
        for each in out.glob("*.png"):
            assert len(each.name.encode()) < 230
            assert not set(each.name) & set('/\\:*?"<>|')

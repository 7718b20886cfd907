"""One picture of every kind becomes the pixels that a person sees."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from noisette.data.form import Header
from noisette.data.pictures import FORMATS, UnreadablePicture, is_picture_name, read_header, read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixels_of(picture, shape=None, fit="keep", **how):
    """A picture saved and read again, as nested lists."""
    file = io.BytesIO()
    picture.save(file, how.pop("format", "PNG"), **how)
    file.seek(0)
    shape = shape or (picture.height, picture.width, 3)
    return read_picture(file, "it", shape, fit)


def header_of(picture, **how):
    file = io.BytesIO()
    picture.save(file, how.pop("format", "PNG"), **how)
    file.seek(0)
    return read_header(file, "it")


def of_one_pixel(picture, **how):
    (pixel,) = pixels_of(picture, **how).reshape(-1, 3).tolist()
    return tuple(pixel)


def palette(transparency=None):
    picture = Image.new("P", (3, 1))
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putdata([0, 1, 2])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


# Kinds of pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_palette_is_its_colours(kind):
    how = {"lossless": True} if kind == "WEBP" else {}
    picture = palette().convert("RGB") if kind == "WEBP" else palette()
    assert pixels_of(picture, format=kind, **how).tolist() == [[[*RED], [*GREEN], [*BLUE]]]


@pytest.mark.parametrize(
    ("transparency", "row"),
    [(1, [RED, WHITE, BLUE]), (bytes([255, 0, 51]), [RED, WHITE, (204, 204, 255)])],
    ids=["one colour", "each its own"],
)
def test_a_transparent_palette_lies_on_white(transparency, row):
    assert pixels_of(palette(transparency)).tolist() == [[[*colour] for colour in row]]


def test_transparency_shows_white_and_not_the_colour_that_it_hides():
    assert of_one_pixel(Image.new("RGBA", (1, 1), (*RED, 0))) == WHITE
    assert of_one_pixel(Image.new("RGBA", (1, 1), (*RED, 255))) == RED
    assert of_one_pixel(Image.new("RGBA", (1, 1), (*RED, 51))) == (255, 204, 204)
    assert of_one_pixel(Image.new("RGB", (1, 1), RED), transparency=RED) == WHITE


def test_grey_with_transparency_stays_grey():
    picture = Image.new("LA", (2, 1))
    picture.putdata([(100, 255), (0, 51)])
    assert pixels_of(picture, (1, 2, 1)).tolist() == [[[100], [204]]]
    assert header_of(picture).grey


def test_sixteen_bits_are_scaled_and_not_cut():
    values = np.array([[0, 200, 32896, 65535]], np.uint16)
    assert pixels_of(Image.fromarray(values), (1, 4, 1)).tolist() == [[[0], [1], [128], [255]]]
    assert pixels_of(Image.fromarray(values), (1, 4, 3)).tolist() == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]
    assert header_of(Image.fromarray(values)).grey


def test_values_of_unknown_range_are_refused():
    for values in (np.ones((2, 2), np.float32), np.full((2, 2), 70_000, np.int32), np.full((2, 2), -1, np.int32)):
        with pytest.raises(UnreadablePicture, match="expected 8 or 16 bits"):
            pixels_of(Image.fromarray(values), (2, 2, 1), format="TIFF")
    assert pixels_of(Image.fromarray(np.full((2, 2), 65535, np.int32)), (2, 2, 1), format="TIFF").min() == 255


def test_one_bit_is_black_and_white():
    picture = Image.new("1", (2, 1))
    picture.putdata([1, 0])
    assert pixels_of(picture, (1, 2, 1)).tolist() == [[[255], [0]]]
    assert header_of(picture).grey


@pytest.mark.parametrize(
    ("ink", "colour"), [((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), WHITE)]
)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink_becomes_light(kind, ink, colour):
    found = pixels_of(Image.new("CMYK", (8, 8), ink), (8, 8, 3), format=kind)
    np.testing.assert_allclose(found.reshape(-1, 3), [colour] * 64, atol=3)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN, BLUE)]
    for kind in ("GIF", "PNG", "WEBP"):
        how = {"save_all": True, "append_images": frames[1:], "format": kind}
        how |= {"lossless": True} if kind == "WEBP" else {}
        assert set(map(tuple, pixels_of(frames[0], (2, 2, 3), **how).reshape(-1, 3).tolist())) == {RED}
        assert header_of(frames[0], **how).animated
    assert not header_of(frames[0]).animated


def test_colour_becomes_grey_by_how_bright_it_looks():
    row = Image.new("RGB", (3, 1))
    row.putdata([RED, GREEN, BLUE])
    assert pixels_of(row, (1, 3, 1)).ravel().tolist() == [76, 150, 29]


# EXIF ---------------------------------------------------------------------------------------------

UPRIGHT = np.array([[10, 40, 70], [100, 130, 160]], np.uint8)
STORED = {  # how the upright picture is stored under each orientation, by the standard's own words
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_rotation_of_the_camera_is_undone(kind, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    how = {"format": kind, "exif": exif} | ({"lossless": True} if kind == "WEBP" else {})
    picture = Image.fromarray(STORED[orientation])
    assert header_of(picture, **how)[:2] == (2, 3)
    np.testing.assert_array_equal(pixels_of(picture, (2, 3, 1), **how)[..., 0], UPRIGHT)


@pytest.mark.parametrize("orientation", STORED)
def test_a_large_photograph_is_turned_as_well(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = Image.fromarray(np.kron(STORED[orientation], np.ones((64, 64), np.uint8)))
    found = pixels_of(picture, (2, 3, 1), format="JPEG", quality=95, exif=exif)[..., 0]
    np.testing.assert_allclose(found.astype(int), UPRIGHT, atol=12)


def test_an_orientation_that_does_not_exist_is_none():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 77
    assert header_of(Image.new("L", (3, 2)), format="JPEG", exif=exif)[:2] == (2, 3)


# Size ---------------------------------------------------------------------------------------------


def test_making_small_takes_every_pixel_into_account():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    for kind in ("PNG", "JPEG"):
        found = pixels_of(Image.fromarray(board.astype(np.uint8)), (8, 8, 1), format=kind)
        np.testing.assert_allclose(found.astype(int), 127.5, atol=6)  # every 8th pixel alone would be 0 or 255


def test_the_centre_is_cropped():
    stripes = np.repeat(np.array([10, 50, 90, 130, 170, 210], np.uint8), 4)[None].repeat(8, axis=0)  # 8 x 24
    found = pixels_of(Image.fromarray(stripes), (8, 8, 1), "crop")[..., 0]
    np.testing.assert_array_equal(found, stripes[:, 8:16])
    np.testing.assert_array_equal(pixels_of(Image.fromarray(stripes.T), (8, 8, 1), "crop")[..., 0], stripes[:, 8:16].T)
    smaller = pixels_of(Image.fromarray(stripes), (4, 4, 1), "crop")[..., 0]
    np.testing.assert_allclose(smaller[:, 1:3].astype(int).mean(axis=0), [90, 130], atol=12)


def test_an_odd_rest_is_cropped_without_blurring():
    picture = np.random.default_rng(0).integers(0, 256, (7, 10), dtype=np.uint8)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(picture), (7, 7, 1), "crop")[..., 0], picture[:, 1:8])


def test_the_edge_goes_on_where_it_is_padded():
    picture = np.array([[10, 20], [30, 40], [50, 60], [70, 80], [90, 100]], np.uint8)  # 5 x 2
    found = pixels_of(Image.fromarray(picture), (5, 5, 1), "pad")[..., 0]
    np.testing.assert_array_equal(found, picture[:, [0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(pixels_of(Image.fromarray(picture.T), (5, 5, 1), "pad")[..., 0], found.T)


def test_a_line_stays_a_line():
    assert pixels_of(Image.new("L", (500, 1), 7), (4, 4, 1), "pad").tolist() == [[[7]] * 4] * 4
    assert pixels_of(Image.new("L", (500, 1), 7), (4, 4, 1), "crop").tolist() == [[[7]] * 4] * 4


@pytest.mark.parametrize("fit", ["keep", "pad", "crop"])
def test_what_has_the_size_is_left_as_it_is(fit):
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(picture), (5, 6, 3), fit), picture)


# What cannot be read ------------------------------------------------------------------------------


def png_claiming(width, height):
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000)])
def test_a_picture_too_large_to_open_is_refused_by_its_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    for read in (lambda: read_header(path, "bomb.png"), lambda: read_picture(path, "bomb.png", (8, 8, 3), "crop")):
        with pytest.raises(UnreadablePicture, match=r"^bomb.png cannot be read: Image size .* exceeds limit"):
            read()


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(UnreadablePicture, match=r"^here: notes is no picture that can be read"):
        read_header(path, "here: notes")
    for absent in (tmp_path / "absent.png", tmp_path, tmp_path / ("x" * 5000), tmp_path / "a\0b"):
        with pytest.raises(UnreadablePicture, match=r"^that"):
            read_header(absent, "that")


def test_formats_that_run_other_programs_are_not_opened(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    assert "EPS" not in FORMATS
    with pytest.raises(UnreadablePicture, match="is no picture"):
        read_header(path, "x.png")


def samples():
    """A small file of each format that is written here."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"):
        file = io.BytesIO()
        picture.save(file, kind)
        yield kind, file.getvalue()


@pytest.mark.parametrize(
    ("kind", "content"), tuple(samples()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_file_is_refused_or_read_but_never_anything_else(kind, content):
    random = np.random.default_rng(0)
    refused = []
    for trial in range(60):
        broken = bytearray(content)
        if trial % 2:
            del broken[random.integers(len(broken)) :]
        for place in random.integers(0, max(1, len(broken)), 4):
            broken[place : place + 1] = bytes([random.integers(256)])
        try:
            read_header(io.BytesIO(broken), "it")
            assert read_picture(io.BytesIO(broken), "it", (4, 3, 3), "crop").shape == (4, 3, 3)
        except UnreadablePicture as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(text.startswith("it ") for text in refused)


@pytest.mark.parametrize("fault", [RecursionError, MemoryError, SyntaxError, KeyError, struct.error, EOFError])
def test_whatever_a_decoder_raises_is_told_in_one_line(monkeypatch, fault):
    def fail(*_):
        raise fault("deep\nwithin")

    file = io.BytesIO(dict(samples())["PNG"])
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(UnreadablePicture, match=r"^it cannot be read: .*deep.*within"):
        read_picture(file, "it", (4, 3, 3), "crop")


def test_pictures_are_told_by_their_names():
    assert all(map(is_picture_name, ["a.PNG", "b/c.jpeg", "d.heic", "é.webp"]))
    assert not any(map(is_picture_name, ["a.txt", "png", "b.png/c", "d.json"]))


def test_a_header_is_read_from_a_path_too(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    assert read_header(Path(tmp_path / "a.png"), "a") == Header(5, 7, grey=False)

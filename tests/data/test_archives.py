"""Arrays of images and labels from anybody, and archives that are not what they claim."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from noisette.base.errors import Refusal
from noisette.data import archives
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import NoTestPart

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def load(tmp_path):
    """Write arrays into an archive and read it as a data set."""

    def read(save=np.savez, form=AS_IT_IS, **arrays):
        save(tmp_path / "set.npz", **arrays)
        return load_data(str(tmp_path / "set.npz"), form=form)

    return read


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_and_labels_come_as_they_are(load, save):
    data = load(save, images=IMAGES, labels=np.array([2, 0, 1, 0, 2]))
    np.testing.assert_array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [2, 0, 1, 0, 2]
    assert data.classes == ("0", "1", "2")
    assert data.notes == ("5 images of 4 x 6, left at that size", "colour; stored in grey: none")


def test_grey_images_need_no_channel(load):
    assert load(images=IMAGES[..., 0]).images.tolist() == IMAGES[..., :1].tolist()


@pytest.mark.parametrize(
    ("labels", "more", "classes", "numbers"),
    [
        (np.array([7, 3, 7, 3, 3], np.uint8), {}, ("3", "7"), [1, 0, 1, 0, 0]),
        (np.array([2**63, 0, 0, 0, 5], np.uint64), {}, ("0", "5", str(2**63)), [2, 0, 0, 0, 1]),
        (
            np.array([1, 0, 1, 0, 0]),
            {"classes": np.array(["cat", "a dog", "none"])},
            ("cat", "a dog", "none"),
            [1, 0, 1, 0, 0],
        ),
        (np.array(["b10", "b2", "\u00fc", "b2", "b2"]), {}, ("b2", "b10", "\u00fc"), [1, 0, 2, 0, 0]),
        (np.array([b"x", b"y", b"x", b"x", b"x"]), {}, ("x", "y"), [0, 1, 0, 0, 0]),
        (np.array(["x", "y", "x", "x", "x"]), {"classes": np.array(["y", "x"])}, ("y", "x"), [1, 0, 1, 1, 1]),
        (np.full(5, -1), {}, (), [-1] * 5),
        (None, {}, (), [-1] * 5),
    ],
)
def test_labels_are_numbers_or_names(load, labels, more, classes, numbers):
    given = {} if labels is None else {"labels": labels}
    data = load(images=IMAGES, index=np.arange(5), **given, **more)
    assert (data.classes, data.labels.tolist()) == (classes, numbers)
    assert data.labels.dtype == np.int64


def test_what_the_sampler_writes_can_be_learned_from(load):
    data = load(
        np.savez_compressed, images=IMAGES, labels=np.array([0, 1, 0, 1, 1]), index=np.arange(5), seed=np.int64(0)
    )
    assert data.classes == ("0", "1")


def test_the_last_of_two_or_four_channels_is_opacity(load):
    opaque, clear = np.full((5, 4, 6, 1), 255, np.uint8), np.zeros((5, 4, 6, 1), np.uint8)
    np.testing.assert_array_equal(load(images=np.concatenate([IMAGES, opaque], axis=3)).images, IMAGES)
    assert load(images=np.concatenate([IMAGES, clear], axis=3)).images.min() == 255
    np.testing.assert_array_equal(
        load(images=np.concatenate([IMAGES[..., :1], opaque], axis=3)).images, IMAGES[..., :1]
    )


def test_the_form_is_heeded(load):
    assert load(images=IMAGES, form=Form((8,), 1, "pad")).images.shape == (5, 8, 8, 1)
    grey = load(images=IMAGES[..., 0], form=Form(channels=3)).images
    np.testing.assert_array_equal(grey, IMAGES[..., :1].repeat(3, axis=3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.arange(5)}, "holds labels: expected"),
        ({}, "holds nothing: expected"),
        ({"images": IMAGES / 255}, r"images are float64 .*: expected uint8 \(0 to 255\)"),
        ({"images": IMAGES.astype(np.int64)}, "images are int64"),
        ({"images": IMAGES[0, 0]}, r"\[6, 3\]: expected uint8"),
        ({"images": IMAGES.transpose(0, 3, 1, 2).copy()}, r"images are uint8 \[5, 3, 4, 6\].*the channels last"),
        ({"images": IMAGES[:0]}, r"images are uint8 \[0, 4, 6, 3\]"),
        ({"images": IMAGES, "labels": np.arange(4)}, r"labels \[4\]: expected \[5\]"),
        ({"images": IMAGES, "labels": np.arange(5.0)}, "labels are float64 .*: expected whole numbers or names"),
        ({"images": IMAGES, "labels": np.array([0, -1, 0, 0, 0])}, "labels -1 to 0: expected 0 or more, or -1 for all"),
        ({"images": IMAGES, "labels": np.arange(5), "classes": np.array(["a"])}, "labels 0 to 4: expected 0 to 0"),
        ({"images": IMAGES, "labels": np.array(list("abcba")), "classes": np.array(["a", "b"])}, "unknown label 'c'"),
        ({"images": IMAGES, "classes": np.array(["a"])}, "classes without labels"),
        ({"images": IMAGES, "labels": np.arange(5), "classes": np.arange(5)}, "classes are int64 .*a list of names"),
        ({"images": IMAGES, "labels": np.array(["a", "b\n", "", "d", "e"])}, "characters that can be printed"),
        ({"images": np.asfortranarray(IMAGES)}, "stored column by column"),
        ({"images": np.array([IMAGES, None], dtype=object)}, "holds Python objects, which are never unpickled"),
        ({"images": IMAGES, "labels": np.array(list("abcde"), dtype=object)}, "labels.npy holds Python objects"),
    ],
)
def test_other_arrays_are_refused(load, arrays, message, tmp_path):
    with pytest.raises(Refusal, match=message) as refused:
        load(**arrays)
    assert str(refused.value).startswith(str(tmp_path / "set.npz"))


# Archives that lie --------------------------------------------------------------------------------


def member(shape, dtype="|u1", content=b""):
    """A file of an array that claims a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def archive(tmp_path, content, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(tmp_path / "set.npz", "w", how) as file:
        file.writestr("images.npy", content)
    return tmp_path / "set.npz"


@pytest.mark.parametrize(
    "shape", [(10**6, 320, 320, 1), (2, 2, 2), (4, 2, 2), (10**20, 10**20, 1), (-3, -1, 4), (-1, 12, 1), (1,) * 40]
)
def test_an_array_that_claims_more_or_less_than_it_holds_is_refused(tmp_path, shape):
    with pytest.raises(Refusal, match=r"set.npz.*(announces|images are)"):
        load_data(str(archive(tmp_path, member(shape, content=bytes(12)))))


def test_an_archive_that_claims_a_hundred_gigabytes_costs_no_memory(tmp_path):
    """Its directory says so too, and the compressed bytes are few."""
    claimed, path = 100 * 2**30, archive(tmp_path, member((100 * 2**10, 1024, 1024), content=bytes(10_000)))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    size = len(member((100 * 2**10, 1024, 1024))) + claimed
    content[place + 24 : place + 28] = b"\xff" * 4  # the size is in the directory's 64-bit extra field
    extra = struct.pack("<HHQ", 1, 8, size)
    names = struct.unpack("<H", content[place + 28 : place + 30])[0]
    content[place + 30 : place + 32] = struct.pack("<H", len(extra))
    content[place + 46 + names : place + 46 + names] = extra
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<I", end - place)
    path.write_bytes(content)
    assert zipfile.ZipFile(path).infolist()[0].file_size == size
    tracemalloc.start()
    with pytest.raises(Refusal, match=r"announces .*: expected at most"):
        load_data(str(path))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_images_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "AT_A_TIME", 2 * 72)
    np.savez_compressed(tmp_path / "set.npz", images=IMAGES)
    np.testing.assert_array_equal(load_data(str(tmp_path / "set.npz")).images, IMAGES)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_is_refused_or_read_but_never_anything_else(tmp_path, how):
    content = archive(tmp_path, member((5, 4, 6, 3), content=IMAGES.tobytes()), how).read_bytes()
    random, refused = np.random.default_rng(0), []
    for trial in range(80):
        broken = bytearray(content)
        if trial % 2:
            del broken[random.integers(len(broken)) :]
        for place in random.integers(0, max(1, len(broken)), 2):
            broken[place : place + 1] = bytes([random.integers(256)])
        (tmp_path / "broken.npz").write_bytes(broken)
        try:
            assert load_data(str(tmp_path / "broken.npz")).images.dtype == np.uint8
        except Refusal as error:
            refused.append(str(error))
    assert len(refused) > 60
    assert all(text.startswith(str(tmp_path / "broken.npz")) for text in refused)


def test_other_compressions_and_no_archive_at_all(tmp_path):
    with pytest.raises(Refusal, match="compressed in another way"):
        load_data(str(archive(tmp_path, member((1, 2, 2), content=bytes(4)), zipfile.ZIP_LZMA)))
    (tmp_path / "set.npz").write_text("no archive")
    with pytest.raises(Refusal, match=r"set.npz is not a readable .npz file"):
        load_data(str(tmp_path / "set.npz"))
    with pytest.raises(Refusal, match=r"no .npz file at"):
        load_data(str(tmp_path / "absent.npz"))
    np.savez(tmp_path / "set.npz", images=IMAGES)
    with pytest.raises(NoTestPart):
        load_data(str(tmp_path / "set.npz"), part="test")

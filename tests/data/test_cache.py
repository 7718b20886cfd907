"""The cache of decoded sets: filled once and whole, mapped, never half an entry, no trace of who was killed."""

import errno
import os
import time

import numpy as np
import pytest

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import ABANDONED_SECONDS
from noisette.data.cache import cached

KEY, SHAPE = "ab12", (3, 2, 1)
IMAGES = np.arange(5 * 6, dtype=np.uint8).reshape(5, *SHAPE)
LABELS = np.array([4, -1, 0, 2, 1], np.int64)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path))
    return tmp_path / "sets"


def chunks():
    yield IMAGES[:2], LABELS[:2]
    yield IMAGES[2:], LABELS[2:]


def never():
    raise AssertionError("it is there already")
    yield


def fill(rows=chunks, key=KEY, count=5):
    return cached(key, "blobs", count, SHAPE, rows)


def test_it_is_filled_once_and_mapped_read_only(folder):
    for images, labels in (fill(), fill(never)):
        assert isinstance(images, np.memmap)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 1
    assert sorted(path.name for path in folder.iterdir()) == [KEY]
    assert sorted(path.name for path in (folder / KEY).iterdir()) == ["entry.json", "labels", "pixels"]


def test_another_key_is_another_entry():
    fill()
    images, labels = fill(lambda: [(IMAGES[:1] + 7, LABELS[:1])], key="cd34")  # fewer than announced, too
    np.testing.assert_array_equal(images, IMAGES[:1] + 7)
    np.testing.assert_array_equal(labels, LABELS[:1])


def test_rows_that_lie_anyhow_in_memory_are_stored_in_order():
    images, labels = fill(lambda: [(np.asfortranarray(IMAGES), LABELS[::-1][::-1])])
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_nothing_at_all():
    images, labels = fill(lambda: [])
    assert images.shape == (0, *SHAPE)
    assert labels.shape == (0,)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "pixels").write_bytes(b"short"),
        lambda entry: (entry / "labels").unlink(),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text('{"format": "noisette-set-0", "shape": [5, 3, 2, 1]}'),
        lambda entry: (entry / "entry.json").write_text('{"format": "noisette-set-1", "shape": [5, 3, 2, "1"]}'),
        lambda entry: (entry / "entry.json").write_text('{"format": "noisette-set-1", "shape": [-5, -3, 2, 1]}'),
        lambda entry: (entry / "entry.json").write_text("[]"),
    ],
)
def test_a_damaged_entry_is_filled_again(folder, damage):
    fill()
    damage(folder / KEY)
    np.testing.assert_array_equal(fill()[0], IMAGES)
    assert [path.name for path in folder.iterdir()] == [KEY]
    fill(never)


@pytest.mark.parametrize("error", [Refusal("one image is none"), KeyboardInterrupt()])
def test_rows_that_end_early_leave_nothing(folder, error):
    def broken():
        yield IMAGES[:2], LABELS[:2]
        raise error

    with pytest.raises(type(error)):
        fill(broken)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(folder, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("noisette.base.files.sync_file", full)
    with pytest.raises(NoisetteError, match=rf"^cannot write .*{KEY}: No space left on device$"):
        fill()
    assert list(folder.iterdir()) == []


def test_of_two_that_fill_it_the_first_wins_and_both_read_it(folder):
    def while_another_is_faster():
        np.testing.assert_array_equal(fill()[0], IMAGES)
        yield IMAGES + 100, LABELS

    np.testing.assert_array_equal(fill(while_another_is_faster)[0], IMAGES)
    assert [path.name for path in folder.iterdir()] == [KEY]


def test_what_a_killed_process_left_is_removed_and_what_grows_is_not(folder):
    dead, alive = folder / ".unfinished-dead", folder / ".unfinished-alive"
    for each in (dead, alive):
        each.mkdir(parents=True)
        (each / "pixels").write_bytes(b"half")
    old = time.time() - 2 * ABANDONED_SECONDS
    for path in (dead / "pixels", dead, alive):  # in the other the file has grown since
        os.utime(path, (old, old))
    fill()
    assert sorted(path.name for path in folder.iterdir()) == [alive.name, KEY]

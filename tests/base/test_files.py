"""A file is whole or absent, whatever happens while it is written."""

import os
import stat
import time
from pathlib import Path

import pytest

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import ABANDONED_SECONDS, existing_file, remove_abandoned, whole_file, whole_folder, write_text


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "model.bin"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".bin"
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names_in(path.parent) == ["model.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "model.bin"
    write_text(path, "old")

    def interrupted() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["model.bin"]


def test_writing_again_replaces(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "nü")
    assert (tmp_path / "a.txt").read_bytes() == "nü".encode()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_has_the_permissions_of_any_other(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_a_disk_that_refuses_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NoisetteError, match=r"^cannot write .*file/a\.txt: ") as caught:
        write_text(tmp_path / "file" / "a.txt", "text")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_is_told_and_nothing_is_left(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(NoisetteError, match="cannot write"):
        write_text(tmp_path / "a.txt", "text")
    assert names_in(tmp_path) == ["a.txt"]


def test_an_existing_file_is_returned_and_any_other_path_refused(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    assert existing_file(str(tmp_path / "a.txt"), "model") == tmp_path / "a.txt"
    with pytest.raises(Refusal, match=r"no model at .*: found nothing there"):
        existing_file(tmp_path / "b.txt", "model")
    with pytest.raises(Refusal, match=r"no model at .*: found a folder there"):
        existing_file(tmp_path, "model")


def test_a_folder_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "pictures"
    with whole_folder(path) as temporary:
        for name in "abc":
            (temporary / name).write_text(name)
        assert names_in(path.parent) == [temporary.name]
    assert names_in(path.parent) == ["pictures"]
    assert names_in(path) == ["a", "b", "c"]
    assert os.access(path, os.R_OK | os.X_OK)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_interrupted_folder_leaves_nothing(tmp_path, error):
    def interrupted() -> None:
        with whole_folder(tmp_path / "pictures") as temporary:
            (temporary / "a").write_text("half")
            raise error

    with pytest.raises(NoisetteError if error is OSError else error):
        interrupted()
    assert names_in(tmp_path) == []


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    write_text(tmp_path / "there" / "mine.txt", "mine")
    with pytest.raises(NoisetteError, match=r"cannot write .*there"), whole_folder(tmp_path / "there"):
        pass
    assert names_in(tmp_path / "there") == ["mine.txt"]
    assert names_in(tmp_path) == ["there"]


def test_every_file_of_a_folder_is_synced_before_it_appears(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync

    def note(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, (tmp_path / "pictures").exists()))
        sync(handle)

    monkeypatch.setattr("os.fsync", note)
    with whole_folder(tmp_path / "pictures") as temporary:
        for name in "abc":
            (temporary / name).write_text(name)
    files = {path.stat().st_ino for path in (tmp_path / "pictures").iterdir()}
    assert files <= {number for number, appeared in synced if not appeared}


def test_what_was_abandoned_is_removed_and_what_grows_is_not(tmp_path):
    old = time.time() - 2 * ABANDONED_SECONDS
    for name in (".unfinished-old", ".unfinished-new", "old"):
        write_text(tmp_path / f"{name}.txt", "half")
        write_text(tmp_path / name / "a.txt", "half")
        if name.endswith("old"):
            for path in (tmp_path / f"{name}.txt", tmp_path / name / "a.txt", tmp_path / name):
                os.utime(path, (old, old))
    os.utime(tmp_path / ".unfinished-new", (old, old))  # the file in it has grown since
    remove_abandoned(tmp_path)
    assert names_in(tmp_path) == [".unfinished-new", ".unfinished-new.txt", "old", "old.txt"]
    remove_abandoned(tmp_path / "absent")

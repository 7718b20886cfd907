"""The lock of a folder: one holder at a time, none after its end, and a folder that vanishes is noticed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from noisette.base import lock as module
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.lock import LOCK_FILE, locked, unused

HOLD = """
import sys
from pathlib import Path
from noisette.base.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def take(folder: Path) -> None:
    with locked(folder):
        pass


def test_a_second_holder_is_refused_until_the_first_is_done(tmp_path):
    folder = tmp_path / "deep" / "run"
    with locked(folder), pytest.raises(Refusal, match=r"run is in use by another process: .*one at a time") as caught:
        take(folder)
    assert "\n" not in str(caught.value)
    take(folder)
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]


def test_a_killed_process_leaves_no_lock(tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "held\n"
    with pytest.raises(Refusal, match="in use by another process"):
        take(tmp_path)
    started.kill()
    started.communicate()
    take(tmp_path)


def test_an_error_within_releases(tmp_path):
    def fail() -> None:
        with locked(tmp_path):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    take(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove a folder that is in use")
@pytest.mark.parametrize("again", [False, True], ids=["removed", "replaced"])
def test_a_folder_that_is_no_longer_there_is_noticed(tmp_path, again):
    folder = tmp_path / "run"
    with locked(folder) as held:
        held.require_in_place()
        shutil.rmtree(folder)
        if again:
            folder.mkdir()
            (folder / LOCK_FILE).touch()
        with pytest.raises(NoisetteError, match=r"run was removed or replaced") as caught:
            held.require_in_place()
    assert not isinstance(caught.value, Refusal)


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def none(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "_lock", none)
    with pytest.warns(UserWarning, match="cannot be locked .No locks available.: let no second process write there"):
        take(tmp_path)


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal, match=r"^cannot write .*run\.lock: "):
        take(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("names", "free"),
    [((), True), ((LOCK_FILE,), True), ((LOCK_FILE, ".unfinished-config-x1.toml"), True), (("notes",), False)],
)
def test_what_a_process_leaves_that_is_killed_at_once_is_no_use(tmp_path, names, free):
    assert unused(tmp_path / "missing")
    for name in names:
        (tmp_path / name).touch()
    assert unused(tmp_path) == free

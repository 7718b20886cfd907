"""One process at a time in a folder: a lock of the operating system, which ends with the process that holds it."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import UNFINISHED, make_folder, writing

LOCK_FILE = "run.lock"
"""Stays in the folder: were it removed, two processes could each lock a file of this name."""
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class FolderLock:
    """A folder that this process holds."""

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder, self._handle = folder, handle

    def require_in_place(self) -> None:
        """Raise NoisetteError when the folder was removed, moved or replaced since it was locked: what is written
        into one of the same name would be a part of nothing."""
        try:
            there = (self.folder / LOCK_FILE).stat()
        except OSError:
            there = None
        own = os.fstat(self._handle)
        if there is None or (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            raise NoisetteError(f"{self.folder} was removed or replaced while it was written to: nothing more is saved")


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Hold `folder`, which is made where it is missing. Raises Refusal when another process holds it, or when it
    cannot be written to; where the file system knows no locks, that is a warning."""
    path = folder / LOCK_FILE
    with writing(path, Refusal):
        make_folder(folder)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in TAKEN:
                raise Refusal(
                    f"{folder} is in use by another process: expected one at a time; wait for it, or end it"
                ) from error
            warnings.warn(
                f"{folder} cannot be locked ({error.strerror}): let no second process write there", stacklevel=2
            )
        yield FolderLock(folder, handle)
    finally:
        os.close(handle)  # which unlocks


def unused(folder: Path) -> bool:
    """Whether a folder is missing or empty, save for what a process leaves that is killed before its first file."""
    left = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    return all(name == LOCK_FILE or name.startswith(UNFINISHED) for name in left)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

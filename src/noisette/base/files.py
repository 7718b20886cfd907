"""Files that are either whole or absent: written to a temporary name, synced, then renamed."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.resources.abc import Traversable
from pathlib import Path

from noisette.base.errors import NoisetteError, Refusal

CACHE_VARIABLE = "NOISETTE_CACHE"
UNFINISHED = ".unfinished-"
"""What a temporary name begins with: a killed process leaves it behind."""
ABANDONED_SECONDS = 3600.0
"""What is unfinished and has not grown for so long belongs to a process that was killed."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary path beside `path` (same suffix) and rename it to `path` on success.

    Parent folders are made. On an exception nothing is left behind and the old file stays as it was.
    Raises NoisetteError when the disk refuses.
    """
    path = Path(path)
    with writing(path):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
            sync_file(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # gone: renamed, or its folder removed
            temporary.unlink()


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary folder beside `path` for many files, and rename it to `path`, where nothing is yet.

    On an exception nothing is left behind. Raises NoisetteError when the disk refuses.
    """
    path = Path(path)
    with writing(path):
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{path.stem}-", dir=path.parent))
    try:
        with writing(path):
            yield temporary
            with ThreadPoolExecutor(8) as pool:  # a disk syncs many files in little more time than one
                list(pool.map(sync_file, temporary.iterdir()))
            sync_folder(temporary)
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(path: str | os.PathLike[str], kind: type[NoisetteError] = NoisetteError) -> Iterator[None]:
    """Within, a disk that refuses is an error of this kind that names `path`."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and let the disk know of them. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove the files that killed processes left half-written in `folder`, which no other may be writing to."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        if leftover.is_file():
            leftover.unlink()


def remove_abandoned(folder: Path) -> None:
    """Remove the files and folders that killed processes left half-written in `folder`, which others may be writing to
    or removing from."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):  # gone by now, or not ours to remove
            inner = list(leftover.iterdir()) if leftover.is_dir() else []
            newest = max(path.stat().st_mtime for path in (leftover, *inner))
            if time.time() - newest > ABANDONED_SECONDS:
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Make what was written to a closed file last."""
    with path.open("rb+") as written:
        os.fsync(written.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder(name: str) -> Path:
    """The folder `name` for what may be made or fetched again: within the one that the variable NOISETTE_CACHE names,
    else within the user's own cache."""
    import pooch  # here, since most commands need none of it

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("noisette")) / name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a place where no file `path` could be written after it. Leaves no trace."""
    path = Path(path)
    with writing(path, Refusal):
        if path.is_dir():
            raise Refusal(f"cannot write {path}: found a folder there, expected a file or nothing")
        with tempfile.TemporaryFile(dir=next(folder for folder in path.absolute().parents if folder.exists())):
            pass


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path; raises Refusal, naming `what` was looked for, when no regular file is there."""
    path = Path(path)
    try:
        if path.is_file():
            return path
        found = "a folder" if path.is_dir() else "a pipe, a device or the like" if path.exists() else "nothing"
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise Refusal(f"no {what} at {path}: {error.strerror or error}") from error
    raise Refusal(f"no {what} at {path}: found {found} there")


def names_in(folder: Traversable, suffix: str) -> list[str]:
    """The names, less `suffix`, of the files in `folder` that end in it, sorted."""
    return sorted(entry.name.removesuffix(suffix) for entry in folder.iterdir() if entry.name.endswith(suffix))

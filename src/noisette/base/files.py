"""Files that are either whole or absent: written to a temporary name, synced, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path

from noisette.base.errors import NoisetteError, Refusal


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary path beside `path` (same suffix) and rename it to `path` on success.

    Parent folders are made. On an exception nothing is left behind and the old file stays as it was.
    Raises NoisetteError when the disk refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise NoisetteError(f"cannot write {path}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise NoisetteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


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
    try:
        if path.is_dir():
            raise Refusal(f"cannot write {path}: found a folder there, expected a file or nothing")
        with tempfile.TemporaryFile(dir=next(folder for folder in path.absolute().parents if folder.exists())):
            pass
    except OSError as error:
        raise Refusal(f"cannot write {path}: {error.strerror or error}") from error


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path; raises Refusal, naming `what` was looked for, when no file is there."""
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise Refusal(f"no {what} at {path}: found {found} there")
    return path


def names_in(folder: Traversable, suffix: str) -> list[str]:
    """The names, less `suffix`, of the files in `folder` that end in it, sorted."""
    return sorted(entry.name.removesuffix(suffix) for entry in folder.iterdir() if entry.name.endswith(suffix))

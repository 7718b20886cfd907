"""The newest checkpoints of a run, and the manifest that vouches for them.

A folder holds the newest checkpoint, the one before it, and manifest.json, which names both with size and SHA-256. A
checkpoint counts from the moment that the manifest names it: it is written last, and only then are older ones removed.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from noisette.base.config import from_plain, require
from noisette.base.errors import NoisetteError, Refusal, one_line, shown
from noisette.base.files import digest_of, remove_unfinished, write_text, writing
from noisette.base.text_file import LARGEST_JSON, parse_json, read_text
from noisette.training.checkpoint import save_state
from noisette.training.loop import Progress, TrainState

FORMAT, MANIFEST, SUFFIX = "noisette-checkpoints-1", "manifest.json", ".safetensors"
NAME = r"[0-9]{1,20}(-validated)?\.safetensors"
KEPT = 2
"""The newest, and the one before it for when the newest is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of the folder, as it was when it was written. size: in bytes."""

    file: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        require(re.fullmatch(NAME, self.file) is not None, f"file {shown(self.file)}", "a checkpoint of this folder")


class Checkpoints:
    """The checkpoints in a folder. `damage`: what is wrong with those newer than `newest`; None when nothing is."""

    damage: str | None = None

    def __init__(self, folder: Path) -> None:
        """Look at what is there. Raises Refusal when there are checkpoints and none is whole."""
        self.folder, self._manifest = folder, _text(folder / MANIFEST)
        self._good: list[Checkpoint] = []
        """Those that the manifest names, from the newest whole one on."""
        if self._manifest is not None:
            self._good = self._whole(_read(folder / MANIFEST, self._manifest))
        elif len(self._unnamed()) > 1:  # one alone may have been killed before its manifest
            raise Refusal(f"{folder} holds checkpoints and no {MANIFEST}: {_or_begin_anew(folder)}")

    @property
    def newest(self) -> Path | None:
        """The newest that is whole; None when nothing was saved yet."""
        return self.folder / self._good[0].file if self._good else None

    def unchanged(self) -> bool:
        """Whether no other process has saved here since this one looked."""
        return _text(self.folder / MANIFEST) == self._manifest

    def save(self, state: TrainState) -> None:
        """Save the state, then remove what is older than the one before it. A state that is saved already is left."""
        name = _name(state.progress)
        if self._good and self._good[0].file == name:
            return
        path = self.folder / name
        save_state(path, state)
        with writing(path):
            good = [Checkpoint(name, path.stat().st_size, digest_of(path)), *self._good][:KEPT]
        record = {"format": FORMAT, "checkpoints": [dataclasses.asdict(each) for each in good]}
        manifest = json.dumps(record, indent=1) + "\n"
        write_text(self.folder / MANIFEST, manifest)
        self._good, self._manifest = good, manifest
        self.tidy()

    def tidy(self) -> None:
        """Remove what the manifest does not name, and what was left half-written. No other process may be saving."""
        with writing(self.folder):
            remove_unfinished(self.folder)
            for path in self._unnamed():
                path.unlink(missing_ok=True)

    def _unnamed(self) -> list[Path]:
        named = {each.file for each in self._good}
        return [path for path in self.folder.glob(f"[0-9]*{SUFFIX}") if path.name not in named]

    def _whole(self, listed: list[Checkpoint]) -> list[Checkpoint]:
        """The listed from the newest whole one on."""
        wrong: list[str] = []
        for place, each in enumerate(listed):
            problem = _problem(self.folder / each.file, each)
            if problem is None:
                self.damage = "; ".join(wrong) or None
                return listed[place:]
            wrong.append(f"{each.file} {problem}")
        raise Refusal(f"no checkpoint in {self.folder} is whole: {'; '.join(wrong)}: {_or_begin_anew(self.folder)}")


def _or_begin_anew(folder: Path) -> str:
    return f"put it back as it was, or remove {folder} to train from the beginning"


def _name(progress: Progress) -> str:
    """One for each place where a run can be saved: a validation changes the state, though no image was seen."""
    validated = "-validated" if progress.validated_at == progress.images_seen else ""
    return f"{progress.images_seen:09d}{validated}{SUFFIX}"


def _problem(path: Path, expected: Checkpoint) -> str | None:
    """How the file differs from what the manifest says; None when it does not."""
    try:
        size = path.stat().st_size
        if size != expected.size:
            return f"is {size:,} bytes, not {expected.size:,}"
        if not path.is_file():  # a pipe would be waited for
            return "is no file"
        return None if digest_of(path) == expected.sha256 else "has another SHA-256"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _text(path: Path) -> str | None:
    """The manifest's text; None where there is none."""
    return read_text(path, "manifest", LARGEST_JSON) if path.exists() else None


def _read(path: Path, text: str) -> list[Checkpoint]:
    try:
        record = parse_json(text, "its text")
        require(record["format"] == FORMAT, f"format {record['format']!r}", repr(FORMAT))
        listed = [from_plain(Checkpoint, each, "checkpoint") for each in record["checkpoints"]]
        require(len(listed) > 0, "no checkpoint", "at least one")
        return listed
    except (KeyError, TypeError, NoisetteError) as error:
        raise Refusal(f"{path} is not a manifest: {one_line(error)}: {_or_begin_anew(path.parent)}") from error

"""A folder of pictures: one sub-folder a class, or pictures alone, which are of no class."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from noisette.base.errors import Refusal, printable, unknown
from noisette.base.names import class_name, class_table
from noisette.base.progress import Progress
from noisette.base.shapes import NO_CLASS
from noisette.data.form import Form
from noisette.data.images import ImageData, NoTestPart
from noisette.data.picture_sets import decoded, picture_files
from noisette.data.pictures import is_picture_name

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")
"""Sub-folders that are parts of the set and no classes, where `train` is there with one of the others: the first of
these that is there is the test part."""


def read_folder(name: str, part: str, form: Form, progress: Progress) -> ImageData:
    """The pictures in the folder `name`. Raises Refusal for a folder of anything else, NoTestPart where it has none, or
    one without the classes of the training part."""
    try:
        folder, warnings = _part(Path(name), part)
        found = _list(folder)
        groups = found.groups if part == "train" else _list(_part(Path(name), "train")[0]).groups
    except OSError as error:
        raise Refusal(f"{error.filename or name} cannot be read: {error.strerror or error}") from error
    classes = class_table(groups, name)
    others = ", ".join(f"{kind} ({count:,})" for kind, count in found.others.most_common())
    if found.groups and found.loose:
        raise Refusal(
            f"{folder} holds pictures ({printable(found.loose[0])}) beside sub-folders with pictures"
            f" ({printable(min(found.groups))}): expected one sub-folder a class, or pictures alone"
        )
    if found.loose and groups:
        raise NoTestPart(
            f"{name} has no test part with classes: {folder} holds pictures alone, expected one sub-folder a class, or"
            " use its validation split"
        )
    files = [(file, NO_CLASS) for file in found.loose] + list(_labelled(found.groups, classes, folder))
    if not files:
        raise Refusal(f"{folder} holds no pictures by their names: found {others or 'nothing'}")
    notes = (f"not read, since no pictures by their names: {others}",) if others else ()
    if found.empty:
        warnings = (*warnings, f"sub-folders without a picture, which are no classes: {', '.join(found.empty)}")
    source = f"the folder {folder}"
    return decoded(picture_files(name, source, classes, folder, files, notes, warnings), form, progress)


def _part(top: Path, part: str) -> tuple[Path, tuple[str, ...]]:
    """Where a part of the set lies, and a warning of what beside it is not read."""
    subs = {sub.casefold(): sub for sub in _sub_folders(top)}
    test = next((subs[name] for name in TESTS if name in subs), None)
    if TRAIN not in subs or test is None:
        if part == "test":
            raise NoTestPart(
                f"{top} has no test part: expected sub-folders train and test, or use its validation split"
            )
        return top, ()
    rest = sorted(printable(sub) for sub in subs.values() if sub not in (subs[TRAIN], test))
    warnings = (f"folders beside {TRAIN} and {test} that are not read: {', '.join(rest)}",) if rest else ()
    return top / (subs[TRAIN] if part == "train" else test), warnings


def _labelled(groups: dict[str, list[str]], classes: tuple[str, ...], folder: Path) -> Iterator[tuple[str, int]]:
    """Each picture of the sub-folders with its label, class by class."""
    labels = {name: label for label, name in enumerate(classes)}
    for sub, files in groups.items():
        name = class_name(sub, str(folder))
        if name not in labels:
            raise Refusal(f"{folder}: {unknown('class', name, classes)}, those of the training part")
        yield from ((file, labels[name]) for file in files)


# What a folder holds ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """Files, as paths relative to the folder."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    """The pictures below each sub-folder that holds any."""
    loose: list[str] = field(default_factory=list)
    """Pictures beside the sub-folders."""
    empty: list[str] = field(default_factory=list)
    """Sub-folders without a picture."""
    others: Counter[str] = field(default_factory=Counter)
    """How many files are no pictures by their names, by suffix."""


def _list(folder: Path) -> _Found:
    found = _Found()
    found.loose.extend(_pictures(_files_in(folder), found.others))
    for sub in _sub_folders(folder):
        if pictures := list(_pictures(_files_below(folder, sub), found.others)):
            found.groups[sub] = pictures
        else:
            found.empty.append(printable(sub))
    return found


def _pictures(files: Iterator[str], others: Counter[str]) -> Iterator[str]:
    """Those that are pictures by their names; the others are counted."""
    for file in files:
        if is_picture_name(file):
            yield file
        else:
            others[printable(os.path.splitext(file)[1].lower()) or "without a suffix"] += 1  # noqa: PTH122


def _sub_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def _files_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from sorted(entry.name for entry in entries if not entry.is_dir() and not _hidden(entry.name))


def _files_below(folder: Path, sub: str) -> Iterator[str]:
    """All files at any depth, sorted, so that every machine sees them in the same order. Linked folders within the
    sub-folder are not followed, for they may lead in circles: they count as files."""

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder / sub, onerror=refuse):
        inner = Path(here)
        links = [name for name in folders if (inner / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for file in sorted(name for name in (*files, *links) if not _hidden(name)):
            yield os.path.relpath(os.path.join(here, file), folder)  # noqa: PTH118


def _hidden(name: str) -> bool:
    return name.startswith(".")

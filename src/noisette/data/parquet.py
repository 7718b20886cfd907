"""Parquet files as the `datasets` library writes them: a column of encoded pictures, and one of labels or none.

They are read with pyarrow alone, some rows at a time. Nothing in them is code, and nothing is unpickled.
"""

import hashlib
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisette.base.array_file import ALWAYS, TIMES
from noisette.base.config import require
from noisette.base.errors import Refusal, one_line, printable, shortened, shown, unknown
from noisette.base.files import existing_file
from noisette.base.names import class_name, class_table
from noisette.base.progress import Progress
from noisette.base.shapes import NO_CLASS
from noisette.base.text_file import parse_json
from noisette.data.form import Form
from noisette.data.images import ImageData, NoTestPart
from noisette.data.picture_sets import Picture, PictureSet, decoded, stamp

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
"""Words in the name of a file, or of its folder, that tell its split."""
TESTS = ("test", "validation")
"""Splits that are the test part: the first of these that is there."""

LABELS = ("label", "labels", "class")
"""Names of a column of labels that is not marked as one."""

ROWS, LABEL_ROWS = 64, 2**16
"""Read at a time: of pictures, of labels."""


def holds_parquet(path: Path) -> bool:
    """Whether a path is a parquet file, or a folder that holds some, or whose sub-folders do."""
    return path.suffix.lower() == ".parquet" or bool(path.is_dir() and _files_in(path))


def _files_in(folder: Path) -> list[Path]:
    """Neither folders that are called so, as Spark's `train.parquet` with its parts, nor what is hidden, as the
    `._train.parquet` that macOS lays beside a copied file."""
    files = sorted(path for pattern in ("*.parquet", "*/*.parquet") for path in folder.glob(pattern) if path.is_file())
    return [file for file in files if not any(step.startswith(".") for step in file.relative_to(folder).parts)]


def read_parquet(name: str, part: str, form: Form, progress: Progress) -> ImageData:
    """The pictures of a parquet file, or of a folder of them. Raises Refusal for files of anything else, NoTestPart
    where there is none, or one without labels."""
    top = Path(name)
    files = _by_split(top) if top.is_dir() else {"train": [existing_file(top, "parquet file")]}
    wanted = part_of(files, part, name)
    rest = [printable(file.relative_to(top)) for file in files.get("", ())]
    warnings = (f"files of no known split, which are not read: {shortened(rest)}",) if rest else ()
    return read_files(name, f"the parquet files {name}", files["train"], files[wanted], form, progress, warnings)


def _by_split(top: Path) -> dict[str, list[Path]]:
    """The files of each split; those of a folder that tells none are all for training."""
    found: dict[str, list[Path]] = {}
    for file in _files_in(top):
        steps = reversed(file.relative_to(top).with_suffix("").parts)  # the file's own name tells before its folder's
        words = (word for step in steps for word in re.split("[^a-z]+", step.casefold()))
        split = next((SPLITS[word] for word in words if word in SPLITS), "")
        found.setdefault(split, []).append(file)
    return {"train": found[""]} if set(found) == {""} else found


def part_of(splits: Collection[str], part: str, name: str) -> str:
    """The split that is a part ("train" or "test"). Raises Refusal where there is no split train, NoTestPart where
    there is none to test with."""
    if "train" not in splits:
        raise Refusal(f"{name} has no split train: found {shortened(sorted(filter(None, splits))) or 'none'}")
    if part == "train":
        return "train"
    split = next((split for split in TESTS if split in splits), None)
    if split is None:
        raise NoTestPart(f"{name} has no test part: expected a split test or validation, or use its validation split")
    return split


def read_files(
    name: str,
    source: str,
    train: Sequence[Path],
    files: Sequence[Path],
    form: Form,
    progress: Progress,
    warnings: tuple[str, ...] = (),
) -> ImageData:
    """The pictures in `files`, one part of a set whose training part, which decides the classes, is in `train`. Raises
    NoTestPart where that one alone has labels."""
    require_pyarrow()
    columns = _columns(train[0])
    classes = _classes(train, columns)
    labels = _labels_of(files, columns, classes)
    if none := int((labels == NO_CLASS).sum()):
        require(none == len(labels), f"{name}: {none:,} of {len(labels):,} rows without a label", "all or none")
        if (_labels_of(train, columns, classes) != NO_CLASS).any():
            raise NoTestPart(
                f"{name} has no test part with labels: expected them in the column {columns.label}, as in its training"
                " part, or use its validation split"
            )
        classes = ()
    require(len(labels) > 0, f"{name} without a row", "pictures")
    facts = [columns.image, columns.label, classes, *((str(file), stamp(file)) for file in files)]

    def pictures() -> Iterator[Picture]:
        label = iter(labels.tolist())
        for file in files:
            for row, content in enumerate(_contents(file, columns.image)):
                yield Picture(f"{printable(file)}, row {row}", io.BytesIO(content), next(label, NO_CLASS))

    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    found = PictureSet(name, source, classes, digest, len(labels), pictures, columns.told(), warnings)
    return decoded(found, form, progress)


def require_pyarrow() -> None:
    """Raise Refusal where the library is missing."""
    try:
        import pyarrow.parquet  # noqa: F401 - the extra hub
    except ImportError as error:
        raise Refusal("parquet files need the extra 'hub': pip install 'noisette[hub]'") from error


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Within, a file that pyarrow cannot read is a Refusal that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{printable(file)} cannot be read: {one_line(error)}") from error


# Columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """Which columns hold what. names: the labels' class names, where the file tells them."""

    image: str
    label: str | None
    names: tuple[str, ...] | None
    passed_over: tuple[str, ...]
    """Other columns that might have been meant."""

    def told(self) -> tuple[str, ...]:
        """For people."""
        label = f"labels from {self.label}" if self.label else "no column of labels, so of no class"
        others = f"; not read: {', '.join(self.passed_over)}" if self.passed_over else ""
        return (f"pictures from the column {self.image}, {label}{others}",)


def _columns(file: Path) -> Columns:
    import pyarrow.parquet as pq

    with _reading(file):
        return columns_of(pq.read_schema(file), printable(file))


def columns_of(schema: Any, where: str) -> Columns:
    """The columns of an arrow schema. Raises Refusal, which begins with `where`, where none holds pictures."""
    import pyarrow.types as kind

    features = _features(schema, where)

    def marked(what: str) -> list[str]:
        return [name for name in schema.names if features.get(name, {}).get("_type") == what]

    def holds_pictures(field: Any) -> bool:
        if kind.is_struct(field.type):
            return bool(field.type.get_field_index("bytes") >= 0)
        return bool(kind.is_binary(field.type) or kind.is_large_binary(field.type))

    images = marked("Image") or [field.name for field in schema if holds_pictures(field)]
    images = [name for name in images if holds_pictures(schema.field(name))]
    if not images:
        raise Refusal(
            f"{where} has no column of pictures: found {shortened(schema.names) or 'no columns'}, expected one of"
            " encoded files, as the datasets library writes"
        )
    labels = marked("ClassLabel") or [name for name in LABELS if name in schema.names]
    label = labels[0] if labels else None
    names = features.get(label, {}).get("names") if label else None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        names = None
    classes = None if names is None else tuple(class_name(name, where) for name in names)
    return Columns(images[0], label, classes, tuple(images[1:] + labels[1:]))


def _features(schema: Any, where: str) -> dict[str, dict[str, Any]]:
    """What the datasets library says of each column; nothing where it has not written the file."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = parse_json(text.decode(), where)["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (Refusal, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return {}


# Content ------------------------------------------------------------------------------------------


def _cells(file: Path, column: str, rows: int) -> Iterator[Any]:
    """A column as arrow arrays of some rows."""
    import pyarrow.parquet as pq

    with _reading(file), pq.ParquetFile(file, pre_buffer=False) as table:  # else the whole file comes into memory
        _require_honest(table.metadata, file)
        found = table.schema_arrow.names
        require(column in found, f"{printable(file)} with the columns {shortened(found)}", f"{column} among them")
        for batch in table.iter_batches(rows, columns=[column]):
            yield batch.column(0)


def _require_honest(facts: Any, file: Path) -> None:
    """Raise Refusal for a file that announces more than encoded pictures, which hardly shrink, could come from."""
    stored = file.stat().st_size
    # Of row groups, not of columns: of a damaged column pyarrow ends the process instead of raising an error.
    size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    require(
        0 <= size <= max(ALWAYS, TIMES * stored) and 0 <= facts.num_rows <= stored,
        f"{printable(file)} announces {facts.num_rows:,} rows, {size:,} bytes",
        f"no more than a file of {stored:,} bytes could hold",
    )


def _contents(file: Path, image: str) -> Iterator[bytes]:
    """The encoded picture of each row; of a row without one nothing, which is no picture that can be read."""
    import pyarrow.types as kind

    for cells in _cells(file, image, ROWS):
        if kind.is_struct(cells.type):
            cells = cells.flatten()[cells.type.get_field_index("bytes")]
        for cell in cells:
            yield cell.as_py() or b""


def _labels(file: Path, column: str) -> Iterator[int | str]:
    """The label of each row, a whole number or a text."""
    for cells in _cells(file, column, LABEL_ROWS):
        for label in cells.to_pylist():
            if type(label) not in (int, str):
                raise Refusal(f"{printable(file)}: label {shown(label)}: expected whole numbers or class names")
            yield label


def _classes(train: Sequence[Path], columns: Columns) -> tuple[str, ...]:
    """Class names, in the order of the labels: those that the files tell, else the different labels, sorted."""
    if columns.label is None:
        return ()
    if columns.names is not None:
        return columns.names
    found = {label for file in train for label in _labels(file, columns.label)}
    return class_table(map(str, found), printable(train[0]))


def _labels_of(files: Sequence[Path], columns: Columns, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """The label of each row of one part as `_numbers` gives them; all NO_CLASS where no file has the column."""
    import pyarrow.parquet as pq

    def has_labels(file: Path) -> bool:
        with _reading(file):
            return bool(columns.label in pq.read_schema(file).names)

    if not any(map(has_labels, files)):
        columns = replace(columns, label=None)
    return np.concatenate([_numbers(file, columns, classes) for file in files])


def _numbers(file: Path, columns: Columns, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """The label of each row as a place in `classes`, or NO_CLASS, [rows]."""
    import pyarrow.parquet as pq

    if columns.label is None:
        with _reading(file):
            facts = pq.read_metadata(file)
            _require_honest(facts, file)
            return np.full(facts.num_rows, NO_CLASS, np.int64)
    places: dict[int | str, int] = {NO_CLASS: NO_CLASS}
    if columns.names is not None:
        places.update((place, place) for place in range(len(classes)))
    by_name = {} if columns.names is not None else {name: place for place, name in enumerate(classes)}

    def place_of(label: int | str) -> int:
        if label not in places:
            name = class_name(str(label), printable(file))
            if name not in by_name:
                raise Refusal(f"{printable(file)}: {unknown('label', label, by_name or map(str, places))}")
            places[label] = by_name[name]
        return places[label]

    return np.fromiter((place_of(label) for label in _labels(file, columns.label)), np.int64)

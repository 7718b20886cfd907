"""A CSV file of paths and labels: the header `path,label`, then a picture a line."""

import csv
from collections.abc import Iterator
from typing import TextIO

from noisette.base.errors import Refusal, one_line, unknown
from noisette.base.files import existing_file
from noisette.base.names import class_name, class_table
from noisette.base.progress import Progress
from noisette.base.shapes import NO_CLASS
from noisette.data.form import Form
from noisette.data.images import ImageData, NoTestPart
from noisette.data.picture_sets import decoded, picture_files

PATH, LABEL = "path", "label"
LONGEST = 2**18
"""Characters of a line."""


def read_table(name: str, part: str, form: Form, progress: Progress) -> ImageData:
    """The pictures that the CSV file `name` lists, their paths relative to its folder, their labels class names.

    Without a column `label` they are of no class. Raises Refusal for any other table, NoTestPart for its test part.
    """
    path = existing_file(name, "CSV file")
    if part == "test":
        raise NoTestPart(f"{name} has no test part: use its validation split")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(_lines(file), name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refusal(f"{name} is not a readable CSV file: {one_line(error)}") from error
    if not rows:
        raise Refusal(f"{name} lists no pictures: expected the header {PATH},{LABEL} and a line for each")
    classes = class_table({label for _, label in rows if label is not None}, name)
    labels = {label: number for number, label in enumerate(classes)}
    files = [(file, NO_CLASS if label is None else labels[label]) for file, label in rows]
    return decoded(picture_files(name, f"the table {name}", classes, path.parent, files), form, progress)


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; raises csv.Error for one without an end, before it fills the memory."""
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise csv.Error(f"a line of more than {LONGEST:,} characters")
        yield line


def _rows(file: Iterator[str], name: str) -> Iterator[tuple[str, str | None]]:
    """Path and class name of each line; None where there are no labels."""
    lines = csv.reader(file, strict=True)
    columns = [column.strip() for column in next(lines, [])]
    if not {PATH, LABEL} <= set(columns):  # then a column of another name may be one of these, misspelt
        for column in columns:
            if column not in (PATH, LABEL):
                raise Refusal(f"{name}: {unknown('column', column, (PATH, LABEL))}")
    if PATH not in columns:
        raise Refusal(f"{name} has no header: expected {PATH},{LABEL} on its first line")
    for line in lines:
        if not line:
            continue
        where = f"{name}, line {lines.line_num}"
        if len(line) != len(columns) or not line[columns.index(PATH)]:
            raise Refusal(f"{where}: expected {','.join(columns)}, found {','.join(line)}")
        label = class_name(line[columns.index(LABEL)].strip(), where) if LABEL in columns else None
        yield line[columns.index(PATH)], label

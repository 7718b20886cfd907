"""Data sets of the Hugging Face hub, `hub:owner/name` or `hub:owner/name:config`, through the `datasets` library.

The two columns that are needed are copied once, as they stream, into a parquet file of the cache, and read from there:
whatever form the hub has them in, it is asked no more, and no code of theirs runs here.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from noisette.base.errors import NoisetteError, Refusal, one_line
from noisette.base.files import cache_folder, remove_abandoned, whole_file, write_text
from noisette.base.progress import Progress
from noisette.base.text_file import read_json
from noisette.data.form import Form
from noisette.data.images import ImageData
from noisette.data.parquet import columns_of, part_of, read_files

PREFIX = "hub:"
SPLITS = "splits.json"
ROWS = 256
"""Copied at a time."""


def is_on_hub(path: Path) -> bool:
    """Whether it is no path but the name of a data set of the hub."""
    return str(path).startswith(PREFIX)


def read_hub(name: str, part: str, form: Form, progress: Progress) -> ImageData:
    """The pictures of a data set of the hub, from the copy in the cache or copied now. Raises Refusal for what is not
    there, or holds no pictures, NoTestPart where it has none, NoisetteError when the hub cannot be reached."""
    repository, config = _repository(name)
    folder = cache_folder("hub") / "--".join([*repository.split("/"), *([config] if config else [])])
    remove_abandoned(folder)  # each time: a copy made right after a kill finds what that left too young
    splits = _splits(folder, repository, config)
    split = part_of(splits, part, name)
    for needed in ("train", split):  # the training part decides the classes
        if not (folder / f"{needed}.parquet").exists():
            _copy(repository, config, needed, folder / f"{needed}.parquet", progress)
    source = f"{name} of the Hugging Face hub, copied to {folder}"
    return read_files(name, source, [folder / "train.parquet"], [folder / f"{split}.parquet"], form, progress)


def _repository(name: str) -> tuple[str, str | None]:
    found = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?::([\w.+-]+))?", name, re.ASCII)
    if found is None or ".." in name:
        raise Refusal(f"data set {name!r}: expected hub:owner/name or hub:owner/name:config")
    return found[1], found[2]


def _splits(folder: Path, repository: str, config: str | None) -> list[str]:
    """The names of the splits, as they were when the first of them was copied."""
    file = folder / SPLITS
    if not file.exists():
        splits = _asked(repository, lambda datasets: datasets.get_dataset_split_names(repository, config))
        write_text(file, json.dumps([str(split) for split in splits]) + "\n")
    found = read_json(file, "list of splits")
    if not isinstance(found, list):
        raise Refusal(f"{file} is no list of splits: remove the folder, and it is copied again")
    return [str(split) for split in found]


def _copy(repository: str, config: str | None, split: str, path: Path, progress: Progress) -> None:
    """Stream a split into the parquet file `path`, the pictures within, whatever they were stored as."""

    def copy(datasets: Any) -> None:
        import pyarrow.parquet as pq

        stream = datasets.load_dataset(repository, config, split=split, streaming=True)
        known = (stream.info.splits or {}).get(split)
        done, writer = 0, None
        with whole_file(path) as temporary, ExitStack() as stack:
            for table in _tables(repository, stream):
                writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema))
                writer.write_table(table)
                done += len(table)
                progress(f"copying {split} from the hub", done, max(done, known.num_examples if known else 0))
            if writer is None:
                raise Refusal(f"{repository} without a row in split {split}: expected pictures")

    _asked(repository, copy)


def _tables(repository: str, stream: Any) -> Iterator[Any]:
    """The two columns of a stream, some rows at a time, the pictures within. Raises NoisetteError when the hub fails
    amid it, whose OSError would else be told as one of the disk that is written to."""
    from datasets.table import embed_table_storage

    try:
        for table in stream.with_format("arrow").iter(ROWS):
            columns = columns_of(table.schema, repository)
            table = table.select([columns.image, *([columns.label] if columns.label else [])])
            yield embed_table_storage(table)
    except OSError as error:
        raise _not_read(repository, error) from error


def _asked(repository: str, question: Any) -> Any:
    """What the library answers; whatever it raises is told in a line."""
    try:
        import datasets
    except ImportError as error:
        raise Refusal("data sets of the hub need the extra 'hub': pip install 'noisette[hub]'") from error
    try:
        return question(datasets)
    except NoisetteError:
        raise
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:  # the latter for an unknown config
        raise Refusal(f"{PREFIX}{repository}: {one_line(error)}") from error
    except Exception as error:  # of any of the libraries beneath it
        raise _not_read(repository, error) from error


def _not_read(repository: str, error: Exception) -> NoisetteError:
    return NoisetteError(f"{PREFIX}{repository} cannot be read from the hub: {one_line(error)}")

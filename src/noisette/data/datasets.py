"""Data sets by name or path. A new name is a function `(data_dir, part) -> ImageData` and its line of registration;
a new kind of path is a function `(name, part, form, progress) -> ImageData` and its line in READERS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from noisette.base.errors import Refusal, unknown
from noisette.base.progress import Progress, silent
from noisette.base.registry import Registry
from noisette.data.archives import read_archive
from noisette.data.arrays import in_form
from noisette.data.folders import read_folder
from noisette.data.form import AS_IT_IS, Form
from noisette.data.hub import is_on_hub, read_hub
from noisette.data.images import ImageData
from noisette.data.mnist import RELATIVES, load_mnist_5k, load_relative
from noisette.data.parquet import holds_parquet, read_parquet
from noisette.data.tables import read_table

PARTS = ("train", "test")
Loader = Callable[[Path | None, str], ImageData]

DATASETS: Registry[Loader] = Registry("data set")
for relative in RELATIVES:
    DATASETS.add(relative, partial(load_relative, relative))
DATASETS.add("mnist-5k", load_mnist_5k)


class Reader(NamedTuple):
    """How one kind of a user's own data is read. suits: whether a path is of it, by its name or by what is there."""

    what: str
    suits: Callable[[Path], bool]
    read: Callable[[str, str, Form, Progress], ImageData]


READERS = (
    Reader("an .npz file", lambda path: path.suffix.lower() == ".npz", read_archive),
    Reader("a .csv file", lambda path: path.suffix.lower() == ".csv", read_table),
    Reader("a .parquet file or a folder of them", holds_parquet, read_parquet),
    Reader("a folder of pictures", Path.is_dir, read_folder),
    Reader("hub:owner/name", is_on_hub, read_hub),
)


def load_data(
    name: str,
    data_dir: Path | None = None,
    part: str = "train",
    form: Form = AS_IT_IS,
    progress: Progress = silent,
) -> ImageData:
    """The `part` ("train" or "test") of a data set, its images brought into `form`: one by name, one of the hub, or the
    path of a folder of pictures, of an .npz, .csv or .parquet file, of a folder of the latter (docs/data.md).

    `data_dir` is a folder with the files of a named set; without one they are looked for in the folder that
    NOISETTE_DATA names, then in the download cache, then downloaded. progress is told when it takes long. Raises
    Refusal for an unknown name or part and for a missing or false file (NoTestPart where there is no such part),
    NoisetteError when no mirror serves it.
    """
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    if name in DATASETS:
        return in_form(DATASETS[name](data_dir, part), form, progress)
    path = Path(name)
    reader = next((reader for reader in READERS if reader.suits(path)), None)
    if reader is None:
        kinds = ", ".join(reader.what for reader in READERS)
        if path.name != name:  # it has a separator: nobody calls a data set so
            raise Refusal(f"no data at {name}: expected {kinds}, or a data set by name ({', '.join(DATASETS)})")
        raise Refusal(f"{unknown('data set', name, DATASETS)}; or your own: {kinds}")
    if data_dir is not None:
        raise Refusal(f"{name} is read where it lies: --data-dir {data_dir} is for data sets by name")
    return reader.read(name, part, form, progress)

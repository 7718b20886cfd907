"""Data sets by name. A new one is a function `(data_dir, part) -> ImageData` and its line of registration."""

import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from noisette.base.errors import Refusal, unknown
from noisette.base.registry import Registry
from noisette.data.download import fetch
from noisette.data.idx import read_labelled
from noisette.data.images import ImageData

PARTS = ("train", "test")
Loader = Callable[[Path | None, str], ImageData]

DATASETS: Registry[Loader] = Registry("data set")

FOLDER_VARIABLE = "NOISETTE_DATA"
"""The environment variable that names a folder of data sets."""


class NoTestPart(Refusal):
    """The data set consists of a training part alone."""


def load_data(name: str, data_dir: Path | None = None, part: str = "train") -> ImageData:
    """The `part` ("train" or "test") of the data set called `name`.

    `data_dir` is a folder with its files; without one they are looked for in the folder that NOISETTE_DATA
    names, then in the download cache, then downloaded. Raises Refusal for an unknown name or part and for a
    missing or false file (NoTestPart where there is no such part), NoisetteError when no mirror serves it.
    """
    load = DATASETS[name]
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    return load(data_dir, part)


# MNIST --------------------------------------------------------------------------------------------

MNIST_SOURCE = "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges, CC BY-SA 3.0"
MNIST_CLASSES = tuple("0123456789")
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {  # of the classic .gz files; a copy that was compressed anew has others
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MNIST_FILES: dict[str, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@DATASETS.register("mnist")
def mnist(data_dir: Path | None, part: str) -> ImageData:
    """60,000 training and 10,000 test digits, 28 x 28, white on black."""
    names = MNIST_FILES[part]
    images, labels = local_files(data_dir, "mnist", names) or download_mnist(names)
    pixels, numbers = read_labelled(images, labels, len(MNIST_CLASSES))
    return ImageData("mnist", pixels, numbers, MNIST_CLASSES, MNIST_SOURCE)


def download_mnist(
    names: Sequence[str], mirrors: Sequence[str] = MNIST_MIRRORS, folder: Path | None = None
) -> list[Path]:
    """The paths of the MNIST files `names` in `folder` (or the user's cache), downloaded where missing."""
    import pooch

    folder = folder or Path(pooch.os_cache("noisette")) / "mnist"
    return [fetch(f"{name}.gz", MNIST_SHA256[name], mirrors, folder) for name in names]


@DATASETS.register("mnist-5k")
def mnist_5k(data_dir: Path | None, part: str) -> ImageData:
    """5,000 training digits of MNIST, 500 a class, that travel with the package (see mnist-5k.md)."""
    if part == "test":
        raise NoTestPart("mnist-5k has no test part: use its validation split, or the data set mnist")
    if data_dir is not None:
        raise Refusal(
            f"mnist-5k travels with the package and reads no folder, found {data_dir}: try the data set mnist"
        )
    with (
        (resources.files("noisette.data") / "mnist-5k.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    return ImageData("mnist-5k", images, labels, MNIST_CLASSES, f"500 training digits a class of {MNIST_SOURCE}")


# Where files lie ----------------------------------------------------------------------------------


def local_files(data_dir: Path | None, name: str, wanted: Sequence[str]) -> list[Path] | None:
    """The paths of the IDX files `wanted`, all from one folder; None when they have to be downloaded.

    The folder is `data_dir`, else the one NOISETTE_DATA names; either may hold them in a sub-folder `name`.
    Raises Refusal when the folder is missing, or holds some of the files only, or (`data_dir`) none.
    """
    given = data_dir or os.environ.get(FOLDER_VARIABLE)
    if not given:
        return None
    top = Path(given)
    if not top.is_dir():
        raise Refusal(f"no folder {top}: expected the one that holds {', '.join(wanted)}")
    for folder in (top, top / name):
        found = [path for stem in wanted if (path := _spelling(folder, stem))]
        if len(found) == len(wanted):
            return found
        if found:
            missing = next(stem for stem in wanted if not _spelling(folder, stem))
            raise Refusal(f"{folder} holds {found[0].name} but not {missing}, gzipped or not")
    if data_dir is None:
        return None  # the variable's folder may serve other data sets
    raise Refusal(f"{top} holds no {' nor '.join(wanted)}, gzipped or not, nor does its sub-folder {name}")


def _spelling(folder: Path, stem: str) -> Path | None:
    """The file `stem` under one of the names it goes by: `-idx3-ubyte` or `.idx3-ubyte`, plain or gzipped."""
    dotted = stem.replace("-idx", ".idx")
    names = (stem, dotted, f"{stem}.gz", f"{dotted}.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)

"""MNIST and its relatives, which come in the same four files under the same names; and the 5,000 digits that ship."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from noisette.base.errors import Refusal
from noisette.base.files import cache_folder
from noisette.data.download import fetch
from noisette.data.idx import read_labelled
from noisette.data.images import ImageData, NoTestPart

FOLDER_VARIABLE = "NOISETTE_DATA"
"""The environment variable that names a folder of data sets."""

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}
"""Images and labels of each part."""


@dataclass(frozen=True)
class Relative:
    """A data set of 60,000 training and 10,000 test images, 28 x 28, white on black, of ten classes."""

    classes: tuple[str, ...]
    source: str
    mirrors: tuple[str, ...]
    checksums: Mapping[str, str]
    """Of the classic .gz files, "sha256:..." or "md5:..."; a copy that was compressed anew has others."""


RELATIVES = {
    "mnist": Relative(
        tuple("0123456789"),
        "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges, CC BY-SA 3.0",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            TRAIN_IMAGES: "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            TRAIN_LABELS: "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            TEST_IMAGES: "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            TEST_LABELS: "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": Relative(
        # Short for the project's T-shirt/top and Ankle boot: names to type, and to be part of file names.
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        "Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, Zalando SE, MIT",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        {  # published by the project: README.md of github.com/zalandoresearch/fashion-mnist, section "Get the Data"
            TRAIN_IMAGES: "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            TRAIN_LABELS: "md5:25c81989df183df01b3e8a0aad5dffbe",
            TEST_IMAGES: "md5:bef4ecab320f06d8554ea6380940ec79",
            TEST_LABELS: "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "kmnist": Relative(
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        '"KMNIST Dataset" (created by CODH), adapted from "Kuzushiji Dataset" (created by NIJL and others), '
        "doi:10.20676/00000341, CC BY-SA 4.0",  # the attribution that the project asks for
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        {  # the project publishes none; these are of tensorflow/datasets, url_checksums/kmnist.txt
            TRAIN_IMAGES: "sha256:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            TRAIN_LABELS: "sha256:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            TEST_IMAGES: "sha256:edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            TEST_LABELS: "sha256:20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
    ),
}


def load_relative(name: str, data_dir: Path | None, part: str) -> ImageData:
    """A part ("train" or "test") of the relative `name`, from a folder, the download cache or a mirror."""
    relative, wanted = RELATIVES[name], FILES[part]
    images, labels = local_files(data_dir, name, wanted) or download(name, wanted)
    pixels, numbers = read_labelled(images, labels, len(relative.classes))
    return ImageData(name, pixels, numbers, relative.classes, relative.source)


def download(name: str, wanted: Sequence[str], folder: Path | None = None) -> list[Path]:
    """The paths of the files `wanted` in `folder` (or the user's cache), downloaded where missing."""
    relative, folder = RELATIVES[name], folder or cache_folder(name)
    return [fetch(f"{stem}.gz", relative.checksums[stem], relative.mirrors, folder) for stem in wanted]


def load_mnist_5k(data_dir: Path | None, part: str) -> ImageData:
    """5,000 training digits of MNIST, 500 a class, that travel with the package (see mnist-5k.md)."""
    mnist = RELATIVES["mnist"]
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
    return ImageData("mnist-5k", images, labels, mnist.classes, f"500 training digits a class of {mnist.source}")


# Where files lie ----------------------------------------------------------------------------------


def local_files(data_dir: Path | None, name: str, wanted: Sequence[str]) -> list[Path] | None:
    """The paths of the IDX files `wanted`, all from one folder; None when they have to be downloaded.

    The folder is `data_dir`, else the one NOISETTE_DATA names; either may hold them in a sub-folder `name`, which goes
    first. Files of these names that lie in NOISETTE_DATA itself are taken for MNIST's, and for no relative's. Raises
    Refusal when the folder is missing, or holds some of the files only, or (`data_dir`) none.
    """
    given = data_dir or os.environ.get(FOLDER_VARIABLE)
    if not given:
        return None
    top = Path(given)
    if not top.is_dir():
        raise Refusal(f"no folder {top}: expected the one that holds {', '.join(wanted)}")
    for folder in (top / name, top) if data_dir or name == "mnist" else (top / name,):
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

"""Data sets by name. A new one is a function `(data_dir, part) -> ImageData` and its line of registration."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from noisette.base.errors import unknown
from noisette.base.registry import Registry
from noisette.data.images import ImageData
from noisette.data.mnist import RELATIVES, load_mnist_5k, load_relative

PARTS = ("train", "test")
Loader = Callable[[Path | None, str], ImageData]

DATASETS: Registry[Loader] = Registry("data set")
for relative in RELATIVES:
    DATASETS.add(relative, partial(load_relative, relative))
DATASETS.add("mnist-5k", load_mnist_5k)


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

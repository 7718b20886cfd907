"""Make src/noisette/data/mnist-5k.npz and its card from the training part of MNIST.

    python tools/make_mnist_5k.py FOLDER     # the folder with train-images-idx3-ubyte[.gz] and its labels

The same folder gives the same bytes (with the same zlib) and the same digest (with any).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import whole_file, write_text
from noisette.base.seeds import generator
from noisette.data.datasets import load_data
from noisette.data.images import ImageData

PER_CLASS = 500
SEED = 0
PACKAGE = Path(__file__).parents[1] / "src" / "noisette" / "data"

CARD = """\
# mnist-5k

{count:,} real handwritten digits, {per_class} of each class, 28 x 28 pixels, white on black, chosen from the
60,000 *training* images of MNIST. None is from MNIST's test part, so that part stays fit for evaluation.

- **Source**: MNIST, by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, made from NIST's Special
  Databases 1 and 3.
- **Licence**: Creative Commons Attribution-ShareAlike 3.0 (CC BY-SA 3.0), as commonly stated for MNIST. It
  covers `mnist-5k.npz`; noisette's own licence covers the code only.
- **Changes**: a selection; no pixel was changed.
- **How**: `python tools/make_mnist_5k.py FOLDER`. Of each class's images that repeat no earlier one,
  {per_class} were drawn with seed {seed}; they stand in MNIST's order.
- **In the file**: `images` uint8 [{count}, 28, 28, 1]; `labels` uint8 [{count}]; `rows` uint16 [{count}],
  each image's place in MNIST's training part, counted from 0.
- **Digest** (of shape, pixels, labels and class names): `{digest}`
"""


def choose(data: ImageData) -> np.ndarray:
    """The sorted places of PER_CLASS different images of each class, chosen by SEED."""
    flat = data.images.reshape(len(data.images), -1)
    _, firsts = np.unique(flat, axis=0, return_index=True)
    rows = []
    for label, name in enumerate(data.classes):
        members = np.sort(firsts[data.labels[firsts] == label])
        if len(members) < PER_CLASS:
            raise Refusal(f"class {name} has {len(members)} different images, expected {PER_CLASS} or more")
        order = torch.randperm(len(members), generator=generator(SEED, "mnist-5k", label)).numpy()
        rows.append(members[order[:PER_CLASS]])
    return np.sort(np.concatenate(rows))


def make(folder: Path, target: Path) -> ImageData:
    """Write mnist-5k.npz and mnist-5k.md into the folder `target` from the MNIST files in `folder`."""
    data = load_data("mnist", folder)
    rows = choose(data)
    chosen = ImageData("mnist-5k", data.images[rows], data.labels[rows], data.classes, data.source)
    with whole_file(target / "mnist-5k.npz") as path:
        # numpy dates every member 1980, so that the bytes don't tell when they were written
        np.savez_compressed(
            path, images=chosen.images, labels=chosen.labels.astype(np.uint8), rows=rows.astype(np.uint16)
        )
    card = CARD.format(count=len(rows), per_class=PER_CLASS, seed=SEED, digest=chosen.digest)
    write_text(target / "mnist-5k.md", card)
    return chosen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try:
        print(make(parser.parse_args().folder, PACKAGE).digest)
    except NoisetteError as error:
        parser.exit(error.exit_code, f"{error}\n")

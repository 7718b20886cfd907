"""Training and validation parts that a seed fixes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noisette.base.config import require
from noisette.base.seeds import generator

Index = npt.NDArray[np.int64]


def split(labels: npt.NDArray[Any], validation_fraction: float = 0.2, seed: int = 0) -> tuple[Index, Index]:
    """Sorted int64 positions of the training and of the validation images; every image is in one part.

    `labels` are integers [N]. Each class gives the same fraction, rounded, to validation, but of two or more
    at least one to either part (an only image trains). What a class gives depends on (seed, class, its
    number of images) alone. A fraction of 0 leaves validation empty. Raises Refusal for a fraction outside
    [0, 1) or labels of another shape or kind.
    """
    require(0 <= validation_fraction < 1, f"validation_fraction {validation_fraction}", "0 <= fraction < 1")
    require(
        labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer),
        f"labels are {labels.dtype} {list(labels.shape)}",
        "integers [N]",
    )
    held_out = np.zeros(len(labels), dtype=bool)
    if validation_fraction > 0:
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            count = round(validation_fraction * len(members))
            count = max(1, min(count, len(members) - 1)) if len(members) > 1 else 0
            order = torch.randperm(len(members), generator=generator(seed, "split", int(label))).numpy()
            held_out[members[order[:count]]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)

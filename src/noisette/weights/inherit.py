"""The weights of a model as the first weights of another, for other classes: what a few images can learn from."""

from collections.abc import Sequence

import torch

from noisette.base.config import require
from noisette.base.errors import Refusal, one_line
from noisette.models.unet import UNet
from noisette.weights.model_file import ModelFile

CLASS_TABLE = "embed_class.weight"


@torch.no_grad()
def inherit(network: UNet, classes: Sequence[str], source: ModelFile) -> tuple[str, ...]:
    """Give `network`, made for images of `classes`, the weights of `source`; the classes that it knew are returned.

    Only the class table is new: a class that the source knows by name has its row, any other keeps the one it was born
    with, which tells it from the rest from the first step on. All else must fit to the last tensor. The size of the
    images is free. Raises Refusal for another number of channels or another network.
    """
    spec = source.spec
    require(
        network.channels == spec.channels,
        f"images of {network.channels} channels",
        f"{spec.channels}, as the model to begin from has",
    )
    weights = source.network.state_dict()
    rows = weights[CLASS_TABLE]  # [classes + 1, E], the last is "no class"
    known = dict(zip(spec.classes, rows[:-1], strict=True))
    born = network.embed_class.weight.cpu()
    found, expected = born.shape[1], rows.shape[1]
    require(found == expected, f"embedding {found}", f"{expected}, as the model to begin from has")
    own = [known.get(name, row) for name, row in zip(classes, born[:-1], strict=True)]
    weights[CLASS_TABLE] = torch.stack([*own, rows[-1]])
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise Refusal(f"the model to begin from has another network: {one_line(error)}") from error
    return tuple(name for name in classes if name in known)

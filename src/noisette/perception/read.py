"""What a classifier makes of images: guesses, how sure it is, and the features that distances are taken in."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.perception.classifier import Classifier

_AT_A_TIME = 500
"""Images read at a time: bounds the memory."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read of N images, on the CPU."""

    probabilities: Tensor  # float32 [N, K]
    features: Tensor  # float32 [N, D]

    @property
    def guesses(self) -> Tensor:
        """The likeliest class of each image, int64 [N]."""
        return self.probabilities.argmax(1)


def read(classifier: Classifier, images: Tensor | Iterable[Tensor]) -> Reading:
    """Read images [N, C, H, W] in [-1, 1], or batches of them one after another, on the classifier's device.

    The classifier reads as in evaluation mode and stays in the mode it was in. Raises Refusal for no images at all
    and for images of another size than the classifier's.
    """
    device, training = next(classifier.parameters()).device, classifier.training
    probabilities, features = [], []
    classifier.eval()
    try:
        for batch in [images] if isinstance(images, Tensor) else images:
            _require_fit(classifier, batch)
            for part in batch.split(_AT_A_TIME):
                with torch.inference_mode():  # only here: the caller's batches are made in the caller's mode
                    logits, found = classifier(part.to(device, memory_format=torch.channels_last))
                    probabilities.append(logits.softmax(1).cpu())
                    features.append(found.cpu())
    finally:
        classifier.train(training)
    require(len(features) > 0, "no images to read", "at least one")
    return Reading(torch.cat(probabilities), torch.cat(features))


def _require_fit(classifier: Classifier, images: Tensor) -> None:
    found, expected = tuple(images.shape[1:]), classifier.shape
    require(found == expected, f"images of {_by(found)}", f"those the classifier knows, of {_by(expected)}")


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))

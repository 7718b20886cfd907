"""How likely each of some prompts is for an image: what a classifier and a CLIP model are alike in."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import Images
from noisette.perception.classifier import Classifier


@runtime_checkable
class Scorer(Protocol):
    """images [B, C, H, W] in [-1, 1] -> log-probabilities [B, P], one a prompt; differentiable in the images."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """What is asked, in words, one a column."""
        ...

    def __call__(self, images: Images, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ClassifierScorer:
    """A classifier's classes as prompts. Images of the classifier's own size only."""

    network: Classifier
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        require(
            len(self.prompts) == self.network.classes,
            f"{len(self.prompts)} prompts",
            f"one a class, {self.network.classes}",
        )

    def __call__(self, images: Images, /) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits.log_softmax(1)

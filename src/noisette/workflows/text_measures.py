"""What a CLIP model makes of labelled images: is it right in phrasings it knows and in others, does it see damage?"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from noisette.base.seeds import generator
from noisette.base.shapes import Images
from noisette.perception.captions import STROKES, Language, Phrasing
from noisette.perception.clip import directions
from noisette.perception.degrade import DEGRADATIONS, degrade
from noisette.perception.strokes import StrokeBounds
from noisette.workflows.perceive import Part

AT_A_TIME = 500
"""Images measured at a time."""


@runtime_checkable
class Towers(Protocol):
    """What is measured: `perception.clip.Clip`."""

    @property
    def device(self) -> torch.device: ...
    def of_images(self, images: Images) -> Tensor: ...
    def of_texts(self, texts: Sequence[str]) -> Tensor: ...


def measure_text(clip: Towers, part: Part, words: Language, strokes: StrokeBounds | None) -> dict[str, Any]:
    """What the card says of a model, measured on images that it has not seen.

    An accuracy asks one phrasing alone, one prompt a class; of each phrasing in turn, the mean and the lowest are told.
    A separation is the share of pairs, one image that is and one that is not, in which the first scores higher: the
    area under the receiver's operating curve. To be clear, an image is asked against "unclear". Of every image one
    spoilt copy is made, of all kinds of degradation in turn.
    """
    kinds = torch.arange(len(part)) % len(DEGRADATIONS)
    draw = generator(0, "degradation", "measure")
    clean, spoilt, written = [], [], []
    for rows in torch.split(torch.arange(len(part)), AT_A_TIME):
        images = part[rows]
        clean.append(_embedded(clip, images))
        spoilt.append(_embedded(clip, degrade(images, kinds[rows], tuple(DEGRADATIONS), draw)))
        written.append(strokes.words(images) if strokes else torch.zeros(len(images), 0, dtype=torch.bool))
    whole, damaged, strokes_there = torch.cat(clean), torch.cat(spoilt), torch.cat(written)
    facts: dict[str, Any] = {
        "measured_on": part.name,
        "measured_digest": part.data.digest,
        "measured_images": len(part),
        "accuracy": _accuracy(whole @ class_directions(clip, words.phrasing.of_class, words.names).T, part.labels),
    }
    for known, phrasing in (("trained", words.phrasing), ("unseen", words.unseen)):
        right = {
            told: _accuracy(whole @ class_directions(clip, (template,), names).T, part.labels)
            for template in phrasing.of_class
            for told, names in _one_name_each(template, words.names)
        }
        worst = min(right, key=lambda told: right[told])
        facts |= {f"{known}_phrasings": len(right), f"{known}_accuracy": sum(right.values()) / len(right)}
        facts |= {f"{known}_lowest_accuracy": right[worst], f"{known}_lowest": worst}
        clearer = _quality_direction(clip, phrasing, "clear") - _quality_direction(clip, phrasing, "unclear")
        facts[f"{known}_clear"] = separation(whole @ clearer, damaged @ clearer)
        if known == "trained":
            for number, name in enumerate(DEGRADATIONS):
                facts[f"clear_not_{name}"] = separation(whole @ clearer, damaged[kinds == number] @ clearer)
    for word, there in zip(STROKES, strokes_there.T, strict=False):
        found = whole @ _quality_direction(clip, words.phrasing, word)
        facts[word] = separation(found[there], found[~there])
    return facts


def class_directions(clip: Towers, templates: Sequence[str], names: Sequence[Sequence[str]]) -> Tensor:
    """A direction for each class, [K, D], of length 1: the mean of its texts', every template with every name."""
    texts = [[template.replace("{label}", name) for template in templates for name in each] for each in names]
    return directions(clip.of_texts, texts).cpu()


def separation(higher: Tensor, lower: Tensor) -> float:
    """The share of pairs in which the one of `higher` [N] is above the one of `lower` [M]; equals count half. NaN
    without pairs."""
    ordered = lower.sort().values
    below, up_to = torch.searchsorted(ordered, higher), torch.searchsorted(ordered, higher, right=True)
    return float((below + up_to).double().mean() / (2 * len(lower))) if len(lower) else float("nan")


def _one_name_each(template: str, names: Sequence[Sequence[str]]) -> list[tuple[str, list[tuple[str]]]]:
    """The template with the first name of each class, with the second, ...: in words, and the names."""
    ways = zip(*names, strict=True)
    return [(template.replace("{label}", way[0]), [(name,) for name in way]) for way in ways]


def _quality_direction(clip: Towers, phrasing: Phrasing, word: str) -> Tensor:
    """[D], of length 1."""
    texts = [template.replace("{quality}", word) for template in phrasing.of_quality]
    return directions(clip.of_texts, [texts])[0].cpu()


def _embedded(clip: Towers, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return clip.of_images(images.to(clip.device)).cpu()


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())

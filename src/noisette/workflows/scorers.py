"""What scores images by name: a classifier or a CLIP model, asked for the classes of some data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import Refusal, shortened
from noisette.base.progress import Progress, silent
from noisette.base.shapes import Images
from noisette.data.images import to_model
from noisette.perception.clip import WEIGHTS, load_clip
from noisette.perception.prompts import TEMPLATE, class_prompts, is_template
from noisette.perception.scorer import ClassifierScorer, Scorer
from noisette.report.pictures import Pixels
from noisette.workflows.device import choose_device
from noisette.workflows.perceive import SHIPPED, load_perception, shipped_perceptions

CLASSIFIER, CLIP = "classifier", "clip"
"""Names that stand for what ships."""
SHIPPED_CLASSIFIER, SHIPPED_CLIP = "mnist", "mnist-clip"
BAD = "A blurry, unclear number"
AT_A_TIME = 100
"""Images scored at once: a large CLIP model's activations take the most memory here."""


@dataclass(frozen=True, eq=False)
class ClassScorer:
    """A scorer whose first prompts ask for classes, in their order; those after them, which only a CLIP model has, say
    that an image is bad.

    embed: images [B, C, H, W] in [-1, 1] -> features [B, D], the space in which near-duplicates are looked for. digest:
    SHA-256 (hex) of what scores depend on besides the prompts. texts: what was said of each prompt.
    """

    name: str
    kind: Literal["classifier", "clip"]
    digest: str
    scorer: Scorer
    classes: tuple[str, ...]
    embed: Callable[[Images], Tensor]
    device: torch.device
    texts: tuple[tuple[str, ...], ...]

    @property
    def bad(self) -> tuple[str, ...]:
        """The prompts of bad quality."""
        return self.scorer.prompts[len(self.classes) :]


def load_scorer(
    name: str,
    classes: Sequence[str],
    shape: tuple[int, int, int],
    templates: Sequence[str] = (TEMPLATE,),
    bad: Sequence[str] = (BAD,),
    device: str = "cpu",
) -> ClassScorer:
    """The scorer of images of `shape` (channels, height, width) that are asked for as one of `classes`.

    name: `classifier` or `clip`, which stand for what ships; a classifier by name or .safetensors file; a folder or a
    hub name, owner/name, of a CLIP or SigLIP model. templates: asks for a class, several are averaged. bad: prompts
    that say that an image is bad, one a column. A classifier takes heed of neither. Raises Refusal for a name that is
    nothing of these, for a classifier of other classes or of images of another size, and as `load_clip` and
    `class_prompts` do.
    """
    require(len(classes) >= 2, f"classes: {shortened(classes) or 'none'}", "at least 2 to tell apart")
    if classifier := classifier_of(name):
        return _classifier(classifier, tuple(classes), shape, device)
    return _clip(name, tuple(classes), shape, templates, bad, device)


def classifier_of(name: str) -> str | None:
    """The classifier that is meant, by its name or its file; None: a CLIP model is."""
    if name == CLASSIFIER:
        return SHIPPED_CLASSIFIER
    return name if name in shipped_perceptions() or name.endswith(".safetensors") else None


def _classifier(name: str, classes: tuple[str, ...], shape: tuple[int, int, int], device: str) -> ClassScorer:
    file = load_perception(name, device)
    spec, network = file.spec, file.network
    found = (spec.channels, spec.height, spec.width)
    require(
        found == shape and spec.classes == classes,
        f"classifier {name} reads images {list(found)} [C, H, W] as {shortened(spec.classes)}",
        f"{list(shape)} and {shortened(classes)}",
    )
    chosen = next(network.parameters()).device
    texts = tuple((each,) for each in classes)

    def embed(images: Images) -> Tensor:
        features: Tensor = network(images)[1]
        return features

    return ClassScorer(
        name, "classifier", file.digest, ClassifierScorer(network, classes), classes, embed, chosen, texts
    )


def _clip(
    name: str,
    classes: tuple[str, ...],
    shape: tuple[int, int, int],
    templates: Sequence[str],
    bad: Sequence[str],
    device: str,
) -> ClassScorer:
    for prompt in bad:
        if is_template(prompt):
            raise Refusal(f"prompt {prompt!r} of bad images has a place for a class: expected none")
    texts = (*class_prompts(classes, templates), *((prompt,) for prompt in bad))
    chosen = choose_device(device)
    if name == CLIP:
        place = SHIPPED / SHIPPED_CLIP
        require(
            (place / WEIGHTS).is_file(), "no CLIP model ships with this version", "a folder, or owner/name of the hub"
        )
        with resources.as_file(place) as folder:
            clip = load_clip(folder, chosen)
    else:
        clip = load_clip(name, chosen)
    seen = clip.form.channels
    require(shape[0] in (1, seen), f"images of {shape[0]} channels for {name}", f"1 or {seen}")
    return ClassScorer(
        name, "clip", clip.digest, clip.scorer(texts, (*classes, *bad)), classes, clip.of_images, chosen, texts
    )


@dataclass(frozen=True, eq=False)
class Scored:
    """What a scorer made of N images, on the CPU."""

    scores: Tensor  # float32 [N, P], log-probabilities of the prompts
    features: Tensor  # float32 [N, D]


def score_pixels(scorer: ClassScorer, images: Pixels, progress: Progress = silent, what: str = "scoring") -> Scored:
    """Score images [N, H, W, C], N at least 1; progress is told how far it has come."""
    scores, features = [], []
    for start in range(0, len(images), AT_A_TIME):
        progress(what, start, len(images))
        batch = to_model(images[start : start + AT_A_TIME]).to(scorer.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            scores.append(scorer.scorer(batch).float().cpu())
            features.append(scorer.embed(batch).float().cpu())
    return Scored(torch.cat(scores), torch.cat(features))

"""Drawing that is led by a judge of images, a classifier or a CLIP model, towards a prompt or the class asked for."""

import dataclasses
import math
from dataclasses import dataclass

from torch import Tensor

from noisette.base.config import require
from noisette.base.shapes import NO_CLASS, Images, Labels
from noisette.diffusion.precondition import Denoiser
from noisette.guidance.steer import steer
from noisette.perception.prompts import TEMPLATE, is_template, with_rivals
from noisette.perception.scorer import Scorer
from noisette.workflows.model import Model
from noisette.workflows.perceive import load_perception
from noisette.workflows.scorers import classifier_of, load_scorer


@dataclass(frozen=True)
class SteeringConfig:
    """What leads a drawing, where to, and how much."""

    steer: str | None = None
    """Lead the drawing by a judge: clip or classifier (those of digits that ship), a classifier's .safetensors file,
    a folder with a CLIP or SigLIP model, or the name of one on the Hugging Face hub, owner/name."""
    prompt: str | None = None
    """What to lead to, the same for every image: "A handwritten number seven". With {label}, {word} or {digit} in it,
    to the class of each image; left out, that is "A handwritten number {label}"."""
    against: tuple[str, ...] = ()
    """What else an image could be, in the words of a CLIP model; left out, the prompt with each other class in it."""
    steer_scale: float = 30.0
    """How often the judge's log-probability counts: 1 is Bayes' rule, 0 no steering."""
    steer_from: float = 0.5
    """Smallest noise level at which steering acts."""
    steer_to: float = math.inf
    """Largest noise level at which steering acts."""
    steer_limit: float = 1.0
    """The largest root mean square of what is added to an estimate, whose pixels lie in [-1, 1]."""

    def __post_init__(self) -> None:
        led = self.steer is not None
        require(led or self.prompt is None, f"prompt {self.prompt!r} without a judge", "--steer and which one")
        require(led or not self.against, "against without a judge", "--steer and which one")
        require(self.prompt is not None or not self.against, "against without a prompt", "--prompt and what to lead to")
        require(
            not (self.against and self.by_class),
            "against beside a prompt for the class of each image",
            "a prompt that is the same for all",
        )
        require(
            math.isfinite(self.steer_scale) and self.steer_scale >= 0,
            f"steer_scale {self.steer_scale}",
            "a finite number of at least 0",
        )
        require(
            0 <= self.steer_from < self.steer_to,
            f"steer from {self.steer_from} to {self.steer_to}",
            "two rising noise levels",
        )
        require(self.steer_limit > 0, f"steer_limit {self.steer_limit}", "a positive number")

    @property
    def by_class(self) -> bool:
        """Whether each image is led to its own class."""
        return self.prompt is None or is_template(self.prompt)


@dataclass(frozen=True, eq=False)
class Judge:
    """A scorer, and which of its columns is asked for: that of each image's label (None), or the same for all.

    digest: SHA-256 (hex) of what its scores depend on besides the prompts.
    """

    scorer: Scorer
    asked: int | None
    digest: str

    def __call__(self, images: Images, labels: Labels, /) -> Tensor:
        """log p(asked | image) [B]; 0 for an image of no class where each is led to its own."""
        scores = self.scorer(images)  # [B, P]
        if self.asked is not None:
            return scores[:, self.asked]
        return scores.gather(1, labels.clamp(min=0)[:, None])[:, 0] * (labels != NO_CLASS)


def steered(model: Model, config: SteeringConfig) -> tuple[Model, str]:
    """The model, led as `config` says, and the digest of the judge that leads it; without a judge the model itself.

    Raises Refusal for a judge that does not exist, for a prompt or classes that it has no answer to, for a classifier
    of images of another size, and for a model without classes where there is no prompt.
    """
    if config.steer is None:
        return model, ""
    if config.by_class:
        require(len(model.classes) > 0, f"steering of {model.name}, a model without classes", "--prompt and a text")
    judge = _judge(config, config.steer, model)
    interval = (config.steer_from, config.steer_to)

    def guide(denoise: Denoiser) -> Denoiser:
        return steer(denoise, judge, config.steer_scale, interval, config.steer_limit)

    return dataclasses.replace(model, guide=guide), judge.digest


def _judge(config: SteeringConfig, name: str, model: Model) -> Judge:
    """The judge of that name, and what `config` asks it for."""
    shape, device = model.shape, str(model.device)
    if config.prompt is None or config.by_class:
        found = load_scorer(name, model.classes, shape, (config.prompt or TEMPLATE,), (), device)
        return Judge(found.scorer, None, found.digest)
    classifier = classifier_of(name)
    require(not (classifier and config.against), "against with a classifier", "a CLIP model: it has but its classes")
    if config.against:
        texts, asked = (config.prompt, *config.against), 0
    elif classifier:  # whatever the words of the prompt
        texts = load_perception(classifier).spec.classes
        asked = with_rivals(config.prompt, texts)[1]
    else:
        texts, asked = with_rivals(config.prompt, model.classes)
    found = load_scorer(name, texts, shape, ("{label}",), (), device)
    return Judge(found.scorer, asked, found.digest)

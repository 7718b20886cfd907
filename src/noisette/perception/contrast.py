"""A small CLIP (Radford et al. 2021) in the transformers library's form, and how it learns from captioned images.

An image tower and a text tower learn to put an image near the captions that are true of it. A batch holds many
captions that mean the same: each image is held against all captions at once, and what it shall be near is every true
one, equally (a soft target instead of the paper's one caption an image); so is each caption against all images.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from noisette.base.config import require, require_storable
from noisette.base.seeds import generator, hash_seed
from noisette.base.shapes import Images, Labels
from noisette.perception.captions import STROKES, Language, write_captions
from noisette.perception.degrade import DEGRADATIONS, degrade
from noisette.perception.fit import Fitted, ImagesByRow, augment, in_epochs
from noisette.perception.strokes import StrokeBounds, stroke_bounds

WARMEST = math.log(100)
"""The logarithm of the largest scale of the logits, as in the paper."""
_LOOKED_AT = 10_000
"""Images whose pixels and strokes are measured before the training."""


@dataclass(frozen=True)
class ContrastConfig:
    """The two towers, and how long and how they are trained."""

    width: int = 96
    """Of the image tower."""
    layers: int = 4
    """Of the image tower."""
    patches: int = 4
    """A side of an image is cut into at most so many, half of it at least; twice as many take four times as long."""
    text_width: int = 64
    """Of the text tower, which has 2 layers, and of the space where images and texts meet."""
    seed: int = 0
    """Decides the first weights, the order of the images, their augmentation, degradation and captions."""
    images: int = 360_000
    """How many to see in all, in whole epochs: a small set is seen more often."""
    batch_size: int = 100
    """Images a step, each with a caption."""
    learning_rate: float = 3e-3
    """The highest, reached after a fifth of the steps; it rises from 0 and falls to 0."""
    weight_decay: float = 0.05
    """Of either optimiser."""
    degraded: float = 0.35
    """Share of the images that are spoilt."""
    left_out: str = "pixelated"
    """A kind of degradation that training never meets: what is learned is measured on it."""
    rotation: float = 8.0
    """Each image is turned by at most so many degrees, either way."""
    zoom: float = 0.1
    """And enlarged or shrunk by at most this share."""
    shift: float = 0.07
    """And moved by at most this share of its sides."""

    def __post_init__(self) -> None:
        require_storable(self)
        for name in ("layers", "images", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}", "at least 1")
        require(2 <= self.patches <= 32, f"patches {self.patches}", "2 to 32 a side")
        for name in ("width", "text_width"):
            width = getattr(self, name)
            require(32 <= width <= 512 and width % 32 == 0, f"{name} {width}", "a multiple of 32 from 32 to 512")
        rate = self.learning_rate
        require(math.isfinite(rate) and rate > 0, f"learning_rate {rate}", "a positive number")
        for name in ("weight_decay", "zoom", "shift", "degraded"):
            require(0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)}", "a number from 0 up to 1")
        require(0 <= self.rotation <= 180, f"rotation {self.rotation}", "degrees from 0 to 180")
        DEGRADATIONS[self.left_out]

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The kinds of degradation that training meets."""
        return tuple(name for name in DEGRADATIONS if name != self.left_out)


@dataclass(frozen=True)
class Pixels:
    """Mean and standard deviation of each channel, of pixels in [0, 1]: what the image tower's input is scaled by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def scaled(self, images: Images) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] as the image tower sees them."""
        mean, std = (images.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        return ((images + 1) / 2 - mean) / std


def pixels_of(images: Images) -> Pixels:
    """Those of images [N, C, H, W] in [-1, 1]; a channel that is all alike is not scaled."""
    channels = ((images + 1) / 2).transpose(0, 1).flatten(1)
    std = channels.std(1)
    return Pixels(tuple(channels.mean(1).tolist()), tuple(torch.where(std > 1e-3, std, 1.0).tolist()))


def patch_side(side: int, patches: int) -> int:
    """The side of a patch, in pixels: the smallest that cuts a side into at most `patches` whole ones.

    Raises Refusal when that would be fewer than half as many.
    """
    patch = next(size for size in range(1, side + 1) if side % size == 0 and side // size <= patches)
    fewest = (patches + 1) // 2
    require(side // patch >= fewest, f"images {side} pixels wide", f"a side that {fewest} to {patches} patches divide")
    return patch


def new_clip(config: ContrastConfig, channels: int, side: int, vocabulary: dict[str, int], text_length: int) -> Any:
    """A transformers CLIPModel with its weights born from the seed, in training mode. vocabulary: as its tokenizer's,
    with [pad], [bos] and [eos]. text_length: tokens that a text may have."""
    from transformers import CLIPConfig, CLIPModel

    ends = {f"{name}_token_id": vocabulary[f"[{name}]"] for name in ("pad", "bos", "eos")}
    text = {
        **{"vocab_size": len(vocabulary), "hidden_size": config.text_width, "num_hidden_layers": 2},
        **{"intermediate_size": 4 * config.text_width, "num_attention_heads": config.text_width // 32},
        **{"max_position_embeddings": text_length, "hidden_act": "gelu", "projection_dim": config.text_width, **ends},
    }
    vision = {
        **{"hidden_size": config.width, "num_hidden_layers": config.layers, "hidden_act": "gelu"},
        **{"intermediate_size": 4 * config.width, "num_attention_heads": config.width // 32},
        **{"image_size": side, "patch_size": patch_side(side, config.patches), "num_channels": channels},
        **{"projection_dim": config.text_width},
    }
    # Written out, matrix products of a few tokens are twice as fast in bfloat16 as the fused attention on a CPU.
    towers: dict[str, Any] = {"text_config": text, "vision_config": vision, "projection_dim": config.text_width}
    how = CLIPConfig(**towers | {"attn_implementation": "eager"})
    with torch.random.fork_rng(devices=[]):  # the library draws from the global generator
        torch.manual_seed(hash_seed(config.seed, "weights"))
        return CLIPModel(how).train()


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is taught: images [N, C, H, W] with labels [N], in these words."""

    images: ImagesByRow
    labels: Labels
    language: Language
    pixels: Pixels
    strokes: StrokeBounds | None
    """None where strokes are not spoken of."""


def prepare(images: ImagesByRow, labels: Labels, words: Language) -> Lesson:
    """Measure the pixels, and the strokes if they are spoken of, of a part of the images. Raises Refusal for fewer
    than 2."""
    require(len(images) >= 2, f"{len(images)} images to train on", "at least 2")
    some = images[torch.arange(0, len(images), math.ceil(len(images) / _LOOKED_AT))]
    strokes = stroke_bounds(some) if set(STROKES) <= set(words.qualities) else None
    return Lesson(images, labels, words, pixels_of(some), strokes)


def teach(
    network: Any, tokenizer: Any, lesson: Lesson, config: ContrastConfig, precision: torch.dtype = torch.float32
) -> Iterator[Fitted]:
    """Train a CLIPModel; yield after each epoch.

    precision: of the products within; with bfloat16 the weights and the loss stay in float32. The same seed gives the
    same weights on the same machine with as many threads. Ends in evaluation mode. Raises NoisetteError when the loss
    is no longer finite.
    """
    device, optimizers = network.device, _optimizers(network, config.weight_decay)
    draw, told = generator(config.seed, "degradation"), random.Random(hash_seed(config.seed, "captions"))

    def learn(rows: Tensor, rate: float) -> float:
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
        images, qualities = spoil(augment(lesson.images[rows], config, draw), lesson, config, draw)
        captions = write_captions(lesson.language, lesson.labels[rows], qualities, told)
        true = captions.true_of(lesson.labels[rows], qualities).to(device)
        tokens = tokenizer(captions.texts, padding=True, truncation=True, return_tensors="pt")
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            of_images = network.get_image_features(lesson.pixels.scaled(images).to(device)).pooler_output
            ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
            of_texts = network.get_text_features(ids, attention_mask=mask).pooler_output
        loss = contrast(of_images.float(), of_texts.float(), network.logit_scale.exp(), true)
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            network.logit_scale.clamp_(max=WARMEST)
        return loss.item()

    yield from in_epochs(len(lesson.images), config, learn)
    network.eval()


def _optimizers(network: Any, decay: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the image tower's layers, which learn several times faster by it;
    AdamW for all others. Muon's steps are as large as AdamW's, so one rate suits both."""
    inner = [weight for weight in network.vision_model.encoder.layers.parameters() if weight.ndim == 2]
    known = set(map(id, inner))
    others = [weight for weight in network.parameters() if id(weight) not in known]
    return [
        torch.optim.Muon(inner, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=decay, betas=(0.9, 0.98)),
    ]


def spoil(images: Images, lesson: Lesson, config: ContrastConfig, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some of the images degraded, and the words that are true of each: bool [B, Q]."""
    kinds = torch.randint(len(config.trained_on), (len(images),), generator=draw)
    kinds = torch.where(torch.rand(len(images), generator=draw) < config.degraded, kinds, -1)
    earned = [DEGRADATIONS[name].words for name in config.trained_on] + [("clear",)]  # the last is number -1
    table = torch.tensor([[word in words for word in lesson.language.qualities] for words in earned])
    qualities = table[kinds]
    if lesson.strokes is not None:  # measured on what was written, before it was spoilt
        places = [lesson.language.qualities.index(word) for word in STROKES]
        qualities[:, places] = lesson.strokes.words(images)
    return degrade(images, kinds, config.trained_on, draw), qualities


def contrast(of_images: Tensor, of_texts: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """The loss of embeddings [B, D] and [T, D] of any length; true: bool [B, T], each row and column with one at least.

    The mean of two cross-entropies: of each image with the texts, and of each text with the images, the target spread
    equally over all that are true.
    """
    logits = scale * F.normalize(of_images, dim=1) @ F.normalize(of_texts, dim=1).T
    wanted = true.to(logits.dtype)
    by_image = -(wanted / wanted.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_text = -(wanted / wanted.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (by_image + by_text) / 2

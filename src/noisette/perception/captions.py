"""Captions: what is said of an image, from its class and its quality, in several phrasings; which are true of which.

A caption claims a class, a quality, or both. Every image of that class and that quality makes it true, not only the
one that it was written for: a loss that holds the others against it would unlearn what it teaches.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import shown
from noisette.base.shapes import NO_CLASS, Labels
from noisette.perception.prompts import DIGITS, WORDS

CONDITIONS = ("clear", "unclear", "blurry", "noisy", "broken")
"""Words for how well an image shows what it shows."""
STROKES = ("thick", "thin", "slanted")
"""Words for how something is written."""
QUALITIES = (*CONDITIONS, *STROKES)

UNKNOWN = "[unk]"
"""Stands for every word that is not in the vocabulary."""
CLASS_ALONE, BOTH = 0.5, 0.3
"""Shares of captions that claim a class alone, and a class and a quality; the others claim a quality alone."""
ESTRANGED, STRANGE = 0.4, 0.5
"""Share of captions with words that are not known, and of the words in them that become so."""


@dataclass(frozen=True)
class Phrasing:
    """Templates of captions by what they claim: `{label}` stands for the class, `{quality}` for the quality."""

    of_class: tuple[str, ...]
    of_quality: tuple[str, ...]
    of_both: tuple[str, ...]


NUMBERS = Phrasing(
    (
        *("{label}", "a {label}", "the {label}", "this is a {label}", "it is {label}", "number {label}"),
        *("the number {label}", "the digit {label}", "a handwritten {label}", "a handwritten number {label}"),
        *("the number {label} written by hand", "{label} in handwriting", "a photo of the number {label}"),
        *("an image of the digit {label}", "a picture of a {label}", "handwritten digit: {label}"),
        *("someone wrote a {label}", "the {label} of a person", "here is the number {label} in an image"),
    ),
    (
        *("{quality}", "a {quality} number", "a {quality} digit", "an {quality} number", "a {quality} image"),
        *("a {quality} handwritten number", "the number is {quality}", "{quality} handwriting"),
        *("a photo of a {quality} number", "a {quality} picture of a digit", "it is {quality}", "this is {quality}"),
    ),
    (
        *("a {quality} {label}", "an {quality} {label}", "the {quality} {label}", "the digit {label}, {quality}"),
        *("a {quality} handwritten number {label}", "a {quality} image of the digit {label}", "{label}, {quality}"),
        *("a handwritten {label} that is {quality}", "the {quality} number {label}", "{quality}: {label}"),
    ),
)
NUMBERS_UNSEEN = Phrasing(
    (
        *(
            "a drawing of the number {label}",
            "it looks like a {label}",
            "the figure {label}",
            "{label}, drawn with ink",
        ),
        *("a scan of a handwritten {label}", "somebody has put down a {label} here", "I think that this is a {label}"),
        *("what you see is the digit {label}", "a sketch: {label}", "the child's {label} on paper"),
    ),
    ("a {quality} figure", "the writing looks {quality}", "this scan of a digit is rather {quality}"),
    ("a {quality} drawing of {label}", "the {label} looks {quality}", "somebody's {quality} figure {label}"),
)
PICTURES = Phrasing(
    (
        *("{label}", "a {label}", "the {label}", "this is a {label}", "it is a {label}", "an image of {label}"),
        *("a photo of a {label}", "a photo of the {label}", "an image of a {label}", "a picture of a {label}"),
        *("a picture of {label}", "here is a {label} in an image", "a small photo of one {label}"),
    ),
    (
        *("{quality}", "a {quality} image", "a {quality} photo", "an {quality} image", "a {quality} picture"),
        *("the image is {quality}", "the photo is {quality}", "it is {quality}", "this is {quality}"),
    ),
    (
        *("a {quality} photo of a {label}", "an {quality} image of a {label}", "a {quality} picture of the {label}"),
        *("a {quality} {label}", "the {quality} {label}", "{label}, {quality}", "{quality}: {label}"),
        *("a photo of a {label} that is {quality}",),
    ),
)
PICTURES_UNSEEN = Phrasing(
    (
        *("a drawing of a {label}", "it looks like a {label}", "I think that this is a {label}", "a view of {label}"),
        *("what you see is some {label}", "a snapshot: {label}"),
    ),
    ("a {quality} snapshot", "this view looks rather {quality}"),
    ("a {quality} view of {label}", "the {label} looks {quality}"),
)


@dataclass(frozen=True)
class Language:
    """All that is said of one data set. names: of each class, one or several. unseen: phrasings for measuring, that no
    caption of the training has. qualities: the words that are used."""

    names: tuple[tuple[str, ...], ...]
    phrasing: Phrasing
    unseen: Phrasing
    qualities: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of the captions, sorted."""
        said = (*self.phrasing.of_class, *self.phrasing.of_quality, *self.phrasing.of_both)
        texts = [re.sub(r"\{\w+\}", " ", each).lower() for each in said]
        texts += [name.lower() for names in self.names for name in names] + list(self.qualities)
        return tuple(sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)} | {",", "and"}))


def language(classes: Sequence[str], captions: Sequence[str] = ()) -> Language:
    """The language of classes: of digits, whose strokes are described, or of pictures of anything.

    captions: templates besides those that are always used; each has `{label}` in it, and nothing else in braces.
    Raises Refusal for another.
    """
    for caption in captions:
        places = re.findall(r"\{(.*?)\}", caption)
        require(places == ["label"], f"caption {shown(caption)}", "{label} in it once: 'a photo of a {label}'")
    digits = all(name in DIGITS for name in classes)
    phrasing, unseen = (NUMBERS, NUMBERS_UNSEEN) if digits else (PICTURES, PICTURES_UNSEEN)
    of_class = tuple(dict.fromkeys((*phrasing.of_class, *captions)))
    unseen_of_class = tuple(each for each in unseen.of_class if each not in captions)
    return Language(
        tuple((name, WORDS[int(name)]) if digits else (name,) for name in classes),
        Phrasing(of_class, phrasing.of_quality, phrasing.of_both),
        Phrasing(unseen_of_class, unseen.of_quality, unseen.of_both),
        QUALITIES if digits else CONDITIONS,
    )


@dataclass(frozen=True, eq=False)
class Captions:
    """Texts and what each claims."""

    texts: list[str]
    labels: Labels  # int64 [T], -1: no class is claimed
    qualities: Tensor  # bool [T, Q], all that are claimed

    def true_of(self, labels: Labels, qualities: Tensor) -> Tensor:
        """Which are true of images with these labels [B] and qualities, bool [B, Q]: bool [B, T]."""
        of_class = (self.labels == NO_CLASS) | (self.labels == labels[:, None])
        missing = (self.qualities & ~qualities[:, None]).any(2)
        return of_class & ~missing


def write_captions(words: Language, labels: Labels, qualities: Tensor, draw: random.Random) -> Captions:
    """A caption for each image, true of it. labels [B]; qualities bool [B, Q], at least one an image, in the order of
    the language's. In some captions words that claim nothing become unknown ones: so unknown words are met later."""
    texts, claimed_labels, claimed = [], [], torch.zeros_like(qualities)
    for row, (label, true) in enumerate(zip(labels.tolist(), qualities.tolist(), strict=True)):
        share = draw.random()
        names_class, names_quality = share < CLASS_ALONE + BOTH, share >= CLASS_ALONE
        kinds = words.phrasing.of_both if names_class and names_quality else words.phrasing.of_class
        template = draw.choice(kinds if names_class else words.phrasing.of_quality)
        present = [number for number, holds in enumerate(true) if holds] if names_quality else []
        chosen = draw.sample(present, min(len(present), 1 + (draw.random() < 0.3)))
        claimed[row, chosen] = True
        claimed_labels.append(label if names_class else NO_CLASS)
        if draw.random() < ESTRANGED:
            template = _estranged(template, draw)
        told = draw.choice((", ", " and ", " ")).join(words.qualities[number] for number in chosen)
        texts.append(template.replace("{quality}", told).replace("{label}", draw.choice(words.names[label])))
    return Captions(texts, torch.tensor(claimed_labels), claimed)


def _estranged(template: str, draw: random.Random) -> str:
    """A template in which some words, but none of its places, are unknown ones, and a few more of them stand."""
    said = [word if "{" in word or draw.random() > STRANGE else UNKNOWN for word in template.split()]
    for _ in range(draw.randrange(4)):
        said.insert(draw.randrange(len(said) + 1), UNKNOWN)
    return " ".join(said)

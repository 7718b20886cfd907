"""Captions: each is true of its image, says what it claims, and what is measured later was never said."""

import random
import re

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.perception.captions import (
    CONDITIONS,
    NUMBERS,
    NUMBERS_UNSEEN,
    PICTURES,
    PICTURES_UNSEEN,
    QUALITIES,
    STROKES,
    UNKNOWN,
    Captions,
    language,
    write_captions,
)

DIGITS = language([str(digit) for digit in range(10)])
BOTH_KINDS = ((NUMBERS, NUMBERS_UNSEEN), (PICTURES, PICTURES_UNSEEN))


def told(count=2000, words=DIGITS, seed=0):
    """Captions of made-up images, and those images' labels and qualities."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(words.names), (count,), generator=draw)
    qualities = torch.rand(count, len(words.qualities), generator=draw) < 0.3
    qualities[:, 0] |= ~qualities.any(1)
    return write_captions(words, labels, qualities, random.Random(seed)), labels, qualities


def test_every_caption_is_true_of_its_image():
    captions, labels, qualities = told()
    assert captions.true_of(labels, qualities).diagonal().all()


def test_a_caption_says_what_it_claims_and_nothing_more():
    captions, _, _ = told()
    for text, label, claimed in zip(captions.texts, captions.labels.tolist(), captions.qualities, strict=True):
        words = set(re.findall(r"\w+", text))
        assert {name for name in QUALITIES if name in words} == {QUALITIES[n] for n in claimed.nonzero()[:, 0].tolist()}
        said = {number for number, names in enumerate(DIGITS.names) if words & set(names)}
        assert said == ({label} if label >= 0 else set())


def test_captions_claim_a_class_or_a_quality_or_both():
    captions, _, _ = told()
    of_class, of_quality = captions.labels >= 0, captions.qualities.any(1)
    shares = [(of_class & ~of_quality), (of_class & of_quality), (~of_class & of_quality), (~of_class & ~of_quality)]
    assert [round(float(share.float().mean()), 1) for share in shares] == [0.5, 0.3, 0.2, 0.0]


def test_a_caption_is_true_of_every_image_of_its_class_and_quality_and_of_no_other():
    # "a seven"; "blurry"; "a blurry seven"
    captions = Captions(["", "", ""], torch.tensor([7, -1, 7]), torch.tensor([[0, 0], [0, 1], [0, 1]]).bool())
    labels = torch.tensor([7, 7, 3])
    qualities = torch.tensor([[1, 0], [0, 1], [0, 1]]).bool()
    expected = [[True, False, False], [True, True, True], [False, True, False]]
    assert captions.true_of(labels, qualities).tolist() == expected


def test_an_image_whose_class_is_not_known_is_of_none_that_is_claimed():
    captions = Captions(["", ""], torch.tensor([0, -1]), torch.zeros(2, 1).bool())
    assert captions.true_of(torch.tensor([-1]), torch.ones(1, 1).bool()).tolist() == [[False, True]]


def test_the_same_seed_says_the_same_and_another_does_not():
    assert told()[0].texts == told()[0].texts
    captions, labels, qualities = told()
    assert write_captions(DIGITS, labels, qualities, random.Random(1)).texts != captions.texts


def test_words_that_claim_nothing_are_sometimes_unknown():
    share = sum(UNKNOWN in text for text in told()[0].texts) / 2000
    assert 0.25 < share < 0.45


@pytest.mark.parametrize("kind", ["of_class", "of_quality", "of_both"])
@pytest.mark.parametrize(("trained", "unseen"), BOTH_KINDS)
def test_what_is_measured_was_never_said(trained, unseen, kind):
    ours, others = getattr(trained, kind), getattr(unseen, kind)
    assert others
    assert not set(ours) & set(others)
    places = {"of_class": ["label"], "of_quality": ["quality"], "of_both": ["label", "quality"]}[kind]
    for template in (*ours, *others):
        assert sorted(re.findall(r"\{(\w+)\}", template)) == places


@pytest.mark.parametrize(("trained", "unseen"), BOTH_KINDS)
def test_no_phrasing_names_a_digit_or_a_quality_by_itself(trained, unseen):
    names = {name for names in DIGITS.names for name in names} | set(QUALITIES)
    for phrasing in (trained, unseen) if trained is NUMBERS else ():
        for template in (*phrasing.of_class, *phrasing.of_quality, *phrasing.of_both):
            assert not set(re.findall(r"\w+", template.lower())) & names


def test_digits_are_named_by_word_too_and_their_strokes_described():
    assert DIGITS.names[7] == ("7", "seven")
    assert DIGITS.qualities == (*CONDITIONS, *STROKES)
    other = language(("Ankle boot", "7"))
    assert other.names == (("Ankle boot",), ("7",))
    assert other.qualities == CONDITIONS


def test_every_word_that_training_says_is_known():
    for words in (DIGITS, language(("Ankle boot", "T-shirt/top"), ("my {label}!",))):
        captions = told(500, words)[0]
        said = {
            word for text in captions.texts for word in re.findall(r"\w+|[^\w\s]+", text.replace(UNKNOWN, "").lower())
        }
        assert said <= set(words.words)


def test_a_caption_of_ones_own_is_said_beside_the_others():
    words = language(("cat", "dog"), ("my {label}", "a view of {label}"))
    assert {"my {label}", "a photo of a {label}"} <= set(words.phrasing.of_class)
    assert "a view of {label}" in PICTURES_UNSEEN.of_class  # and is no longer measured as one never said
    assert "a view of {label}" not in words.unseen.of_class


@pytest.mark.parametrize("caption", ["a photo", "a {lable}", "{label} {label}", "a {quality} {label}", ""])
def test_a_caption_without_its_place_is_refused(caption):
    with pytest.raises(Refusal, match=r"caption .*: expected \{label\} in it once"):
        language(("cat", "dog"), (caption,))

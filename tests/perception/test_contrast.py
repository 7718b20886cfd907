"""The small CLIP: its loss in closed form, what it sees and is told, and that it learns."""

import dataclasses
import math
import random

import pytest
import torch

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.seeds import generator
from noisette.perception.captions import language
from noisette.perception.contrast import (
    WARMEST,
    ContrastConfig,
    contrast,
    new_clip,
    patch_side,
    pixels_of,
    prepare,
    spoil,
    teach,
)
from noisette.perception.degrade import DEGRADATIONS
from noisette.perception.tokens import LONGEST, MARKS, new_tokenizer

TINY = ContrastConfig(width=32, layers=1, text_width=32, images=1280, batch_size=32, learning_rate=3e-3)
WORDS = language(("left", "top"))
SQUARE = (1, 16, 16)


def halves(count=320, size=SQUARE, seed=0):
    """Images whose left (class 0) or upper half (class 1) is bright: what so small a network learns in seconds."""
    labels = torch.arange(count) % 2
    rows, columns = torch.arange(size[1])[:, None], torch.arange(size[2])
    bright = torch.where(labels.bool()[:, None, None], 2 * rows < size[1], 2 * columns < size[2])
    clean = (1.4 * bright.float() - 0.7)[:, None].expand(count, *size)
    return clean + 0.1 * torch.randn(count, *size, generator=generator(seed)), labels


def taught(images, labels, config=TINY, precision=torch.float32, words=WORDS):
    tokenizer = new_tokenizer(words.words)
    network = new_clip(config, images.shape[1], images.shape[2], tokenizer.get_vocab(), LONGEST)
    lesson = prepare(images, labels, words)
    return network, tokenizer, lesson, list(teach(network, tokenizer, lesson, config, precision))


def guesses(network, tokenizer, lesson, images, texts):
    return alike(network, tokenizer, lesson, images, texts).argmax(1)


def margin(network, tokenizer, lesson, images, one, other):
    near = alike(network, tokenizer, lesson, images, [f"a {one} image", f"a {other} image"])
    return near[:, 0] - near[:, 1]


def alike(network, tokenizer, lesson, images, texts):
    """Cosines of images and texts."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        seen = network.get_image_features(lesson.pixels.scaled(images)).pooler_output
        read = network.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
    return torch.nn.functional.normalize(seen, dim=1) @ torch.nn.functional.normalize(read, dim=1).T


# --- the loss


def test_with_one_true_caption_an_image_it_is_the_loss_of_the_paper():
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    of_images, of_texts = torch.randn(2, 6, 8, generator=generator(0))
    unit = torch.nn.functional.normalize
    logits = 3 * unit(of_texts, dim=1) @ unit(of_images, dim=1).T
    found = contrast(of_images, of_texts, torch.tensor(3.0), torch.eye(6).bool())
    torch.testing.assert_close(found, image_text_contrastive_loss(logits))


def test_it_is_lowest_where_all_true_ones_are_equally_near():
    # Two facts, three captions of the first and one of the second: embeddings that are the facts themselves.
    of_images = torch.eye(2)[[0, 1, 0]]
    of_texts = torch.eye(2)[[0, 0, 1, 0]]
    true = (of_images @ of_texts.T) > 0
    found = contrast(of_images, of_texts, torch.tensor(100.0), true)
    by_image = (math.log(3) + math.log(1) + math.log(3)) / 3  # the entropy of the targets is all that is left
    by_text = (3 * math.log(2) + math.log(1)) / 4
    assert found.item() == pytest.approx((by_image + by_text) / 2, abs=1e-5)


def test_a_caption_that_is_true_of_an_image_does_not_push_it_away():
    logits_of = torch.eye(3)  # images
    texts = torch.eye(3)[[0, 0, 2]].requires_grad_()  # twice the same fact
    true = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    contrast(logits_of[[0, 0, 2]], texts, torch.tensor(1.0), true).backward()
    toward = -texts.grad[:2, 0]  # along the fact: nothing pulls a text on it away from it
    torch.testing.assert_close(texts.grad[0], texts.grad[1])
    assert (toward >= -1e-6).all()


# --- pixels, patches, words


def test_pixels_are_scaled_by_what_the_images_are():
    images = torch.randn(200, 3, 8, 8, generator=generator(0)) * torch.tensor([0.1, 0.2, 0.3])[:, None, None] + 0.2
    pixels = pixels_of(images)
    scaled = pixels.scaled(images)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    assert pixels.mean[0] == pytest.approx(0.6, abs=0.01)  # of pixels in [0, 1]
    assert pixels_of(torch.zeros(4, 1, 8, 8)).std == (1.0,)


@pytest.mark.parametrize(("side", "patch"), [(28, 4), (32, 4), (64, 8), (30, 5), (8, 1), (5, 1), (256, 32)])
def test_a_side_is_cut_into_as_many_patches_as_are_asked_for(side, patch):
    assert patch_side(side, 8) == patch


@pytest.mark.parametrize("side", [3, 29, 26])
def test_a_side_that_cannot_be_cut_is_refused(side):
    with pytest.raises(Refusal, match=rf"images {side} pixels wide: expected a side that 4 to 8 patches divide"):
        patch_side(side, 8)


def test_texts_are_cut_into_whole_words_between_their_ends():
    tokenizer = new_tokenizer(("a", "seven", ","))
    names = tokenizer.convert_ids_to_tokens(tokenizer("A  SEVEN, eight")["input_ids"])
    assert names == ["[bos]", "a", "seven", ",", "[unk]", "[eos]"]
    assert tokenizer(["a", "a seven"], padding=True)["attention_mask"] == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert tokenizer.convert_tokens_to_ids(list(MARKS)) == [0, 1, 2, 3]
    assert len(tokenizer("a " * 100, truncation=True)["input_ids"]) == LONGEST


def test_a_text_is_read_at_its_end_whatever_stands_beside_it_in_a_batch():
    tokenizer = new_tokenizer(WORDS.words)
    network = new_clip(TINY, 1, 16, tokenizer.get_vocab(), LONGEST).eval()

    def read(texts):
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            return network.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output

    alone, beside, other = read(["top"]), read(["top", "a photo of a top"]), read(["left"])
    torch.testing.assert_close(alone[0], beside[0])
    assert not torch.allclose(alone, other, atol=1e-3)


# --- what is taught


def test_some_images_are_spoilt_and_the_words_are_true_of_each(stripes):
    images, labels = stripes(1000, SQUARE)
    lesson = prepare(images, labels, WORDS)
    config = dataclasses.replace(TINY, degraded=0.3)
    spoilt, qualities = spoil(images, lesson, config, generator(0))
    whole = (spoilt == images).flatten(1).all(1)
    assert 0.65 < whole.float().mean() < 0.75
    clear, unclear = (qualities[:, WORDS.qualities.index(word)] for word in ("clear", "unclear"))
    assert torch.equal(clear, whole)
    assert torch.equal(unclear, ~whole)
    for word in ("blurry", "noisy", "broken"):
        assert 0 < qualities[:, WORDS.qualities.index(word)].sum() < unclear.sum()


@pytest.mark.parametrize("left_out", DEGRADATIONS)
def test_what_is_left_out_is_never_met(left_out, stripes, monkeypatch):
    met = []
    for name, kind in DEGRADATIONS.items():

        def noted(images, draw, name=name):
            met.append(name)
            return images

        monkeypatch.setitem(DEGRADATIONS._choices, name, dataclasses.replace(kind, spoil=noted))
    images, labels = stripes(300, SQUARE)
    config = dataclasses.replace(TINY, left_out=left_out)
    spoil(images, prepare(images, labels, WORDS), config, generator(0))
    assert sorted(met) == sorted(set(DEGRADATIONS) - {left_out})
    assert set(config.trained_on) == set(met)


def test_strokes_are_measured_before_they_are_spoilt(stripes):
    digits = language([str(number) for number in range(10)])
    images, labels = stripes(200, SQUARE)
    lesson = prepare(images, labels, digits)
    _, qualities = spoil(images, lesson, dataclasses.replace(TINY, degraded=0.99), generator(0))
    assert torch.equal(qualities[:, -3:], lesson.strokes.words(images))
    assert prepare(images, labels, WORDS).strokes is None


# --- training


@pytest.mark.parametrize("size", [(1, 16, 16), (3, 12, 12)])
def test_it_learns_classes_in_words_it_was_told_and_in_others(size):
    network, tokenizer, lesson, events = taught(*halves(size=size), dataclasses.replace(TINY, images=2560))
    images, labels = halves(100, size, seed=1)
    for template in ("a photo of a {}", "{}", "it looks quite like a {}"):
        texts = [template.format(name) for name in ("left", "top")]
        assert (guesses(network, tokenizer, lesson, images, texts) == labels).float().mean() > 0.9
    assert events[-1].loss < events[0].loss
    assert not network.training


def test_it_learns_what_is_damaged():
    network, tokenizer, lesson, _ = taught(*halves(), dataclasses.replace(TINY, images=6400, degraded=0.5))
    images, _ = halves(100, seed=1)
    noisy = DEGRADATIONS["noisy"].spoil(images, generator(0)).clamp(-1, 1)
    of_clear, of_noisy = (margin(network, tokenizer, lesson, each, "clear", "noisy") for each in (images, noisy))
    assert (of_clear > of_noisy).float().mean() > 0.8


def test_it_learns_in_bfloat16_with_weights_in_float32(stripes):
    short = dataclasses.replace(TINY, images=320)
    half, whole = (taught(*stripes(size=SQUARE), short, precision)[0] for precision in (torch.bfloat16, torch.float32))
    assert all(weight.dtype == torch.float32 for weight in half.parameters())
    assert not torch.equal(half.logit_scale, whole.logit_scale)
    torch.testing.assert_close(half.logit_scale, whole.logit_scale, atol=0.05, rtol=0)


def test_the_seed_decides_the_weights_and_nothing_else_does(stripes):
    def weights(seed, disturbed=0):
        torch.manual_seed(disturbed)
        random.seed(disturbed)
        before = torch.get_rng_state()
        network = taught(*stripes(size=SQUARE), dataclasses.replace(TINY, images=64, seed=seed))[0]
        assert torch.equal(torch.get_rng_state(), before)
        return network.state_dict()

    one, again, other = weights(0), weights(0, disturbed=1), weights(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["visual_projection.weight"], other["visual_projection.weight"])


def test_every_weight_learns(stripes):
    images, labels = stripes(size=SQUARE)
    born = new_clip(TINY, 1, 16, new_tokenizer(WORDS.words).get_vocab(), LONGEST).state_dict()
    taught_ones = taught(images, labels, dataclasses.replace(TINY, images=128))[0].state_dict()
    assert [name for name, weight in taught_ones.items() if torch.equal(weight, born[name])] == []


def test_the_logits_stay_within_the_papers_scale(stripes, monkeypatch):
    monkeypatch.setattr("noisette.perception.contrast.WARMEST", 2.0)
    assert math.log(100) == WARMEST
    network = taught(*stripes(size=SQUARE), dataclasses.replace(TINY, images=64))[0]
    assert network.logit_scale.item() <= 2.0  # it begins higher


def test_epochs_are_whole_and_follow_from_the_images_to_see(stripes):
    events = taught(*stripes(50, SQUARE), dataclasses.replace(TINY, images=120, batch_size=20))[3]
    assert [(event.epoch, event.epochs) for event in events] == [(1, 3), (2, 3), (3, 3)]


def test_a_loss_that_is_not_finite_ends_it(stripes, monkeypatch):
    monkeypatch.setattr("noisette.perception.contrast.contrast", lambda *_: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(NoisetteError, match="the loss of epoch 1 is nan: expected a lower learning rate"):
        taught(*stripes(size=SQUARE), dataclasses.replace(TINY, images=64))


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 100},
        {"text_width": 16},
        {"layers": 0},
        {"patches": 1},
        {"images": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"degraded": 1.0},
        {"zoom": -0.1},
        {"rotation": 190.0},
    ],
)
def test_what_cannot_be_is_refused(changes):
    with pytest.raises(Refusal, match=f"{next(iter(changes))} .*: expected "):
        ContrastConfig(**changes)


def test_an_unknown_degradation_is_refused():
    with pytest.raises(Refusal, match=r"unknown degradation 'blured': .*did you mean 'blurred'"):
        ContrastConfig(left_out="blured")


def test_one_image_is_not_enough(stripes):
    with pytest.raises(Refusal, match="1 images to train on: expected at least 2"):
        prepare(*stripes(1), WORDS)

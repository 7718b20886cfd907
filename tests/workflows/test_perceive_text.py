"""A small CLIP of any labelled images: the folder it writes, what its card says, and the one that ships."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.data.datasets import load_data
from noisette.data.images import ImageData, to_model
from noisette.perception.captions import language
from noisette.perception.clip import load_clip
from noisette.perception.contrast import ContrastConfig, teach
from noisette.perception.degrade import DEGRADATIONS
from noisette.perception.strokes import StrokeBounds
from noisette.workflows.perceive import SHIPPED, Part
from noisette.workflows.perceive_text import perceive_text, shipped_clips
from noisette.workflows.scorers import load_scorer
from noisette.workflows.text_measures import measure_text, separation

SHORT = ContrastConfig(width=32, layers=1, text_width=32, images=64, batch_size=32)


def bright(count, seed, classes=("left", "top"), size=(12, 12, 3)):
    """Images whose left or upper half is bright, a class each."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(classes)
    rows, columns = np.mgrid[: size[0], : size[1]]
    here = np.where(labels[:, None, None] % 2, rows < size[0] / 2, columns < size[1] / 2)[..., None]
    noise = random.integers(0, 40, (count, *size))
    return ImageData("halves", (150 * here + noise).astype(np.uint8), labels, classes, "made up")


@pytest.fixture
def parts(parts_of):
    """The parts that the data set "halves" has; tests change them."""
    return parts_of(bright(80, 0), bright(30, 1))


def made(out, config=SHORT, captions=(), **options):
    return perceive_text("halves", out, config, captions, device="cpu", **options)


def test_it_writes_a_folder_in_the_hubs_form_that_any_loader_reads(parts, tmp_path):
    from transformers import CLIPModel

    out = tmp_path / "new" / "halves"
    card = made(out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    network, told = CLIPModel.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not any(told[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    seen = network.config.vision_config
    assert (seen.num_channels, seen.image_size, seen.patch_size) == (3, 12, 3)
    clip = load_clip(out)
    assert clip.digest == card["digest"]
    assert (clip.form.channels, clip.form.side) == (3, 12)
    assert str(tmp_path) not in "".join(
        path.read_text(encoding="utf-8") for path in out.glob("*.[jm]*") if path.suffix != ".safetensors"
    )


def test_what_it_reads_is_what_was_taught(parts, tmp_path, monkeypatch):
    taught = []

    def noted(network, tokenizer, lesson, *how):
        taught.extend([network, lesson])
        yield from teach(network, tokenizer, lesson, *how)

    monkeypatch.setattr("noisette.workflows.perceive_text.teach", noted)
    made(tmp_path / "a")
    network, lesson = taught
    images = to_model(parts["test"].images)
    clip = load_clip(tmp_path / "a")
    with torch.no_grad():
        expected = network.get_image_features(lesson.pixels.scaled(images)).pooler_output
        expected = torch.nn.functional.normalize(expected, dim=1)
    torch.testing.assert_close(clip.of_images(images), expected, atol=5e-3, rtol=0)  # stored as float16


def test_the_library_alone_brings_images_into_the_form_that_was_taught(parts, tmp_path):
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    made(tmp_path / "a")
    pixels = parts["test"].images[0]
    found = CLIPImageProcessorPil.from_pretrained(tmp_path / "a")(Image.fromarray(pixels), return_tensors="pt")
    torch.testing.assert_close(found["pixel_values"], load_clip(tmp_path / "a").form(to_model(pixels[None])))


def test_the_card_says_what_was_measured(parts, tmp_path):
    card = made(tmp_path / "a", command="noisette perceive halves --text")
    assert (card["data"], card["data_digest"]) == ("halves", parts["train"].digest)
    assert (card["measured_on"], card["measured_digest"]) == ("test", parts["test"].digest)
    assert (card["training_images"], card["measured_images"]) == (80, 30)
    assert card["images"] == 64
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert f"- accuracy: {card['accuracy']}\n" in text
    assert f"- digest: {card['digest']}\n" in text
    assert "- command: noisette perceive halves --text\n" in text


def test_without_a_test_part_a_fifth_is_held_out(parts, tmp_path):
    del parts["test"]
    card = made(tmp_path / "a")
    assert card["measured_on"] == "held-out fifth of the training"
    assert (card["training_images"], card["measured_images"]) == (64, 16)


def test_digits_are_described_by_their_strokes(parts, tmp_path):
    for name, part in parts.items():
        parts[name] = dataclasses.replace(part, classes=("7", "3"))
    card = made(tmp_path / "a", captions=("my very own {label}",))
    assert {"thick", "thin", "slanted"} <= card.keys()
    assert load_clip(tmp_path / "a").tokenizer.convert_tokens_to_ids("own") > 3


def test_progress_is_told_and_what_is_interrupted_leaves_nothing(parts, tmp_path):
    told = []
    made(tmp_path / "a", dataclasses.replace(SHORT, images=200, batch_size=40), progress=told.append)
    assert [(fitted.epoch, fitted.epochs) for fitted in told] == [(1, 2), (2, 2)]

    def interrupt(fitted):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "b", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def refused(tmp_path, message, name="a", **options):
    with pytest.raises(Refusal, match=message):
        made(tmp_path / name, progress=lambda fitted: pytest.fail("it trained"), **options)


def test_what_cannot_be_taught_is_refused_before_any_work(parts, tmp_path, monkeypatch):
    parts["train"] = parts["test"] = bright(80, 2, size=(12, 9, 1))
    refused(tmp_path, "images of 12 x 9: expected square ones, as --image-size makes them")
    parts["train"] = parts["test"] = bright(80, 2, size=(13, 13, 1))
    refused(tmp_path, "images 13 pixels wide: expected a side that 2 to 4 patches divide")
    refused(tmp_path, r"caption 'a cat': expected \{label\} in it once", captions=("a cat",))
    (tmp_path / "a").mkdir()
    refused(tmp_path, "output .*a, which is there already: expected a new folder")
    (tmp_path / "file").write_text("mine")
    refused(tmp_path, "cannot write", "file/a")
    monkeypatch.setattr("noisette.workflows.perceive_text.find_spec", lambda name: None)
    refused(tmp_path, r"no library transformers: expected it: pip install 'noisette\[clip\]'", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]


# --- measures


def test_a_separation_is_the_share_of_pairs_in_their_order():
    random = np.random.default_rng(0)
    one, other = random.integers(0, 9, 40) + 1.0, random.integers(0, 9, 30) + 0.0
    pairs = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    assert separation(torch.tensor(one), torch.tensor(other)) == pytest.approx(pairs.mean())
    assert separation(torch.ones(3), torch.zeros(2)) == 1
    assert separation(torch.ones(3), torch.ones(2)) == 0.5
    assert np.isnan(separation(torch.ones(3), torch.ones(0)))


class Oracle:
    """Stands for a model: texts and images are where their facts say, in a space of classes and of damage."""

    device = torch.device("cpu")

    def __init__(self, words, deaf=()):
        self.words, self.deaf = words, deaf

    def of_texts(self, texts):
        found = torch.zeros(len(texts), 12)
        for row, text in enumerate(texts):
            said = set(re.findall(r"\w+", text))
            for number, names in enumerate(self.words.names):
                if said & set(names) and not any(word in text for word in self.deaf):
                    found[row, number] = 1
            found[row, 10] = ("clear" in said) - ("unclear" in said)
            found[row, 11] = ("thick" in said) - ("thin" in said)
        return found + 1e-4

    def of_images(self, images):
        """A pixel tells the class, another whether it was spoilt, a third how thick it is."""
        found = torch.nn.functional.one_hot(((images[:, 0, 0, 0] + 1) * 127.5).round().long() % 10, 12).float()
        found[:, 10], found[:, 11] = images[:, 0, 1, 1], images[:, 0, 2, 2]
        return found


@pytest.fixture
def told(monkeypatch):
    """Measures of an oracle on 90 images, of which one kind of damage does not show."""

    def measure(deaf=(), wrong=0, unseen_damage=None):
        words = language([str(number) for number in range(10)])
        images = np.zeros((90, 8, 8, 1), np.uint8)
        images[:, 0, 0, 0] = labels = np.arange(90) % 10
        images[: 90 // 2, 2, 2] = 255
        images[:, 1, 1] = 255
        labels[:wrong] = (labels[:wrong] + 1) % 10
        data = ImageData("made", images, labels, tuple("0123456789"), "made up")

        def damage(images, kinds, names, draw):
            spoilt = images.clone()
            for row, kind in enumerate(kinds.tolist()):
                spoilt[row, 0, 1, 1] = 1 if names[kind] == unseen_damage else -1
            return spoilt

        monkeypatch.setattr("noisette.workflows.text_measures.degrade", damage)
        monkeypatch.setattr(StrokeBounds, "words", lambda self, images: images[:, 0, [2, 2, 2], [2, 2, 2]] > 0)
        return measure_text(Oracle(words, deaf), Part("test", data, np.arange(90)), words, StrokeBounds(1, 2, 0.3))

    return measure


def test_a_perfect_reader_is_measured_as_one(told):
    facts = told()
    for name in (
        "accuracy",
        "trained_accuracy",
        "trained_lowest_accuracy",
        "unseen_accuracy",
        "unseen_lowest_accuracy",
    ):
        assert facts[name] == 1, name
    assert facts["trained_clear"] == facts["unseen_clear"] == facts["thick"] == 1
    assert facts["thin"] == 0  # images of which both are true here
    assert facts["measured_images"] == 90


def test_wrong_labels_count_and_so_does_a_phrasing_that_is_not_understood(told):
    assert told(wrong=9)["accuracy"] == pytest.approx(0.9)
    facts = told(deaf=("looks",))
    assert facts["trained_accuracy"] == facts["trained_lowest_accuracy"] == 1
    assert facts["unseen_lowest"].startswith("it looks like a ")
    assert facts["unseen_lowest_accuracy"] == pytest.approx(0.1)
    ways = facts["unseen_phrasings"]
    assert facts["unseen_accuracy"] == pytest.approx((ways - 2 * 0.9) / ways)


def test_damage_that_is_not_seen_shows_under_its_own_name(told):
    facts = told(unseen_damage="pixelated")
    assert facts["clear_not_pixelated"] == 0.5
    assert all(facts[f"clear_not_{name}"] == 1 for name in DEGRADATIONS if name != "pixelated")
    assert facts["trained_clear"] == pytest.approx(1 - 0.5 / len(DEGRADATIONS))


# --- the model that ships


@pytest.fixture(scope="module")
def shipped():
    """Its folder, and the facts of its card."""
    folder = SHIPPED / "mnist-clip"
    text = (folder / "README.md").read_text(encoding="utf-8")
    return folder, dict(re.findall(r"^- ([\w ]+): (.*)$", text, re.MULTILINE))


def test_what_ships_is_small_and_as_good_as_promised(shipped):
    folder, card = shipped
    assert shipped_clips() == ["mnist-clip"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    assert (card["measured on"], card["measured images"]) == ("test", "10000")
    assert min(float(card[name]) for name in ("accuracy", "trained accuracy")) >= 0.98
    assert min(float(card[name]) for name in ("unseen accuracy", "unseen lowest accuracy")) >= 0.95
    assert min(float(card[name]) for name in ("trained clear", f"clear not {card['left out']}")) >= 0.97
    assert card["left out"] == "pixelated"


def test_the_card_of_what_ships_is_its_own(shipped):
    folder, card = shipped
    assert card["digest"] == load_clip(folder).digest
    assert card["command"] == "noisette perceive mnist --text --out mnist-clip"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix in (".md", ".json"))
    assert not re.search(r"(?<![\w.])/\w+/", text)  # no folder of the machine that made it


def test_what_ships_knows_digits_and_what_is_unclear():
    data = load_data("mnist-5k")
    rows = np.arange(0, len(data.labels), 20)
    images = to_model(data.images[rows])
    scorer = load_scorer("clip", data.classes, (1, 28, 28)).scorer
    found = scorer(images)[:, :10].argmax(1).numpy()
    assert (found == data.labels[rows]).mean() > 0.97
    noisy = DEGRADATIONS["noisy"].spoil(images, generator(0)).clamp(-1, 1)
    asked = load_clip(SHIPPED / "mnist-clip").scorer(["A clear number", "A blurry, unclear number"])
    assert (asked(images)[:, 0] > asked(noisy)[:, 0]).float().mean() > 0.95

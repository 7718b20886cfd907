"""CLIP and SigLIP checkpoints: scores are those of transformers' own way, and have a gradient; what is wrong with a
checkpoint or a prompt is said in a line."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from loopback_hub import ModelHub, serving
from noisette.base.errors import NoisetteError, Refusal
from noisette.perception.clip import load_clip
from noisette.perception.clip_pixels import PixelForm

PROMPTS = ("a number seven", "a number 8", "a clear number")
BOTH = pytest.mark.parametrize("kind", ["clip", "siglip"])


@pytest.fixture
def copied(tiny_clip, tmp_path):
    """A checkpoint that a test may break."""

    def make(kind="clip"):
        return shutil.copytree(tiny_clip(kind), tmp_path / "broken")

    return make


def pixels(channels, size=(28, 28), count=4):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (count, *(side // 4 for side in size), channels), dtype=np.uint8)
    return small.repeat(4, 1).repeat(4, 2)


def as_images(found):
    return torch.from_numpy(found).permute(0, 3, 1, 2).float() / 127.5 - 1


@BOTH
@pytest.mark.parametrize("size", [(28, 28), (12, 8), (40, 60)])
def test_probabilities_are_those_of_the_librarys_own_way(tiny_clip, kind, size):
    """Its image processor works on Pillow's pictures of whole grey levels, hence the tolerance."""
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    folder = tiny_clip(kind)
    process = {"clip": CLIPImageProcessorPil, "siglip": SiglipImageProcessorPil}[kind].from_pretrained(folder)
    found = (pixels(1, size) // 2 + 64).repeat(3, 3)  # far from black and white, where Pillow cuts off
    given = process([Image.fromarray(each) for each in found], return_tensors="pt")["pixel_values"]
    words = transformers.PreTrainedTokenizerFast.from_pretrained(folder)(
        list(PROMPTS), padding="max_length", max_length=12, return_tensors="pt"
    )
    model = getattr(transformers, {"clip": "CLIPModel", "siglip": "SiglipModel"}[kind]).from_pretrained(folder)
    with torch.no_grad():
        logits = model(pixel_values=given, input_ids=words["input_ids"]).logits_per_image
        scores = load_clip(folder).scorer(PROMPTS)(as_images(found[..., :1]))
    expected = logits.log_softmax(1)
    spread = float(expected.std(0).max())  # from image to image
    assert spread > 0.01
    torch.testing.assert_close(scores, expected, rtol=0, atol=spread / 4)


@pytest.mark.parametrize(
    ("size", "crop"), [(16, (16, 16)), ((16, 16), None), (12, (16, 16)), (20, (16, 16)), ((24, 24), (16, 16))]
)
@pytest.mark.parametrize("images", [(28, 28), (12, 8), (20, 36)])
def test_pixels_are_those_of_the_librarys_own_way(images, size, crop):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    sides = {"shortest_edge": size} if isinstance(size, int) else {"height": size[0], "width": size[1]}
    process = CLIPImageProcessorPil(
        size=sides, do_center_crop=crop is not None, crop_size=dict(zip(("height", "width"), crop or size, strict=True))
    )
    found = pixels(3, images) // 2 + 64  # far from black and white, where Pillow cuts off; it rounds twice
    expected = process([Image.fromarray(each) for each in found], return_tensors="pt")["pixel_values"]
    form = PixelForm(3, 16, size, crop, "bicubic", tuple(process.image_mean), tuple(process.image_std))
    torch.testing.assert_close(form(as_images(found)), expected, rtol=0, atol=1.02 / 255 / 0.26)


@BOTH
def test_its_gradient_is_that_of_finite_differences(tiny_clip, kind):
    clip = load_clip(tiny_clip(kind))
    clip.network.double()
    scorer = clip.scorer(PROMPTS)
    images = as_images(pixels(1, (8, 8), 2)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: scorer(given)[:, 1], images, fast_mode=True)


@BOTH
def test_texts_of_one_prompt_are_averaged_and_a_text_is_the_same_in_any_company(tiny_clip, kind):
    clip = load_clip(tiny_clip(kind))
    one, other, third = clip.of_texts(["a number seven", "7", "a clear number , a handwritten seven"])
    torch.testing.assert_close(clip.of_texts(["7"])[0], other)  # whatever it was filled up to
    torch.testing.assert_close(torch.stack([one, other, third]).norm(dim=1), torch.ones(3))
    scorer = clip.scorer([("a number seven", "7"), "8"], temperature=2.0)
    mean = (one + other) / (one + other).norm()
    images = as_images(pixels(1))
    logits = clip.of_images(images) @ torch.stack([mean, clip.of_texts(["8"])[0]]).T
    torch.testing.assert_close(scorer(images), (logits * clip.network.logit_scale.exp() / 2).log_softmax(1))
    assert scorer.prompts == ("a number seven | 7", "8")
    assert clip.scorer(["7", "8"], ["seven", "eight"]).prompts == ("seven", "eight")


def test_a_model_of_grey_images_sees_grey(tiny_clip):
    clip = load_clip(tiny_clip(channels=1))
    assert clip.scorer(PROMPTS)(as_images(pixels(1))).shape == (4, 3)
    with pytest.raises(Refusal, match="images of 3 channels: expected 1"):
        clip.of_images(as_images(pixels(3)))


@BOTH
@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ((), "0 prompts: expected at least 2"),
        (("a",), "1 prompts: expected at least 2"),
        (("a number", ""), "prompt '': expected a text"),
        (("a number", " \n"), r"prompt ' \\n': expected a text"),
        (("a number", ()), "a prompt of no text"),
        (("a zebra", "a lion"), "'a zebra' and 'a lion' are the same to"),
        (("a", "a " * 50), "of 52 tokens: expected at most 12"),
    ],
)
def test_prompts_that_say_nothing_are_refused(tiny_clip, kind, prompts, told):
    with pytest.raises(Refusal, match=told):
        load_clip(tiny_clip(kind)).scorer(prompts)


# Checkpoints --------------------------------------------------------------------------------------


def test_the_digest_is_that_of_all_that_decides_scores(copied, tiny_clip):
    folder = copied()
    assert load_clip(folder).digest == load_clip(tiny_clip()).digest
    (folder / "README.md").write_text("a card")
    assert load_clip(folder).digest == load_clip(tiny_clip()).digest
    change(folder / "preprocessor_config.json", resample=2)
    assert load_clip(folder).digest != load_clip(tiny_clip()).digest


def test_weights_in_parts_and_the_forms_of_newer_and_older_libraries(copied, tiny_clip):
    folder, images = copied(), as_images(pixels(1))
    expected = load_clip(folder).scorer(PROMPTS)(images)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": True, "model-00002-of-00002.safetensors": False}
    for name, text in parts.items():
        part = {key: value for key, value in weights.items() if key.startswith("text") == text}
        save_file({key: value.contiguous() for key, value in part.items()}, folder / name, {"format": "pt"})
    places = {key: next(name for name, text in parts.items() if key.startswith("text") == text) for key in weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    form = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": form | {"size": 16, "crop_size": 16}}))
    torch.testing.assert_close(load_clip(folder).scorer(PROMPTS)(images), expected)


def test_the_vocabulary_of_older_checkpoints_is_read(copied):
    folder = copied()
    (folder / "tokenizer.json").unlink()
    ends = ("<|startoftext|>", "<|endoftext|>")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["?", *ends, *letters[:8], *(f"{letter}</w>" for letter in letters[:8]), "ab</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    clip = load_clip(folder)
    assert clip.tokenizer("ab c")["input_ids"] == [1, words.index("ab</w>"), words.index("c</w>"), 2]
    assert clip.of_texts(["ab c"]).shape == (1, 8)


def change(path, **settings):
    found = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def without_text_tower(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: each for name, each in weights.items() if not name.startswith("text")}, folder / "model.safetensors"
    )


def without_a_tensor(folder):
    weights = load_file(folder / "model.safetensors")
    weights["spare"] = weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def halved(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


BROKEN = {
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "no configuration of a CLIP model at"),
    "no object": (
        lambda folder: (folder / "config.json").write_text("[]"),
        "of type None: expected one of clip, siglip",
    ),
    "another model": (
        lambda folder: change(folder / "config.json", model_type="bert"),
        "of type 'bert': expected one of",
    ),
    "no name of a model": (
        lambda folder: change(folder / "config.json", model_type=["clip"]),
        "of type .'clip'.: expected one of",
    ),
    "an image tower alone": (
        lambda folder: change(folder / "config.json", model_type="clip_vision_model"),
        "a model without a text tower: expected both towers",
    ),
    "weights of an image tower": (without_text_tower, "a model without a text tower: its weights hold no tensor"),
    "a tensor missing": (without_a_tensor, "lacks weights: no tensor visual_projection.weight, 1 in all"),
    "half a file": (halved, "is not a readable CLIP model"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "holds no weights: expected model.safe",
    ),
    "pickled weights": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"holds pickled weights \(pytorch_model.bin\): expected model.safetensors, nothing is unpickled",
    ),
    "a larger model": (
        lambda folder: change(folder / "config.json", text_config={"hidden_size": 2**14, "vocab_size": 2**20}),
        "weights of [0-9,]+ numbers: expected [0-9,]+, as its configuration says",
    ),
    "too many layers": (
        lambda folder: change(folder / "config.json", text_config={"num_hidden_layers": 10**9}),
        "text_config of 1000000000 layers: expected at most 1000",
    ),
    "other shapes": (
        lambda folder: change(folder / "config.json", projection_dim=4),
        "is not a readable CLIP model",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer: expected tokenizer.json"),
    "a broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "has no readable tokenizer"),
    "no form": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "no configuration of a CLIP model's images at",
    ),
    **{
        f"a form of {settings}": (
            lambda folder, settings=settings: change(folder / "preprocessor_config.json", **settings),
            told,
        )
        for settings, told in (
            ({"resample": [3]}, r"resample \[3\]: expected 2"),
            ({"resample": 1}, r"resample 1: expected 2 \(bilinear\) or 3 \(bicubic\)"),
            ({"size": "large"}, "size 'large': expected height and width or shortest_edge"),
            ({"size": {"height": 10**9, "width": 16}}, "size .*: expected height and width"),
            ({"crop_size": 8}, r"images brought into \(8, 8\): expected 16 x 16"),
            ({"image_std": [1, 1, 0]}, "image_std .*: expected 3 numbers"),
            ({"image_mean": [0.5]}, "image_mean .*: expected 3 numbers"),
            ({"rescale_factor": 1.0}, "rescale_factor 1.0: expected 1/255"),
        )
    },
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_wrong_with_a_checkpoint_is_said_in_a_line(copied, broken):
    folder = copied()
    spoil, told = BROKEN[broken]
    spoil(folder)
    with pytest.raises(Refusal, match=told) as caught:
        load_clip(folder)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_that_needs_another_library_says_so(copied):
    folder = copied("siglip")
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"not read")
    with pytest.raises(Refusal, match=r"no tokenizer\.json, and its vocabulary needs pip install sentencepiece"):
        load_clip(folder)


def test_a_missing_extra_is_named(tiny_clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Refusal, match=r"need the extra 'clip': pip install 'noisette\[clip\]'"):
        load_clip(tiny_clip())


# The hub ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../b", "owner/..", "", "o wner/name"])
def test_what_is_neither_a_folder_nor_a_name_of_the_hub_is_refused(name):
    if name == "../b":
        assert not os.path.exists(name)  # noqa: PTH110
    with pytest.raises(Refusal, match=r"no CLIP model .*: expected a folder, or owner/name of the Hugging Face hub"):
        load_clip(name or "no folder")


def test_a_hub_that_cannot_be_asked_is_said():
    with pytest.raises(NoisetteError, match="'owner/name' cannot be fetched from the hub") as caught:
        load_clip("owner/name")
    assert not isinstance(caught.value, Refusal)
    assert "\n" not in str(caught.value)


ASK = """
import sys
import torch
from noisette.base.errors import Refusal
from noisette.perception.clip import load_clip

clip = load_clip("owner/name")
print(clip.digest)
if "once" not in sys.argv:
    try:
        load_clip("owner/absent")
    except Refusal as error:
        print(error)
print("torchvision" in sys.modules)
"""


def test_a_model_of_the_hub_is_fetched_once_and_only_what_is_read(tiny_clip, tmp_path):
    shutil.copytree(tiny_clip(), tmp_path / "remote")
    for name in ("pytorch_model.bin", "open_clip_model.safetensors", "README.md"):
        (tmp_path / "remote" / name).write_bytes(b"not asked for")

    def ask(variables, *more):
        command = [sys.executable, "-c", ASK, *more]
        done = subprocess.run(command, env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with serving(ModelHub, tmp_path / "remote") as variables:
        lines = ask(variables)
    asked = {path.rpartition("/")[2] for path in ModelHub.asked if "/resolve/" in path}
    assert asked == {path.name for path in tiny_clip().iterdir()}
    digest = load_clip(tiny_clip()).digest
    assert lines == [digest, "no CLIP model 'owner/absent': found neither a folder nor a model of the hub", "False"]
    # Without a network the copy is found.
    assert ask({**variables, "HF_HUB_OFFLINE": "1"}, "once") == [digest, "False"]

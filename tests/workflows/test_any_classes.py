"""Data of no class, of one, of a thousand, of one image: the whole way from the check to the report."""

import json
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch
from PIL import Image

from noisette.base.errors import Refusal
from noisette.base.shapes import NO_CLASS
from noisette.cli import main
from noisette.cli.progress import plan_lines
from noisette.data.datasets import DATASETS
from noisette.data.images import ImageData, NoTestPart
from noisette.diffusion.objective import DiffusionConfig
from noisette.diffusion.sample import Snapshot
from noisette.models.unet import UNetConfig
from noisette.report.pictures import GAP
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.info import model_facts
from noisette.workflows.model import Model, load
from noisette.workflows.recipes import DataConfig, RunConfig
from noisette.workflows.report import write_report
from noisette.workflows.train import PREVIEW_IMAGES, Run, preview

SIDE = 8
CONFIG = RunConfig(
    DataConfig("made-up"),
    UNetConfig(widths=(4,), blocks=1, embedding=8),
    DiffusionConfig(),
    TrainingConfig(images=16, batch_size=8, validate_every=8, warmup_images=0),
    SamplingConfig(sampler="euler", steps=2, guidance_scale=2.0),
)

NONE: tuple[str, ...] = ()
THOUSAND = tuple(f"class {number}" for number in range(1000))
SETS = {
    "no class": (NONE, 12),
    "one class": (("nut",), 12),
    "a thousand classes": (THOUSAND, 2000),
    "a class of three": (("many", "three"), 23),
    "one image": (("nut",), 1),
    "two images": (("nut",), 2),
    "five images, no class": (NONE, 5),
}


def made_up(classes: tuple[str, ...], count: int) -> ImageData:
    images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(classes) if classes else np.full(count, NO_CLASS, np.int64)
    if classes == ("many", "three"):
        labels = (np.arange(count) >= count - 3).astype(np.int64)
    return ImageData("made-up", images, labels, classes, "made up")


@pytest.fixture
def as_data(monkeypatch):
    """Registers images as the data set "made-up"."""

    def register(data: ImageData) -> None:
        def load_part(data_dir, part):
            if part == "test":
                raise NoTestPart("made-up has no test part")
            return data

        monkeypatch.setitem(DATASETS._choices, "made-up", load_part)

    return register


@pytest.fixture
def finished(as_data, tmp_path):
    """Trains a tiny model of a data set; returns the run and what was said before."""

    def train(name: str) -> tuple[Run, list[str]]:
        as_data(made_up(*SETS[name]))
        run = Run(CONFIG, tmp_path / "run", device="cpu")
        said = plan_lines(run)
        for _ in run.events():
            pass
        return run, said

    return train


def strict_json(text: str):
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", SETS)
def test_the_whole_way(name, finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("noisette.report.page.save_figure", lambda figure, stem: "<svg></svg>")  # drawn elsewhere
    classes, count = SETS[name]
    run, said = finished(name)
    kinds = {0: "no class", 1: "one class"}.get(len(classes), f"{len(classes):,} classes")
    assert f" images of {kinds} to train on" in said[0]
    records = [strict_json(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    validations = [record for record in records if record["event"] == "validation"]
    held_out = 0 if run.held_out is None else len(run.held_out.position)
    assert [record["event"] for record in records].count("step") == 2
    assert len(validations) == (2 if held_out else 0)
    assert all(1 <= len(record["bucket_losses"]) <= min(8, held_out) for record in validations)

    assert main(["check", "made-up"]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) < 80
    assert ("no classes: a model of it draws unasked" in told) == (classes == NONE)

    assert main(["info", str(run.out)]) == 0
    assert len(capsys.readouterr().out) < 10_000

    asked = ["--count", "3"] if not classes else ["--labels", f"{classes[-1]},none,0"]
    film, pictures = tmp_path / "film.gif", tmp_path / "pictures"
    assert main(["sample", str(run.out), *asked, "--out", str(tmp_path / "three.png"), "--film", str(film)]) == 0
    with Image.open(film) as frames:
        assert frames.n_frames == 2
    assert main(["sample", str(run.out), *asked, "--out", str(tmp_path / "three.npz")]) == 0
    with np.load(tmp_path / "three.npz") as arrays:
        assert arrays["images"].shape == (3, SIDE, SIDE, 1)
        assert arrays["labels"].tolist() == ([NO_CLASS] * 3 if not classes else [len(classes) - 1, NO_CLASS, 0])
    assert main(["sample", str(run.out), *asked, "--out", str(pictures)]) == 0

    page = write_report(run.out, count=100, device="cpu").read_text(encoding="utf-8")
    assert page.count("<svg") >= 8
    words = unescape(page)
    assert f"{count:,} of {SIDE} × {SIDE} pixels" in words
    assert len(words) < 2_000_000
    for path in (run.out / "report").glob("*.png"):
        with Image.open(path) as picture:
            assert max(picture.size) < 2000


def test_a_class_of_three_images_is_warned_about_before_training(finished):
    _, said = finished("a class of three")
    assert "usable: classes with fewer than 10 training images: three (2)" in "\n".join(said)


def test_few_images_of_no_class_are_warned_about(finished):
    _, said = finished("five images, no class")
    assert "usable: fewer than 10 training images: 4" in "\n".join(said)


def test_many_classes_are_told_in_few_words(finished):
    run, said = finished("a thousand classes")
    assert "class 9 (1) and 990 more" in "\n".join(said)
    facts = dict(model_facts(load(run.out))["model " + str(run.out)])
    assert facts["classes"].endswith("and 960 more")


@pytest.mark.parametrize(("classes", "columns"), [(0, 10), (1, 10), (3, 6), (20, 20), (1000, 20)])
def test_previews_are_about_as_wide_as_high(tiny_model, classes, columns, monkeypatch):
    model = tiny_model(THOUSAND[:classes], (1, SIDE, SIDE))
    asked: list[int] = []

    def snapshots(self, labels, *how):
        asked.extend(labels)
        nothing = torch.zeros(len(labels), *self.shape)
        yield Snapshot(1, 1, 0.0, nothing, nothing, 1)

    monkeypatch.setattr(Model, "snapshots", snapshots)
    picture = preview(model.spec, model.network, torch.device("cpu"))
    rows = PREVIEW_IMAGES // columns
    assert picture.size == tuple(2 * (places * (SIDE + GAP) + GAP) for places in (columns, rows))
    wanted = [NO_CLASS if not classes else column % classes for column in range(columns)] * rows  # a column a class
    assert asked == wanted


def test_guidance_costs_an_unconditional_model_nothing(tiny_model):
    models = [Model("m", tiny_model(names, guidance_scale=3.0), torch.device("cpu")) for names in (NONE, ("nut",))]
    seen: list[list[int]] = []
    for model in models:
        rows: list[int] = []
        model.file.network.register_forward_hook(lambda net, given, out, rows=rows: rows.append(len(out)))
        model.sample([NO_CLASS])
        seen.append(rows)
    assert seen == [[1] * 4, [2] * 4]


def test_what_has_no_classes_cannot_be_told_apart_nor_asked_for_by_class(finished, tmp_path, capsys):
    run, _ = finished("no class")
    assert main(["perceive", "made-up", "--out", str(tmp_path / "c.safetensors")]) == 2
    assert "images of 0 classes" in capsys.readouterr().err
    assert main(["sample", str(run.out), "--per-class", "3", "--out", str(tmp_path / "x.png")]) == 2
    assert "a model without classes" in capsys.readouterr().err
    assert main(["sample", str(run.out), "--labels", "nut", "--out", str(tmp_path / "x.png")]) == 2
    assert "expected one of none" in capsys.readouterr().err


def test_images_of_one_colour_alone_teach_nothing(as_data, tmp_path):
    data = made_up(("nut",), 12)
    as_data(replace(data, images=np.full_like(data.images, 7)))
    with pytest.raises(Refusal, match="all of one and the same colour"):
        Run(CONFIG, tmp_path / "run", device="cpu")

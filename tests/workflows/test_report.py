"""The report of a run in any state: it never fails, tells what is missing in its place, and is whole or absent."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisette.base.errors import NoisetteError, Refusal
from noisette.data.datasets import DATASETS, load_data
from noisette.data.images import ImageData
from noisette.models.unet import UNetConfig
from noisette.report import page as page_module
from noisette.report.page import TITLES, Part
from noisette.report.theme import save_figure
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import SamplingConfig, save_model
from noisette.workflows import report as module
from noisette.workflows import report_prompts, report_samples, report_training
from noisette.workflows.recipes import DataConfig, RunConfig, read_run_config, to_toml
from noisette.workflows.report import write_report
from noisette.workflows.train import Run

MEASURING = ("measured", "confusion", "nearest")
DRAWING = ("samples", "film", "recognition", "prompts")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few samples are watched, none is measured, and charts are made but not drawn, unless a test says so."""

    def refuse(*given):
        raise Refusal("not measured in this test")

    monkeypatch.setattr(report_samples, "WATCHED", 20)
    monkeypatch.setattr(report_samples, "ROWS", 2)
    monkeypatch.setattr(report_prompts, "EACH", 2)
    monkeypatch.setattr(module, "evaluate", refuse)
    monkeypatch.setattr(page_module, "save_figure", lambda figure, stem: "<svg></svg>")


@pytest.fixture
def charts_are_drawn(quick, monkeypatch):
    monkeypatch.setattr(page_module, "save_figure", save_figure)


@pytest.fixture
def only_measured(quick, monkeypatch):
    """All other sections are empty."""
    for home, names in (
        (report_training, "data noise schedule network losses progress"),
        (report_samples, "samples denoising recognition"),
        (report_prompts, "prompts"),
    ):
        for name in names.split():
            monkeypatch.setattr(home, name, lambda *given: Part())


@pytest.fixture
def folder(report_run, tmp_path):
    """A copy of the tiny run."""
    return shutil.copytree(report_run, tmp_path / "run")


def missing(page: Path) -> dict[str, list[str]]:
    """What each section of a page says that it lacks; sections that lack nothing are left out."""
    text = page.read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([^"]+)".*?</section>', text, re.DOTALL)
    assert sections == list(TITLES)
    told = {}
    for section in re.findall(r"<section .*?</section>", text, re.DOTALL):
        lacks = re.findall(r'<p class="missing">.*?</strong> (.*?)</p>', section, re.DOTALL)
        if lacks:
            told[re.search(r'id="([^"]+)"', section)[1]] = [unescape(reason) for reason in lacks]
    return told


def words(page: Path) -> str:
    """What a page says, as one line."""
    text = re.sub(r"<(svg|style).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_a_finished_run_lacks_nothing(folder, evaluated):
    evaluated(folder)
    page = write_report(folder, device="cpu")
    assert page == folder / "report.html"
    assert missing(page) == {}
    said = words(page)
    for told in (
        *("finished: horizon reached", "512 images", "4,000 and 1,000 images", "sound"),
        *("label accuracy 99.4 % real images: 99.6 %", "distance, in floors 2.00 real images: 1"),
        *("coverage 91.2 % real images: 95.1 %", "parameters 3,104"),
        *(
            "0.471",
            "0.461 to 0.481",
            "0.235 ± 0.0040",
            "1.96 to 2.04",
            "−0.140",
            "7 of 1,000 are read as another class",
        ),
        *("most often 0 as 1 (7)", "99 % of unseen real images are farther than 0.625"),
        *("noisette train --the-way it-was", load_data("mnist-5k").digest),
    ):
        assert told in said, told


def test_its_figures_lie_beside_it_as_png_and_svg(charts_are_drawn, folder, evaluated, tmp_path):
    evaluated(folder)
    before = {path.name for path in folder.iterdir()}
    page = write_report(folder, tmp_path / "pages" / "mine.html", device="cpu")
    names = {path.name for path in (tmp_path / "pages" / "mine").iterdir()}
    charts = (
        *("classes", "forward", "noise-levels", "signal-to-noise", "image-share", "training-levels", "network"),
        *("losses", "loss-by-level", "learning-rate", "gradient", "recognition", "recognition-by-class", "confusion"),
        *("prompts-best-and-worst", "prompts-scores", "prompts-confusion"),
    )
    grids = ("samples", "real", "film", "film-strip", "nearest", "progress-000000256", "progress-000000512")
    assert names == {f"{chart}{suffix}" for chart in charts for suffix in (".png", ".svg")} | {
        *(f"{grid}.png" for grid in grids),
        "film.webp",
    }
    assert page.stat().st_size < 6e6
    assert {path.name for path in folder.iterdir()} == before  # elsewhere means elsewhere


def test_before_the_first_step(folder):
    for path in folder.iterdir():
        if path.name != "config.toml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = write_report(folder, device="cpu")
    lacks = missing(page)
    assert set(lacks) == {"losses", "progress", *DRAWING, *MEASURING}
    assert lacks["losses"] == ["No step of training has been logged yet."]
    assert all(lacks[section] == ["This run has not saved any weights yet."] for section in (*DRAWING, *MEASURING))
    assert "not trained yet" in words(page)
    assert "3,104" in words(page)  # what the network will be is known


def test_interrupted_before_a_validation(folder, evaluated):
    (folder / "best.safetensors").unlink()
    shutil.rmtree(folder / "samples")
    log = folder / "metrics.jsonl"
    steps = [line for line in log.read_text().splitlines() if '"step"' in line][:3]
    log.write_text("\n".join(steps) + '\n{"event": "st')  # and cut in the middle of a line
    page = write_report(folder, device="cpu")
    lacks = missing(page)
    assert set(lacks) == {"losses", "progress", *MEASURING}
    assert "The run has not validated: none has been due." in lacks["losses"][0]
    said = words(page)
    assert "not finished: 192 images so far" in said
    assert "the same command goes on with it" in said
    assert "drawn with the weights saved last" in said


def test_a_run_that_holds_nothing_out_says_so(folder):
    config = read_run_config(folder / "config.toml")
    training = replace(config.training, validation_images=0)
    (folder / "config.toml").write_text(to_toml(replace(config, training=training)))
    log = folder / "metrics.jsonl"
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines() if '"validation"' not in line))
    assert "it holds no images out" in missing(write_report(folder, device="cpu"))["losses"][0]


def test_damage_is_told_where_it_is(folder):
    (folder / "best.safetensors").write_bytes(b"x" * 100)
    (folder / "metrics.jsonl").write_text("garbage\n" * 3)
    (folder / "run.json").write_text("[")
    (folder / "evaluation.json").write_text('{"format": "noisette-evaluation-1"}')
    (folder / "samples" / "000000256.png").write_bytes(b"no picture")
    lacks = missing(write_report(folder, device="cpu"))
    assert set(lacks) == {"losses", "timings", "progress", *DRAWING, *MEASURING}
    assert "is not a readable model" in lacks["film"][0]
    assert "line 1 is not a record of a run: 'garbage'" in lacks["losses"][0]
    assert lacks["progress"] == [f"{folder / 'samples' / '000000256.png'} is not a readable picture."]


def test_other_data_than_it_was_trained_on_are_not_shown_for_it(folder, evaluated):
    evaluated(folder)
    settled = json.loads((folder / "run.json").read_text()) | {"data_digest": "0" * 64}
    (folder / "run.json").write_text(json.dumps(settled))
    lacks = missing(write_report(folder, device="cpu"))
    assert set(lacks) == {"data", "noise", "samples", "prompts", *MEASURING}
    assert "expected the one this run was trained on, 000000000000" in lacks["data"][0]


def test_data_that_are_not_here_leave_the_rest(folder, monkeypatch):
    asked = []

    def gone(data_dir, part):
        asked.append(part)
        raise NoisetteError("no mirror served train-images")

    monkeypatch.setitem(DATASETS._choices, "mnist-5k", gone)
    lacks = missing(write_report(folder, device="cpu"))
    assert set(lacks) == {"data", "noise", "samples", "prompts", *MEASURING}
    assert lacks["samples"] == ["Real images to compare with: no mirror served train-images."]
    assert asked == ["train"]  # and not again for each section: a mirror may take its time to fail


@pytest.fixture
def odd_run(tmp_path, monkeypatch):
    """A run on small colour images, whose classes have names that mean something in HTML, SVG or TeX."""
    classes = ("<script>alert(1)</script>", "$\\frac$", "--><b>&amp;")
    images = np.random.default_rng(0).integers(0, 256, (90, 9, 11, 3), dtype=np.uint8)
    made_up = ImageData("odd", images, np.arange(90) % 3, classes, "made <i>up</i>")
    monkeypatch.setitem(DATASETS._choices, "odd", lambda data_dir, part: made_up)
    training = TrainingConfig(images=64, batch_size=32, validate_every=32, validation_images=9)
    network = UNetConfig(widths=(4,), blocks=1, embedding=8)
    run = RunConfig(DataConfig("odd"), network, training=training, sampling=SamplingConfig("euler", steps=2))
    for _ in Run(run, tmp_path / "odd", device="cpu", command="noisette <b>train</b>").events():
        pass
    return tmp_path / "odd"


def test_names_are_shown_as_they_are(charts_are_drawn, odd_run):
    page = write_report(odd_run, device="cpu")
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    said = words(page)
    assert "Columns: <script>alert(1)</script>, $\\frac$ and --><b>&amp;." in said
    assert "noisette <b>train</b>" in said
    assert "made <i>up</i>" in said
    lacks = missing(page)
    assert set(lacks) == {"recognition", "prompts", *MEASURING}
    assert "`noisette perceive` trains it" in lacks["recognition"][0]


def test_a_model_without_classes_has_its_page(folder, tiny_model, monkeypatch):
    save_model(folder / "best.safetensors", tiny_model(classes=(), size=(1, 28, 28)))
    lacks = missing(write_report(folder, device="cpu"))
    assert set(lacks) == {"recognition", "prompts", *MEASURING}
    assert "a model without classes" in lacks["recognition"][0].lower()


# --- what is measured


def test_a_record_of_these_weights_is_used(only_measured, folder, evaluated):
    evaluated(folder, count=2000)
    assert "2,000 samples, seed 0" in words(write_report(folder, device="cpu"))


@pytest.mark.parametrize("fault", ["weights", "count", "classifier", "data", "format", "not a record"])
def test_a_record_of_anything_else_is_not(only_measured, folder, evaluated, fault):
    record = evaluated(folder, count=100 if fault == "count" else 1000)
    if fault == "weights":
        record["source"]["model_digest"] = "0" * 64
    elif fault == "classifier":
        record["classifier"]["digest"] = "0" * 64
    elif fault == "data":
        record["data"]["name"] = "mnist"
    elif fault == "format":
        record["format"] = "noisette-evaluation-0"
    elif fault == "not a record":
        record["source"] = ["something else"]
    (folder / "evaluation.json").write_text(json.dumps(record))
    page = write_report(folder, device="cpu")
    assert missing(page) == {section: ["Not measured in this test."] for section in MEASURING}
    assert "label accuracy – not measured" in words(page)


def test_without_a_record_one_is_made_and_kept_beside_the_page(only_measured, folder, evaluated, monkeypatch):
    record = evaluated(folder)
    (folder / "evaluation.json").unlink()
    asked = []
    monkeypatch.setattr(module, "evaluate", lambda model, request, data_dir: asked.append(request) or record)
    for _ in range(2):
        assert missing(write_report(folder, device="cpu", count=1000)) == {}
    (request,) = asked  # once: the second page finds it
    assert (request.data, request.count, request.classifier) == ("mnist-5k", 1000, "mnist")
    assert (request.against, request.validation_fraction, request.split_seed) == (None, 0.2, 0)
    assert json.loads((folder / "report" / "evaluation.json").read_text()) == record
    assert not (folder / "evaluation.json").exists()


def test_the_nearest_pairs_are_the_records(only_measured, folder, evaluated):
    evaluated(folder)
    write_report(folder, device="cpu")
    with Image.open(folder / "report" / "nearest.png") as picture:
        sheet = np.asarray(picture)
    training = load_data("mnist-5k").images[[7, 4999], :, :, 0]
    zoom = (sheet.shape[1]) // (2 * 30 + 2)
    small = sheet[::zoom, ::zoom]
    assert np.array_equal(small[32:60, 2:30], training[0])
    assert np.array_equal(small[32:60, 32:60], training[1])


# --- whole or absent, refused early


def test_the_page_is_written_whole_or_not_at_all(only_measured, folder, evaluated, monkeypatch):
    evaluated(folder)
    (folder / "report.html").write_text("the old page")

    def stumble(page):
        raise NoisetteError("stumbled")

    monkeypatch.setattr(module, "render", stumble)
    with pytest.raises(NoisetteError, match="stumbled"):
        write_report(folder, device="cpu")
    assert (folder / "report.html").read_text() == "the old page"
    assert not list(folder.glob(".report*"))


def test_what_is_no_run_is_refused_before_anything_is_written(folder, tmp_path):
    before = sorted(folder.rglob("*"))
    for given, message in (
        ((tmp_path / "nothing",), "no folder"),
        ((tmp_path,), "no run at"),
        ((folder, tmp_path / "page.pdf"), "expected a .html file"),
        ((folder, None, 99), "count 99: expected at least 100"),
        ((folder, folder / "config.toml" / "page.html"), "cannot write"),
    ):
        with pytest.raises(Refusal, match=message):
            write_report(*given)
    (folder / "config.toml").write_text("[dataset]\ndaat = 1")
    with pytest.raises(Refusal, match=r"config\.toml.*daat"):
        write_report(folder)
    assert sorted(folder.rglob("*")) == before

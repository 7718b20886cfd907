"""A folder of one's own pictures, from the check to samples asked for by class name."""

import shutil

import numpy as np
import pytest
from PIL import Image

from noisette.cli import main
from noisette.data.form import Form
from noisette.weights.model_file import load_model
from noisette.workflows.recipes import read_run_config
from noisette.workflows.sources import form_of, open_source

CLASSES = ("..", "a boot", "tench, Tinca \N{FRACTION SLASH}\u00fc " + "very " * 30 + "long")
"""The first is no folder's name: it comes by a table."""
SIZES = ((20, 20), (24, 31), (40, 22), (12, 12), (33, 33))
FORM = ("--image-size", "16", "--fit", "crop")
TINY = (
    *("--recipe", "demo", "--device", "cpu", "--precision", "float32", "--widths", "4", "--blocks", "1"),
    *("--embedding", "8", "--batch-size", "8", "--validate-every", "16", "--images", "32", "--steps", "2"),
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with 30 colour images of five sizes and three classes: a folder, and a table of the same."""
    monkeypatch.chdir(tmp_path)
    lines = ["path,label"]
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "photos" / ("dots" if name == ".." else name)
        folder.mkdir(parents=True)
        for number in range(10):
            height, width = SIZES[number % 5]
            pixels = np.random.default_rng(100 * label + number).integers(0, 80, (height, width, 3), dtype=np.uint8)
            pixels[..., label] += np.uint8(150)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            lines.append(f'"photos/{folder.name}/{number}.png","{name}"')
    (tmp_path / "photos.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_a_folder_of_pictures_becomes_samples_by_class_name(place, capsys):
    assert main(["check", "photos"]) == 2
    said = capsys.readouterr()
    assert "photos: images of 5 sizes, 20 x 20 (6)" in said.err
    assert said.err.count("\n") == 1

    (place / "photos/a boot/broken.png").write_text("no picture")
    assert main(["check", "photos", *FORM]) == 2
    assert "photos/a boot/broken.png is no picture" in capsys.readouterr().err
    assert main(["check", "photos", *FORM, "--unreadable", "skip"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "30 images of 5 sizes, 12 x 12 to 33 x 33, scaled to 16 x 16 and cropped to their centre" in said
    assert "warning: 1 of 31 pictures cannot be read and are skipped: photos/a boot/broken.png" in said

    command = ["train", "--data", "photos", *FORM, "--unreadable", "skip", *TINY, "--out", "run"]
    assert main(command) == 0
    plan = capsys.readouterr().out.splitlines()
    assert "usable: 1 of 31 pictures cannot be read and are skipped" in plan[0]
    assert plan[1] == "         30 images of 5 sizes, 12 x 12 to 33 x 33, scaled to 16 x 16 and cropped to their centre"
    assert plan[2] == "         6 of 30 are enlarged, which adds no detail"
    form = Form((16,), None, "crop", "skip")
    assert read_run_config(place / "run/config.toml").dataset.form == form
    assert form_of(open_source("run")) == form
    spec = load_model(place / "run/best.safetensors").spec
    assert (spec.height, spec.width, spec.channels) == (16, 16, 3)
    assert spec.classes == ("a boot", "dots", CLASSES[2])

    long = CLASSES[2].replace(",", "\\,")
    assert main(["sample", "run", "--labels", f"{long},a boot,1", "--steps", "2", "--out", "drawn"]) == 0
    first, second, third = sorted(file.name for file in (place / "drawn").glob("*.png"))
    assert first.startswith("000000-tench__Tinca__ü_very")
    assert len(first.encode()) < 100
    assert (second, third) == ("000001-a_boot.png", "000002-dots.png")

    assert main([*command[:-5], "48", "--steps", "2", "--out", "run"]) == 0  # the same data go on
    assert "from image 32 on" in capsys.readouterr().out
    shutil.rmtree(place / "photos")
    assert main(command) == 2
    assert "unknown data set 'photos'" in capsys.readouterr().err


def test_a_class_name_never_leads_out_of_the_folder(place):
    assert main(["train", "--data", "photos.csv", *FORM, *TINY, "--out", "run"]) == 0
    assert load_model(place / "run/best.safetensors").spec.classes == CLASSES
    before = set(place.iterdir())
    assert main(["sample", "run", "--labels", "..", "--steps", "2", "--out", "drawn"]) == 0
    assert set(place.iterdir()) - before == {place / "drawn"}
    assert "000000-__.png" in {file.name for file in (place / "drawn").iterdir()}


def test_perceive_evaluate_and_report_read_the_data_in_the_same_form(place, capsys):
    assert main(["train", "--data", "photos.csv", *FORM, *TINY, "--out", "run"]) == 0
    few = ("--images", "60", "--batch-size", "10", "--features", "64")
    assert main(["perceive", "photos.csv", *FORM, *few, "--device", "cpu", "--out", "eye.safetensors"]) == 0
    capsys.readouterr()
    evaluate = ("--data", "photos.csv", "--against", "validation", "--classifier", "eye.safetensors", "--count", "102")
    assert main(["evaluate", "run", *evaluate, "--steps", "1"]) == 2
    assert "leave 12 samples: expected at least 100" in capsys.readouterr().err  # too few, but not of another size
    assert main(["report", "run", "--device", "cpu"]) == 0
    page = (place / "run/report.html").read_text(encoding="utf-8")
    assert "30 images of 5 sizes, 12 x 12 to 33 x 33, scaled to 16 x 16 and cropped to their centre" in page

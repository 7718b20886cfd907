import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from noisette.base.errors import Refusal
from noisette.data.checks import check
from noisette.data.datasets import load_data
from noisette.data.images import ImageData
from noisette.data.split import split
from noisette.workflows.check import check_data, show


def printed(report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(report, console)
    return console.file.getvalue()


def test_it_checks_the_split_that_training_would_use():
    data = load_data("mnist-5k")
    assert check_data("mnist-5k", None, 0.1, seed=7) == check(data, *split(data.labels, 0.1, 7))
    with pytest.raises(Refusal, match="unknown data set"):
        check_data("mnits-5k")


def test_a_sound_report_is_shown_whole():
    report = check_data("mnist-5k")
    text = printed(report)
    assert report.digest in text
    assert "[5000, 28, 28, 1]" in text
    assert "CC BY-SA 3.0" in text
    assert text.count(" 400 ") == text.count(" 100 ") == 10
    assert "4,000" in text
    assert text.rstrip().endswith("verdict: sound")
    narrow = printed(report, width=60)
    assert report.digest in "".join(narrow.replace("│", "").split())  # folded, not cut


def test_warnings_and_problems_are_shown():
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    data = ImageData("mine", images, np.arange(60) % 3, ("[red]", "b", "c"), "made up")
    images[0] = 0
    text = printed(check(data, *split(data.labels, 0.2)))
    assert "warning: images of one colour: 1, of them black: 1" in text
    assert text.rstrip().endswith("verdict: usable, warnings: 1")
    assert "[red]" in text  # a name is never taken for a colour
    text = printed(check(replace(data, images=images[..., 0]), *split(data.labels, 0.2)))
    assert "problem: images have shape [60, 4, 4]" in text
    assert text.rstrip().endswith("verdict: refused, problems: 1")


def test_of_very_many_classes_the_first_are_shown():
    names = tuple(f"class{number}" for number in range(100))
    images = np.random.default_rng(0).integers(0, 256, (1500, 4, 4, 1), dtype=np.uint8)
    text = printed(check(ImageData("many", images, np.arange(1500) % 100, names, ""), *split(np.arange(1500) % 100)))
    assert "class39" in text
    assert "class40" not in text
    assert "60 more" in text

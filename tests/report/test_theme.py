"""A figure becomes files and an element of the page: in the page's colours, its ids its own, its texts as texts."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from noisette.report.figures import class_counts
from noisette.report.theme import BACKGROUND, COLOURS, inline, plain, save_figure, style


def drawn() -> Figure:
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.plot([1, 2], [3, 4], "o-", color=COLOURS["blue"][0])
        axes.set_title("a < b & c")
    return figure


def test_a_figure_is_written_as_png_and_svg(tmp_path):
    element = save_figure(drawn(), tmp_path / "deep" / "name")
    with Image.open(tmp_path / "deep" / "name.png") as picture:
        assert picture.size == (600, 400)
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    file = (tmp_path / "deep" / "name.svg").read_text(encoding="utf-8")
    assert COLOURS["blue"][0] in file  # on its own it needs no page
    assert element.startswith("<svg")
    ElementTree.fromstring(element)


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("one", "two"):
        save_figure(drawn(), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_on_the_page_its_colours_are_the_pages(tmp_path):
    element = save_figure(drawn(), tmp_path / "name")
    assert "var(--blue)" in element
    assert "var(--ink)" in element
    assert not [light for light, _ in COLOURS.values() if f": {light}" in element]
    assert f'id="name-{BACKGROUND}"' in element  # which the page's style hides


def test_on_the_page_its_ids_are_its_own(tmp_path):
    one, two = (save_figure(drawn(), tmp_path / name) for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', element)) for element in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for element, own in zip((one, two), ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"', element)) | set(re.findall(r"url\(#([^)]+)\)", element))
        assert used
        assert used <= own


def test_a_texts_own_number_sign_is_left_alone():
    blue = COLOURS["blue"][0]
    assert inline(f"<svg><text>class {blue}</text></svg>", "name") == f"<svg><text>class {blue}</text></svg>"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$\\frac$", "$x$", "--><b>", "]]>", "字", "a\nb", "&amp;", "x" * 500]
)
def test_a_class_may_be_called_anything(tmp_path, name):
    element = save_figure(class_counts((name, "other"), (3, 4), (1, 1)), tmp_path / "classes")
    shown = " ".join(name.split())
    shown = shown if len(shown) <= 16 else f"{shown[:15]}…"
    texts = [" ".join(text.itertext()).strip() for text in ElementTree.fromstring(element).iter() if "text" in text.tag]
    assert shown in texts
    assert "<script" not in element


def test_dollars_are_no_formula():
    assert plain("5 $ and 6 $") == r"5 \$ and 6 \$"

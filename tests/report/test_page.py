"""The page is one file that needs nothing else, and shows every text as text."""

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from noisette.report.page import TITLES, KeyNumber, Page, Part, Picture, Row, Table, film, pixels, render
from noisette.report.theme import COLOURS

NASTY = '<script>alert("1")</script>'


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page_of(part=Part(), **given) -> Page:  # noqa: B008 (frozen)
    parts = dict.fromkeys(TITLES, part)
    return Page(**{"title": "t", "summary": "s", "numbers": (), "parts": parts, "made": "m"} | given)


def test_every_section_is_there_and_every_link_leads_to_one():
    page = Elements(render(page_of()))
    anchors = [attributes["id"] for attributes in page.of("section")]
    assert anchors == list(TITLES)
    assert [attributes["href"] for attributes in page.of("a")] == [f"#{anchor}" for anchor in TITLES]
    assert set(TITLES.values()) <= {text.strip() for text in page.texts}


def test_the_text_is_whole_html():
    text = render(page_of())
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "place",
    [
        "title",
        "summary",
        "made",
        "number",
        "fact",
        "cell",
        "note",
        "column",
        "command",
        "text",
        "missing",
        "caption",
    ],
)
def test_every_text_is_shown_as_text(place):
    part, given = Part(), {}
    if place in ("title", "summary", "made"):
        given = {place: NASTY}
    elif place == "number":
        given = {"numbers": (KeyNumber(NASTY, NASTY, NASTY),)}
    elif place == "caption":
        part = Part([Picture("p", NASTY, NASTY, uri="data:,")])
    else:
        part = {
            "fact": Part(facts=((NASTY, NASTY),)),
            "cell": Part(table=Table(("a", "b"), (Row(NASTY, "", (NASTY,)),))),
            "note": Part(table=Table(("a", "b"), (Row("a", NASTY, ("1",)),))),
            "column": Part(table=Table((NASTY, NASTY), (Row("a", "", ("1",)),))),
            "command": Part(commands=(NASTY,)),
            "text": Part(texts={NASTY: NASTY}),
            "missing": Part(missing=(NASTY,)),
        }[place]
    text = render(page_of(part, **given))
    page = Elements(text)
    assert not page.of("script")
    assert NASTY in "".join(page.texts)
    assert NASTY not in text


def test_nothing_is_fetched(tmp_path):
    grey = Image.new("L", (4, 4))
    part = Part([pixels(grey, tmp_path / "a", "", ""), film([grey, Image.new("L", (4, 4), 9)], tmp_path / "b", "", "")])
    text = render(page_of(part))
    page = Elements(text)
    for _, attributes in page.found:
        for name in ("src", "srcset", "href", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not [tag for tag, _ in page.found if tag in ("script", "iframe", "object", "embed", "form")]
    assert (tmp_path / "a.png").exists()
    assert (tmp_path / "b.webp").exists()


def test_a_film_has_a_still_for_who_wants_no_motion(tmp_path):
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 200)]
    found = film(frames, tmp_path / "film", "", "")
    with Image.open(tmp_path / "film.png") as still:
        assert still.getpixel((0, 0)) == 200
    (source,) = Elements(render(page_of(parts={anchor: Part() for anchor in TITLES} | {"film": Part([found])}))).of(
        "source"
    )
    assert "prefers-reduced-motion" in source["media"]
    assert source["srcset"] == found.still


def test_both_lights_have_every_colour():
    text = render(page_of())
    for name, lights in COLOURS.items():
        for light in lights:
            assert f"--{name}: {light};" in text
    assert "screen and (prefers-color-scheme: dark)" in text  # paper is always light


def test_every_picture_says_what_it_shows():
    page = Elements(
        render(page_of(Part([Picture("p", "c", "a digit", uri="data:,"), Picture("q", "", "b", svg="<svg/>")])))
    )
    assert {attributes["alt"] for attributes in page.of("img")} == {"a digit"}
    assert "b" in {attributes.get("aria-label") for attributes in page.of("div")}


def test_what_is_missing_is_told_in_its_place():
    parts = {anchor: Part() for anchor in TITLES} | {"film": Part(missing=("No weights.",))}
    text = render(page_of(parts=parts))
    film_section = text[text.index('<section id="film"') : text.index('<section id="recognition"')]
    assert "No weights." in film_section
    assert text.count('class="missing"') == 1

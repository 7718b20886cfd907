"""The page of a report: what it holds, and one HTML file of it that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from PIL import Image

from noisette.report.pictures import save_film, save_picture
from noisette.report.theme import COLOURS, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "trained": "What was trained",
    "data": "The data and their check",
    "noise": "Noise: an image dissolving",
    "schedule": "The schedule",
    "network": "The network",
    "losses": "Learning",
    "progress": "The samples while it learned",
    "samples": "The samples",
    "film": "From noise to image",
    "recognition": "When it can be recognised",
    "measured": "How good it is, in numbers",
    "confusion": "What is read as what",
    "prompts": "What a CLIP model says",
    "nearest": "Is it learned by heart?",
    "timings": "Timings",
    "reproduce": "How to make it again",
}
"""The sections by their anchors, in the order of the page. page.html holds the explanation of each."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page. name: of its files, without suffix. alt: what it shows, for who cannot see it.

    It is either a drawing (`svg`, an element) or pixels (`uri`, of `width` x `height`). still: pixels that stand for a
    film where nothing shall move.
    """

    name: str
    caption: str
    alt: str
    svg: str = ""
    uri: str = ""
    still: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Row:
    """A line of a table: its name, a word of explanation, the other cells."""

    name: str
    note: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of texts; the cells are numbers."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Part:
    """What a section shows. missing: what it cannot show and why, a sentence each."""

    pictures: Sequence[Picture] = ()
    facts: Sequence[tuple[str, str]] = ()
    table: Table | None = None
    commands: Sequence[str] = ()
    texts: Mapping[str, str] | None = None
    """Long texts by their titles, folded away."""
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class KeyNumber:
    """A number of the header, and what to hold it against."""

    what: str
    value: str
    note: str


@dataclass(frozen=True)
class Page:
    """A whole page. summary: a sentence. parts: by the anchors of TITLES. made: when and with what."""

    title: str
    summary: str
    numbers: Sequence[KeyNumber]
    parts: Mapping[str, Part]
    made: str


def render(page: Page) -> str:
    """The HTML of a page: one file, with its pictures and its style. Whatever a text holds, it is shown as text."""
    template = resources.files("noisette.report") / "page.html"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template.read_text(encoding="utf-8"))
    return text.render(page=page, titles=TITLES, colours=COLOURS).lstrip()


# Pictures, each written beside the page too ------------------------------------------------------------------------


def chart(figure: "Figure", stem: Path, caption: str, alt: str) -> Picture:
    """A figure, written as `stem`.png and `stem`.svg."""
    return Picture(stem.name, caption, alt, svg=save_figure(figure, stem))


def pixels(image: Image.Image, stem: Path, caption: str, alt: str) -> Picture:
    """An image, written as `stem`.png."""
    path = stem.with_suffix(".png")
    save_picture(image, path)
    return Picture(stem.name, caption, alt, uri=_uri(path), width=image.width, height=image.height)


def film(frames: Sequence[Image.Image], stem: Path, caption: str, alt: str) -> Picture:
    """An animation, written as `stem`.webp, and its last frame as `stem`.png."""
    last = pixels(frames[-1], stem, caption, alt)
    path = stem.with_suffix(".webp")
    save_film(frames, path)
    return Picture(stem.name, caption, alt, uri=_uri(path), still=last.uri, width=last.width, height=last.height)


def _uri(path: Path) -> str:
    """A file as an address that holds all of it."""
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"

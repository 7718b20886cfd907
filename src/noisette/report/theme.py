"""The colours of the page, and a figure as files and as SVG that follows the page from light to dark."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisette.base.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "ink": ("#1c2127", "#e6e8eb"),
    "muted": ("#5f6978", "#a3adba"),
    "line": ("#dfe3e9", "#343c47"),
    "paper": ("#ffffff", "#15181d"),
    "panel": ("#f5f6f8", "#1d2127"),
    "blue": ("#2b6cb0", "#6cabf0"),
    "orange": ("#c2601a", "#f0a05c"),
    "green": ("#2a7f55", "#62c490"),
    "red": ("#c43a3a", "#f4807f"),
    # From little noise to much: told apart in both lights by hue, and in grey by their order.
    "level-0": ("#9a7b00", "#e8cf5a"),
    "level-1": ("#b8640e", "#f2b25c"),
    "level-2": ("#c64a2e", "#f68f66"),
    "level-3": ("#c23a62", "#f5789b"),
    "level-4": ("#a43a94", "#e07fd4"),
    "level-5": ("#7546b8", "#b68ef2"),
    "level-6": ("#4457bd", "#8fa3fa"),
    "level-7": ("#2a6f97", "#6fbfe6"),
}
"""Each colour by name, on light and on dark ground."""

INK, MUTED, LINE, PAPER, PANEL, BLUE, ORANGE, GREEN, RED, *LEVELS = (light for light, dark in COLOURS.values())


@contextmanager
def style() -> Iterator[None]:
    """Within, matplotlib draws as the page is set: quiet axes, the page's ink, room for a phone."""
    import matplotlib as mpl

    settings: Any = {
        "axes.axisbelow": True,
        "axes.edgecolor": LINE,
        "axes.grid": True,
        "axes.labelcolor": MUTED,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "figure.dpi": 72,
        "figure.facecolor": PAPER,
        "axes.facecolor": "none",
        "font.size": 10,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "svg.fonttype": "none",  # text stays text, in the fonts of the reader
        "svg.hashsalt": "noisette",  # the same figure is the same file
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a class may be called anything
        yield


def save_figure(figure: "Figure", stem: Path) -> str:
    """Write `stem`.png and `stem`.svg, and return the SVG as an element of a page: see `inline`."""
    figure.patch.set_gid(BACKGROUND)
    figure.set_dpi(DOTS)  # at few dots to an inch letters are narrower, and the layout leaves them too little room
    with style():
        figure.draw_without_rendering()  # lays it out; again for each file would take as long as all the rest
        figure.set_layout_engine("none")
        paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
        for path in paths:
            with whole_file(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], dpi=DOTS, metadata=_NOTHING[path.suffix])
    return inline(paths[-1].read_text(encoding="utf-8"), stem.name)


def save_figures(figures: Mapping[str, "Figure | None"], folder: Path) -> list[Path]:
    """Write the figures that there are, each by its name as PNG and SVG, into a folder; returns the PNGs."""
    there = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in there.items():
        save_figure(figure, folder / name)
    return [folder / f"{name}.png" for name in there]


DOTS = 200
"""An inch, of the PNGs."""
BACKGROUND = "background"
"""Part of every figure's file; a page hides it, so that its own ground shows."""
_NOTHING: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
}
"""No word of who wrote a file and when, so that the same figure is the same file."""


def inline(svg: str, name: str) -> str:
    """A figure's SVG as an element of the page: its colours are the page's variables, and its ids its own."""
    svg = svg[svg.index("<svg") :]
    for colour, (light, _) in COLOURS.items():
        svg = svg.replace(f": {light}", f": var(--{colour})")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace("url(#", f"url(#{name}-")


def plain(text: str, most: int = 16) -> str:
    """A name as matplotlib shall write it: on one line, not too long, its dollars no formula."""
    text = " ".join(text.split())
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("$", r"\$")

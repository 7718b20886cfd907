"""The U-Net's parts with their sizes and parameters, and the drawing of them."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from noisette.models.unet import UNet
from noisette.report.theme import BLUE, INK, MUTED, ORANGE, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Part:
    """A part of the network: the image that leaves it, [channels, height, width], and how many parameters it has."""

    what: str
    channels: int
    height: int
    width: int
    parameters: int


@dataclass(frozen=True)
class Anatomy:
    """A U-Net's parts. `down`, `up`, `halve` and `double` go from the widest level to the one above the bottleneck."""

    stem: Part
    down: tuple[Part, ...]
    halve: tuple[Part, ...]
    bottleneck: Part
    double: tuple[Part, ...]
    up: tuple[Part, ...]
    output: Part
    embedding: Part
    """Has no size: numbers, told to every block."""

    def parts(self) -> list[Part]:
        """All of them; their parameters are the network's."""
        levels = zip(self.down, self.halve, self.double, self.up, strict=True)
        return [self.stem, *(part for level in levels for part in level), self.bottleneck, self.output, self.embedding]


def anatomy(network: UNet, height: int, width: int) -> Anatomy:
    """The parts of a network and the images that leave them, for images of height x width padded to what the levels
    divide."""
    config = network.config
    factors, widths = config.factors(), config.widths
    padded = [math.ceil(side / factors[-1]) * factors[-1] for side in (height, width)]

    def part(what: str, level: int, channels: int, *modules: nn.Module) -> Part:
        tall, wide = (side // factors[level] for side in padded)
        return Part(what, channels, tall, wide, sum(p.numel() for module in modules for p in module.parameters()))

    def blocks(level: int) -> str:
        attention = ", attention" if factors[level] in config.attention_at else ""
        return f"{config.blocks} block{'s' if config.blocks > 1 else ''}{attention}"

    above, last = range(len(widths) - 1), len(widths) - 1
    return Anatomy(
        stem=part("3 × 3 convolution", 0, widths[0], network.stem),
        down=tuple(part(blocks(i), i, widths[i], network.down_stages[i]) for i in above),
        halve=tuple(part("2 × 2 pixels to channels", i + 1, widths[i + 1], network.downs[i]) for i in above),
        bottleneck=part(blocks(last), last, widths[last], network.bottleneck),
        double=tuple(part("transposed convolution", i, widths[i], network.ups[i]) for i in above),
        up=tuple(part(blocks(i), i, widths[i], network.up_stages[i]) for i in above),
        output=part("3 × 3 convolution", 0, network.channels * config.patch**2, network.out_norm, network.output),
        embedding=Part(
            "noise level and class",
            config.embedding,
            0,
            0,
            sum(p.numel() for module in (network.embed_level, network.embed_class) for p in module.parameters()),
        ),
    )


# The drawing: x from 0 to 100, y downwards in the same unit -------------------------------------------------------

INCHES = 4.4  # across: the width of a phone
LEFT, RIGHT, WIDE = 22.0, 78.0, 43.0  # middles of the two columns, and how wide a box is
TALL, FLAT, GAP = 14.0, 10.0, 9.0  # heights of boxes of three and two lines, and of the arrows between


def draw_unet(network: UNet, height: int, width: int) -> "Figure":
    """The network as an image passes it: down on the left, up on the right, skips between; a box
    stands out the more parameters it has."""
    from matplotlib.figure import Figure  # slow to import, and only needed here

    parts = anatomy(network, height, width)
    levels, patch = len(parts.down), network.config.patch
    first = FLAT + GAP  # where the stem begins
    tops = [first + TALL + GAP / 2 + level * (TALL + GAP) for level in range(levels + 1)]
    embedding = tops[-1] + TALL + GAP / 2
    total = embedding + FLAT + 1
    with style():
        figure = Figure(figsize=(INCHES, total * INCHES / 100))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(total, -1))
        axes.axis("off")
        drawing = _Drawing(axes, max(part.parameters for part in parts.parts()))

        image = f"{network.channels} × {height} × {width}"
        drawing.box(LEFT, 0, FLAT, ["noisy image", image], None)
        drawing.box(RIGHT, 0, FLAT, ["network's answer", image], None)
        drawing.arrow(LEFT, FLAT, LEFT, first, f"{patch} × {patch} pixels\nto channels" if patch > 1 else "")
        drawing.arrow(RIGHT, first, RIGHT, FLAT, "channels\nto pixels" if patch > 1 else "")
        drawing.part(LEFT, first, parts.stem)
        drawing.part(RIGHT, first, parts.output)
        drawing.arrow(LEFT, first + TALL, LEFT, tops[0])
        drawing.arrow(RIGHT, tops[0], RIGHT, first + TALL)
        for level in range(levels):
            top, below = tops[level], tops[level + 1]
            drawing.part(LEFT, top, parts.down[level])
            drawing.part(RIGHT, top, parts.up[level])
            drawing.arrow(LEFT + WIDE / 2, top + TALL / 2, RIGHT - WIDE / 2, top + TALL / 2, "skip", ORANGE)
            drawing.arrow(LEFT, top + TALL, LEFT, below, _told(parts.halve[level]))
            drawing.arrow(RIGHT, below, RIGHT, top + TALL, _told(parts.double[level]))
        drawing.part(50, tops[-1], parts.bottleneck, wide=RIGHT - LEFT + WIDE)
        numbers, count = parts.embedding.channels, parts.embedding.parameters
        told = [f"noise level and class, {numbers} numbers", f"told to every block, {count:,} parameters"]
        drawing.box(50, embedding, FLAT, told, count, wide=RIGHT - LEFT + WIDE)
    return figure


def _told(part: Part) -> str:
    return textwrap.fill(f"{part.what}, {part.parameters:,}", 21)


class _Drawing:
    """Boxes and arrows on axes."""

    def __init__(self, axes: "Axes", most: int) -> None:
        self.axes, self.most = axes, most

    def part(self, x: float, top: float, part: Part, wide: float = WIDE) -> None:
        """A box of a part: what it is, what leaves it, its parameters."""
        size = f"{part.channels} × {part.height} × {part.width}"
        self.box(x, top, TALL, [part.what, size, f"{part.parameters:,} parameters"], part.parameters, wide)

    def box(
        self, x: float, top: float, height: float, lines: Sequence[str], parameters: int | None, wide: float = WIDE
    ) -> None:
        """A box whose middle is x, as much shaded as it has parameters."""
        from matplotlib.patches import FancyBboxPatch

        shape = "round,pad=0,rounding_size=1.5"
        corner, shade = (x - wide / 2, top), 0.0 if parameters is None else 0.08 + 0.4 * parameters / self.most
        self.axes.add_patch(FancyBboxPatch(corner, wide, height, shape, facecolor=BLUE, alpha=shade, linewidth=0))
        self.axes.add_patch(FancyBboxPatch(corner, wide, height, shape, fill=False, edgecolor=MUTED, linewidth=0.8))
        step = height / (len(lines) + 0.4)
        for number, line in enumerate(lines):
            self.axes.text(
                x,
                top + step * (number + 0.7),
                line,
                ha="center",
                va="center",
                fontsize=9 if number == 0 else 8.5,
                fontweight="bold" if number == 0 else "normal",
                color=INK,
            )

    def arrow(self, x: float, y: float, to_x: float, to_y: float, label: str = "", colour: str = MUTED) -> None:
        """An arrow; its label stands above it when it is level, else on its inner side."""
        look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.0, "shrinkA": 1.5, "shrinkB": 1.5}
        self.axes.annotate("", (to_x, to_y), (x, y), arrowprops=look)
        if y == to_y:
            self.axes.text((x + to_x) / 2, y - 1, label, ha="center", va="bottom", fontsize=7.5, color=colour)
        else:
            inwards = 2 if x < 50 else -2
            align = "left" if x < 50 else "right"
            self.axes.text(x + inwards, (y + to_y) / 2, label, ha=align, va="center", fontsize=7.5, color=MUTED)

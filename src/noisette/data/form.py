"""The form that all images of a set are brought into: one size, one number of channels; and what that does to them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from noisette.base.config import require
from noisette.base.errors import Refusal

LARGEST_SIDE = 4096
"""Pixels. A larger image is no small one."""

Size = tuple[int, int]  # height, width
Shape = tuple[int, int, int]  # height, width, channels
Fit = Literal["keep", "pad", "crop"]


@dataclass(frozen=True)
class Form:
    """What images are brought into. Left as it is, images of one size stay as they are."""

    image_size: tuple[int, ...] = ()
    """Height and width in pixels; one number: both, with --fit keep the shorter of them; left out: the images' own."""
    channels: int | None = None
    """1 (grey) or 3 (colour); left out: grey where every image is stored in grey."""
    fit: Fit = "keep"
    """What becomes of images of another shape: keep (all must share one), pad (by their edge pixels) or crop (to their
    centre)."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What becomes of picture files that cannot be read: the set is refused, or they are skipped, counted and named."""

    def __post_init__(self) -> None:
        size = self.image_size
        require(
            len(size) <= 2 and all(1 <= side <= LARGEST_SIDE for side in size),
            f"image_size {','.join(map(str, size))}",
            f"one side or height,width, each from 1 to {LARGEST_SIDE}",
        )
        require(self.channels in (None, 1, 3), f"channels {self.channels}", "1 (grey) or 3 (colour)")
        require(self.fit == "keep" or len(size) > 0, f"fit {self.fit} without image_size", "the size to fit")

    def like(self, height: int, width: int, channels: int) -> "Form":
        """The form that makes other images as those that became so in this one."""
        return replace(self, image_size=(height, width), channels=channels)


AS_IT_IS = Form()
"""Asks for nothing."""


class Header(NamedTuple):
    """What is known of an image before its pixels are read, its EXIF rotation heeded."""

    height: int
    width: int
    grey: bool
    animated: bool = False


Headers = Counter[Header]
"""How many images have which."""


def scale(size: Size, shape: Shape, fit: Fit) -> float:
    """How many times an image becomes larger to fill `shape` (crop), or to lie within it (pad, keep)."""
    factors = shape[0] / size[0], shape[1] / size[1]
    return max(factors) if fit == "crop" else min(factors)


def settle(form: Form, headers: Headers, name: str) -> Shape:
    """The shape that all images get. Raises Refusal, with what was found, where the form leaves it open."""
    return *_size(form, headers, name), form.channels or (1 if all(header.grey for header in headers) else 3)


def _size(form: Form, headers: Headers, name: str) -> Size:
    sizes = _sizes(headers)
    if not form.image_size:
        if len(sizes) > 1:
            raise Refusal(
                f"{name}: images of {len(sizes):,} sizes, {_listed(sizes)}: expected one, or --image-size SIDE to make"
                " it so (and --fit crop or pad where shapes differ)"
            )
        found = next(iter(sizes))
    elif form.fit != "keep":
        return form.image_size[0], form.image_size[-1]
    else:
        shapes: Counter[Size] = Counter()
        for size, count in sizes.items():
            shapes[_kept(size, form.image_size)] += count
        if len(shapes) > 1 or (len(form.image_size) == 2 and form.image_size not in shapes):
            raise Refusal(
                f"{name}: images of other shapes, {_listed(sizes)}: expected one that keeps at --image-size"
                f" {','.join(map(str, form.image_size))}, or --fit crop or --fit pad"
            )
        found = next(iter(shapes))
    if max(found) > LARGEST_SIDE:
        raise Refusal(f"{name}: images of {_by(found)} pixels: expected sides up to {LARGEST_SIDE}, see --image-size")
    return found


def _kept(size: Size, asked: tuple[int, ...]) -> Size:
    """`size` scaled, its shape kept: the shorter side to the one number asked for, or to lie within the two."""
    factor = asked[0] / min(size) if len(asked) == 1 else min(asked[0] / size[0], asked[1] / size[1])
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def told(form: Form, headers: Headers, shape: Shape) -> Iterator[str]:
    """What was decided, for people, a line each."""
    sizes, count = _sizes(headers), headers.total()
    if len(sizes) == 1:
        found = f"{count:,} images of {_by(*sizes)}"
    else:
        smallest, largest = (end(sizes, key=lambda size: size[0] * size[1]) for end in (min, max))
        found = f"{count:,} images of {len(sizes):,} sizes, {_by(smallest)} to {_by(largest)}"
    if set(sizes) == {shape[:2]}:
        yield f"{found}, left at that size"
    else:
        how = {"keep": "", "pad": " and padded by their edge pixels", "crop": " and cropped to their centre"}[form.fit]
        yield f"{found}, scaled to {_by(shape[:2])}{how}"
    if larger := sum(number for size, number in sizes.items() if scale(size, shape, form.fit) > 1):
        yield f"{larger:,} of {count:,} are enlarged, which adds no detail"
    grey = sum(number for header, number in headers.items() if header.grey)
    stored = "all" if grey == count else "none" if grey == 0 else f"{grey:,} of {count:,}"
    yield f"{'grey' if shape[2] == 1 else 'colour'}; stored in grey: {stored}"
    if animated := sum(number for header, number in headers.items() if header.animated):
        yield f"{animated:,} are animations, of which the first frame is taken"


def _sizes(headers: Headers) -> Counter[Size]:
    sizes: Counter[Size] = Counter()
    for header, count in headers.items():
        sizes[header.height, header.width] += count
    return sizes


def _by(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _listed(sizes: Counter[Size], most: int = 5) -> str:
    more = f" and {len(sizes) - most:,} more" if len(sizes) > most else ""
    return ", ".join(f"{_by(size)} ({count:,})" for size, count in sizes.most_common(most)) + more

"""One picture, decoded and brought into the form of its set. Pillow reads it; whatever it objects to is told in a line.

Pictures are turned as their EXIF says, laid on white where they are transparent, 16-bit grey is scaled to 8 bits, the
first frame stands for an animation. Colours are taken as sRGB: embedded profiles are not applied.
"""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from noisette.base.errors import Refusal, one_line
from noisette.data.form import Fit, Header, Shape, scale

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""That are read; others, such as EPS, would run other programs."""

READ = ".png .apng .jpg .jpeg .jpe .jfif .gif .webp .bmp .dib .tif .tiff .pbm .pgm .ppm .pnm .avif .jp2 .j2k"
NOT_READ = ".heic .heif .jxl .psd"  # pictures all the same: they are refused and not passed over
SUFFIXES = frozenset(f"{READ} {NOT_READ}".split())
"""How the names of picture files end, in lower case."""

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_WHOLE_NUMBERS = ("I", "I;16", "I;16B", "I;16L", "I;16N")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

File = Path | BytesIO


class UnreadablePicture(Refusal):
    """A file that is no picture, a broken one, or one too large to be opened."""


def is_picture_name(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a Path for each of a million names is slow


def read_header(file: File, name: str) -> Header:
    """Size and kind of a picture, its pixels not decoded. Raises UnreadablePicture, which begins with `name`."""
    with _opened(file, name) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        return Header(height, width, picture.mode in GREY_MODES, bool(getattr(picture, "is_animated", False)))


def read_picture(file: File, name: str, shape: Shape, fit: Fit) -> npt.NDArray[np.uint8]:
    """The picture as pixels [H, W, C] of `shape`. Raises UnreadablePicture, which begins with `name`."""
    with _opened(file, name) as picture:
        orientation = _orientation(picture)
        size = picture.size if orientation >= 5 else picture.size[::-1]  # [H, W] once turned
        larger = 2 * scale((size[0], size[1]), shape, fit)
        if larger < 1:  # JPEG decodes to an 8th, quarter or half; twice the size is left for good resampling
            picture.draft(None, (round(picture.width * larger), round(picture.height * larger)))
        flat = opaque(picture)
        if orientation in _TURNS:
            flat = flat.transpose(_TURNS[orientation])
        return fitted(flat, shape, fit)


@contextmanager
def _opened(file: File, name: str) -> Iterator[Image.Image]:
    """A picture whose header was read. What goes wrong with it here or within becomes UnreadablePicture."""
    Image.init()
    try:
        if isinstance(file, Path) and not file.is_file():  # a folder, or a pipe, which would be waited for
            raise UnreadablePicture(f"{name}: no file is there")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN]) as picture:
                yield picture
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        formats = ", ".join(FORMATS)
        raise UnreadablePicture(f"{name} is no picture that can be read, as {formats} are") from None
    except Exception as error:  # a broken file makes a decoder fail in any way, and Pillow lets it through
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise UnreadablePicture(f"{name} cannot be read: {reason}") from error


def _orientation(picture: Image.Image) -> int:
    """EXIF's, 1 to 8, by the header alone."""
    if picture.format == "TIFF":
        return 1  # which Pillow turns by itself, the size in the header too
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # else Pillow decodes all pixels to look behind them
    found = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in _TURNS else 1


def opaque(picture: Image.Image) -> Image.Image:
    """The picture in mode L (when it is grey) or RGB, laid on white. Raises ValueError for values of unknown range."""
    if picture.mode == "F":
        raise ValueError("its values are floats of unknown range, expected 8 or 16 bits")
    grey = picture.mode in GREY_MODES
    if picture.mode in _WHOLE_NUMBERS:
        return _from_16_bits(np.asarray(picture))
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return picture.convert("L" if grey else "RGB")


def _from_16_bits(values: npt.NDArray[Any]) -> Image.Image:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values lie in {values.min()} to {values.max()}, expected 8 or 16 bits")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))  # 65535 = 255 * 257


def fitted(picture: Image.Image, shape: Shape, fit: Fit) -> npt.NDArray[np.uint8]:
    """An opaque picture as pixels [H, W, C] of `shape`: scaled bicubically over all pixels, cropped or padded."""
    height, width, channels = shape
    picture = picture.convert("L" if channels == 1 else "RGB")
    inner, box = (width, height), (0.0, 0.0, float(picture.width), float(picture.height))
    factor = scale((picture.height, picture.width), shape, fit)
    if fit == "crop":
        across, down = width / factor, height / factor  # of the source
        left, top = (picture.width - across) / 2, (picture.height - down) / 2
        if factor == 1:
            left, top = math.floor(left), math.floor(top)  # whole pixels stay as they are
        box = (max(0.0, left), max(0.0, top), min(box[2], left + across), min(box[3], top + down))
    elif fit == "pad":
        inner = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(inner, Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(picture).reshape(inner[1], inner[0], channels)  # [H, W, C]
    above, before = (height - inner[1]) // 2, (width - inner[0]) // 2
    around = ((above, height - inner[1] - above), (before, width - inner[0] - before), (0, 0))
    return np.pad(pixels, around, mode="edge")

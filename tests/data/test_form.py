"""What images of many sizes are brought to, and what is refused because a person has to choose."""

import re

import pytest

from noisette.base.errors import Refusal
from noisette.data.form import Form, Header, Headers, scale, settle, told

SQUARE, WIDE, TALL = (40, 40), (20, 30), (60, 40)


def headers(*sizes, grey=False):
    return Headers(Header(height, width, grey) for height, width in sizes)


@pytest.mark.parametrize(
    ("form", "sizes", "found"),
    [
        (Form(), [WIDE, WIDE], WIDE),
        (Form((16,)), [SQUARE, (80, 80)], (16, 16)),
        (Form((16,)), [WIDE, (40, 60), (200, 300)], (16, 24)),  # the shorter side; the shape is kept
        (Form((16,)), [TALL], (24, 16)),
        (Form((16,)), [(199, 300), (100, 150)], (16, 24)),  # alike but for a rounding
        (Form((20, 30)), [(40, 60), (200, 300)], (20, 30)),
        (Form((16,), fit="crop"), [SQUARE, WIDE, TALL], (16, 16)),
        (Form((16, 24), fit="crop"), [SQUARE, WIDE, TALL], (16, 24)),
        (Form((16,), fit="pad"), [SQUARE, WIDE], (16, 16)),
    ],
)
def test_the_size_that_all_get(form, sizes, found):
    assert settle(form, headers(*sizes), "it") == (*found, 3)


@pytest.mark.parametrize(
    ("form", "sizes", "message"),
    [
        (
            Form(),
            [SQUARE, WIDE, WIDE],
            "it: images of 2 sizes, 20 x 30 (2), 40 x 40 (1): expected one, or --image-size",
        ),
        (Form((16,)), [SQUARE, WIDE], "it: images of other shapes, 40 x 40 (1), 20 x 30 (1): expected .* --fit crop"),
        (Form((16, 16)), [WIDE], "expected one that keeps at --image-size 16,16"),
        (Form((100,)), [(10, 500)], "images of 100 x 5000 pixels: expected sides up to 4096"),
        (Form(), [(5000, 10)], "images of 5000 x 10 pixels"),
        (Form(), [(9, side) for side in range(1, 9)], "8 sizes, .*and 3 more"),
    ],
)
def test_what_leaves_it_open_is_refused(form, sizes, message):
    with pytest.raises(Refusal, match=re.escape(message).replace(r"\.\*", ".*")):
        settle(form, headers(*sizes), "it")


@pytest.mark.parametrize(
    ("channels", "greys", "found"),
    [(None, (True, True), 1), (None, (True, False), 3), (1, (False,), 1), (3, (True,), 3)],
)
def test_grey_only_where_every_image_is(channels, greys, found):
    kinds = Headers(Header(4, 4, grey) for grey in greys)
    assert settle(Form(channels=channels), kinds, "it") == (4, 4, found)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": (0,)}, "image_size 0"),
        ({"image_size": (8, 8, 8)}, "image_size 8,8,8"),
        ({"image_size": (5000,)}, "each from 1 to 4096"),
        ({"channels": 4}, r"channels 4: expected 1 \(grey\) or 3"),
        ({"fit": "crop"}, "fit crop without image_size"),
        ({"fit": "pad"}, "fit pad without image_size"),
    ],
)
def test_impossible_forms_are_refused(wrong, message):
    with pytest.raises(Refusal, match=message):
        Form(**wrong)


def test_what_was_decided_is_told():
    kinds = Headers({Header(40, 40, False): 3, Header(8, 30, True): 2, Header(90, 90, False, True): 1})
    form = Form((16,), fit="crop")
    assert list(told(form, kinds, settle(form, kinds, "it"))) == [
        "6 images of 3 sizes, 8 x 30 to 90 x 90, scaled to 16 x 16 and cropped to their centre",
        "2 of 6 are enlarged, which adds no detail",
        "colour; stored in grey: 2 of 6",
        "1 are animations, of which the first frame is taken",
    ]
    assert list(told(Form(), headers((8, 9), grey=True), (8, 9, 1))) == [
        "1 images of 8 x 9, left at that size",
        "grey; stored in grey: all",
    ]


def test_only_what_becomes_larger_is_called_enlarged():
    assert scale((8, 30), (16, 16, 3), "crop") == 2.0
    assert scale((8, 32), (16, 16, 3), "pad") == 0.5
    assert scale((16, 16), (16, 16, 3), "keep") == 1.0


def test_other_images_become_alike():
    assert Form((16,), None, "crop", "skip").like(20, 30, 3) == Form((20, 30), 3, "crop", "skip")

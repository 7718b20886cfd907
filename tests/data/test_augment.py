"""Augmentation: exact where it can be, off unless asked for, drawn from the position."""

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.data.augment import NONE, Augmentation, augmented
from noisette.data.images import to_model, to_uint8


@pytest.fixture
def pixels():
    """Eighty copies of one image without any symmetry, [80, 6, 9, 3]."""
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return np.stack([image] * 80)


def altered(pixels, seed=0, **ways):
    """The altered images as pixels [B, H, W, C]."""
    return to_uint8(augmented(pixels, range(len(pixels)), seed, Augmentation(**ways)))


def share_equal(images, image):
    return np.mean([np.array_equal(each, image) for each in images])


def test_nothing_happens_unless_asked_for(pixels):
    assert NONE == Augmentation() == Augmentation(flip=False, shift=0, rotate=0)
    torch.testing.assert_close(augmented(pixels, range(80), 0, NONE), to_model(pixels), rtol=0, atol=0)


def test_half_are_mirrored_left_to_right_and_the_others_stay(pixels):
    images = altered(pixels, flip=True)
    mirrored = share_equal(images, pixels[0][:, ::-1])
    assert 0.3 < mirrored < 0.7
    assert share_equal(images, pixels[0]) == 1 - mirrored


def test_each_is_moved_by_whole_pixels_every_way_and_the_edge_goes_on(pixels):
    expected = {}
    for down in range(-2, 3):
        for right in range(-2, 3):
            around = np.pad(pixels[0], ((2, 2), (2, 2), (0, 0)), mode="edge")
            expected[around[2 - down : 8 - down, 2 - right : 11 - right].tobytes()] = (down, right)
    assert len(expected) == 25
    found = [image.tobytes() for image in altered(np.repeat(pixels, 5, axis=0), shift=2)]
    assert set(found) == set(expected)
    counts = np.bincount([expected[image][0] + 2 for image in found])
    assert counts.min() > 0.7 * counts.mean()


def test_mirrored_images_are_moved_as_far(pixels):
    images = altered(pixels, flip=True, shift=1)
    around = np.pad(pixels[0][:, ::-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    places = [around[1 - down : 7 - down, 1 - right : 10 - right] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert sum(share_equal(images, place) for place in places) == share_equal_of_flips(pixels)


def share_equal_of_flips(pixels):
    """How many the same seed mirrors."""
    return share_equal(altered(pixels, flip=True), pixels[0][:, ::-1])


def test_a_quarter_turn_of_a_square_is_exact(monkeypatch):
    square = np.random.default_rng(1).integers(0, 256, (2, 6, 6, 1), dtype=np.uint8)
    monkeypatch.setattr(torch, "rand", lambda *shape, **kinds: torch.ones(4, dtype=torch.float64))
    np.testing.assert_array_equal(altered(square, rotate=90), np.rot90(square, axes=(1, 2)))


def test_an_oblong_is_turned_and_not_sheared(monkeypatch):
    """A disc about the centre stays where it is at any angle; stretched coordinates would make it an ellipse."""
    y, x = np.mgrid[:20, :40]
    disc = np.exp(-((y - 9.5) ** 2 + (x - 19.5) ** 2) / 18) * 255
    image = disc.round().astype(np.uint8)[None, :, :, None]
    turned = altered(np.repeat(image, 9, axis=0), rotate=180).astype(int)
    assert np.abs(turned - image).max() <= 6


def test_turning_is_bounded_and_goes_both_ways():
    """A bright dot right of the centre shows the angle of each image."""
    image = np.zeros((60, 41, 41, 1), np.uint8)
    image[:, 20, 36] = 255
    turned = altered(image, rotate=30)[..., 0].astype(float)
    y, x = np.mgrid[:41, :41] - 20
    weight = turned.sum(axis=(1, 2))
    angles = np.degrees(np.arctan2((turned * y).sum(axis=(1, 2)) / weight, (turned * x).sum(axis=(1, 2)) / weight))
    assert -31 < angles.min() < -20
    assert 20 < angles.max() < 31


def test_a_background_stays_whatever_its_colour():
    light = np.full((30, 8, 8, 3), 255, np.uint8)
    light[:, 3:5, 3:5] = 0
    images = altered(light, flip=True, shift=1, rotate=15)
    edge = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert edge.min() == 255


def test_it_is_drawn_from_seed_and_position(pixels):
    ways = {"flip": True, "shift": 2, "rotate": 10}
    whole = altered(pixels, **ways)
    np.testing.assert_array_equal(whole, altered(pixels, **ways))
    assert not np.array_equal(whole, altered(pixels, seed=1, **ways))
    late = to_uint8(augmented(pixels[:3], [5, 40, 7], 0, Augmentation(**ways)))
    np.testing.assert_array_equal(late, whole[[5, 40, 7]])


def test_what_goes_in_is_not_written_to_and_what_comes_out_is_channels_last(pixels):
    pixels.setflags(write=False)
    for ways in ({"flip": True}, {"shift": 1}, {"rotate": 5.0}):
        images = augmented(pixels, range(80), 0, Augmentation(**ways))
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert (images.dtype, images.shape) == (torch.float32, (80, 3, 6, 9))


def test_it_is_told_in_words():
    assert NONE.told() == "none"
    assert Augmentation(shift=2).told() == "moved by at most 2 pixels"
    told = "half of them mirrored, moved by at most 3 pixels, turned by at most 7.5 degrees"
    assert Augmentation(True, 3, 7.5).told() == told


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ({"shift": -1}, "shift -1: expected 0 or more pixels"),
        ({"rotate": -1.0}, "rotate -1.0: expected degrees from 0 to 180"),
        ({"rotate": float("nan")}, "rotate nan: expected degrees from 0 to 180"),
    ],
)
def test_what_cannot_be_done_is_refused(ways, expected):
    with pytest.raises(Refusal, match=expected):
        Augmentation(**ways)

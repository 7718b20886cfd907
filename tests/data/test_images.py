from dataclasses import replace

import numpy as np
import pytest
import torch

from noisette.base.errors import NoisetteError
from noisette.data.images import to_model, to_uint8


def test_every_pixel_value_survives_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    scaled = to_model(pixels)
    assert scaled.dtype == torch.float32
    assert scaled.min() == -1
    assert scaled.max() == 1
    assert to_uint8(scaled).dtype == np.uint8
    np.testing.assert_array_equal(to_uint8(scaled), pixels)


def test_axes_are_moved_and_not_mixed():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    scaled = to_model(pixels)
    assert scaled.shape == (2, 3, 3, 4)
    assert scaled[1, 2, 0, 3].item() == pytest.approx(pixels[1, 0, 3, 2] / 127.5 - 1, abs=1e-6)
    assert scaled.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(to_uint8(scaled), pixels)


def test_scaling_leaves_the_pixels_alone():
    pixels = np.full((1, 2, 2, 1), 7, np.uint8)
    pixels.setflags(write=False)  # as a memory-mapped file would be
    to_model(pixels)
    assert pixels.max() == 7


@pytest.mark.parametrize("wrong", [np.zeros((1, 2, 2, 1), np.float32), np.zeros((2, 2, 1), np.uint8)])
def test_only_uint8_images_are_scaled(wrong):
    with pytest.raises(ValueError, match="expected uint8"):
        to_model(wrong)


def test_to_uint8_clamps_and_rounds_to_the_nearest():
    values = torch.tensor([-7.0, -1.0, 0.0, 0.999, 1.0, 7.0, float("inf"), -float("inf")])
    found = to_uint8(values.reshape(1, 1, 1, -1)).ravel().tolist()
    assert found == [0, 0, 128, 255, 255, 255, 255, 0]
    assert to_uint8(torch.full((1, 1, 1, 1), 10.4 / 127.5 - 1)).item() == 10
    assert to_uint8(torch.full((1, 1, 1, 1), 10.6 / 127.5 - 1)).item() == 11


def test_half_precision_is_rounded_in_single_precision():
    # bfloat16 has 8 bits: x + 1 and times 127.5 would each be rounded in it, to another pixel.
    scaled = to_model(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)).bfloat16()
    np.testing.assert_array_equal(to_uint8(scaled), to_uint8(scaled.float()))


def test_nan_is_no_colour():
    with pytest.raises(NoisetteError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]).reshape(1, 1, 1, 2))


def test_the_digest_tells_every_change(digits):
    data = digits()
    pixels, labels = data.images.copy(), data.labels.copy()
    pixels[-1, -1, -1, -1] ^= 1
    labels[-1] = 0
    changed = [
        replace(data, images=pixels),
        replace(data, labels=labels),
        replace(data, classes=("a", "b", "d")),
        replace(data, images=data.images.reshape(-1, 4, 5, 1)),
    ]
    assert len({data.digest, *(other.digest for other in changed)}) == 5
    assert len(data.digest) == 64


def test_the_digest_tells_nothing_else(digits):
    data = digits(shape=(5, 4, 3))
    same = replace(data, name="x", source="y", images=np.asfortranarray(data.images), labels=data.labels.astype(">i8"))
    assert not same.images.flags.c_contiguous
    assert same.digest == data.digest
    assert replace(data, labels=np.repeat(data.labels, 2)[::2]).digest == data.digest

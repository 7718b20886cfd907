"""Degradations: each changes what it should and leaves the rest; strokes are measured as they were drawn."""

import pytest
import torch

from noisette.base.seeds import generator
from noisette.perception.degrade import DEGRADATIONS, background, degrade
from noisette.perception.strokes import StrokeBounds, measure_strokes, stroke_bounds


def bars(count=12, size=28, channels=1, width=3, slant=0.0):
    """White bars on black, upright or leaning to the right by `slant` pixels a pixel; edges soft over a pixel."""
    rows, columns = torch.arange(size)[:, None] - (size - 1) / 2, torch.arange(size) - (size - 1) / 2
    beside = (columns + slant * rows).abs() - width / 2
    along = rows.abs() - 9 * size / 28
    ink = (0.5 - torch.maximum(beside, along)).clamp(0, 1)
    return (2 * ink - 1).expand(count, channels, size, size)


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_every_kind_damages_every_image_and_stays_an_image(name, channels, size):
    random = torch.rand(12, channels, 4, 4, generator=generator(0))
    images = torch.nn.functional.interpolate(2 * random - 1, (size, size), mode="bicubic").clamp(-1, 1)
    spoilt = degrade(images, torch.zeros(12, dtype=torch.int64), (name,), generator(1))
    assert spoilt.shape == images.shape
    assert spoilt.abs().max() <= 1
    assert spoilt.isfinite().all()
    assert ((spoilt - images).square().mean((1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_image_is_damaged_in_its_own_way_that_the_draw_decides(name):
    images = bars(12).clone()
    images[1::2] = images[1::2].roll(3, 3)
    kinds = torch.zeros(12, dtype=torch.int64)
    once, again, other = (degrade(images, kinds, (name,), generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    alike = 3 if name == "pixelated" else 2
    assert len({tuple(each.flatten().tolist()) for each in once[::2]}) >= alike - 1


def test_each_image_gets_its_kind_and_the_others_stay():
    images = bars(6)
    kinds = torch.tensor([-1, 0, 1, -1, 1, 0])
    spoilt = degrade(images, kinds, ("faded", "noisy"), generator(0))
    assert torch.equal(spoilt[kinds == -1], images[kinds == -1])
    assert (spoilt[kinds == 0].amax((1, 2, 3)) < 0).all()  # less white
    rough = spoilt[kinds == 1][:, 0, 0].std(1)
    assert (rough > 0.1).all()
    assert images.max() == 1  # what came in is never written to


def test_the_words_are_true_of_the_damage():
    words = {name: kind.words for name, kind in DEGRADATIONS.items()}
    assert words["blurred"] == ("blurry", "unclear")
    assert words["noisy"] == words["speckled"] == ("noisy", "unclear")
    assert words["cut"] == words["holed"] == ("broken", "unclear")
    assert all("unclear" in each and "clear" not in each for each in words.values())


def spread(images):
    """Variance of the ink's places along a row, in square pixels."""
    ink = (images[:, 0] + 1).sum(1)
    places = torch.arange(images.shape[3]).float()
    mean = (ink * places).sum(1) / ink.sum(1)
    return (ink * (places - mean[:, None]) ** 2).sum(1) / ink.sum(1)


@pytest.mark.parametrize("size", [28, 56])
def test_a_blur_spreads_ink_by_its_variance_and_keeps_its_amount(size):
    images = bars(200, size)
    spoilt = DEGRADATIONS["blurred"].spoil(images, generator(0))
    torch.testing.assert_close((spoilt + 1).sum((1, 2, 3)), (images + 1).sum((1, 2, 3)), rtol=3e-3, atol=0)
    std = (spread(spoilt) - spread(images)).sqrt() * 28 / size
    assert 1.1 < std.min() < 1.3
    assert 2.3 < std.max() < 2.6


def test_noise_is_as_strong_as_it_says():
    spoilt = DEGRADATIONS["noisy"].spoil(torch.zeros(300, 1, 28, 28), generator(0))
    std = spoilt.std((1, 2, 3))
    assert 0.28 < std.min() < 0.33
    assert 0.85 < std.max() < 0.95


def test_speckles_are_black_and_white_and_as_many_as_it_says():
    spoilt = DEGRADATIONS["speckled"].spoil(torch.zeros(300, 3, 28, 28), generator(0))
    assert set(spoilt.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.equal(spoilt[:, 0], spoilt[:, 2])
    share = (spoilt != 0).float().mean((1, 2, 3))
    assert 0.03 < share.min() < 0.07
    assert 0.17 < share.max() < 0.24
    assert abs(float(spoilt.mean())) < 0.01


@pytest.mark.parametrize("name", ["cut", "holed"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gaps_show_the_background_whatever_its_colour(name, sign):
    images = sign * bars(50)
    spoilt = DEGRADATIONS[name].spoil(images, generator(0))
    changed = spoilt != images
    assert (spoilt[changed] == -sign).all()
    share = changed.sum((1, 2, 3)) / (images != -sign).sum((1, 2, 3))
    assert share.min() > 0.1  # none is missed
    assert share.max() < 0.8
    assert 0.2 < share.mean() < 0.5


def test_what_is_faded_keeps_its_background_and_loses_contrast():
    spoilt = DEGRADATIONS["faded"].spoil(bars(300), generator(0))
    torch.testing.assert_close(background(spoilt), torch.full((300, 1, 1, 1), -1.0))
    contrast = spoilt.amax((1, 2, 3)) + 1
    assert 0.29 < contrast.min() < 0.35
    assert 0.75 < contrast.max() < 0.81


def test_a_doubled_image_holds_some_of_another():
    images = torch.stack([torch.full((1, 28, 28), 1.0), torch.full((1, 28, 28), -1.0)]).repeat(100, 1, 1, 1)
    spoilt = DEGRADATIONS["doubled"].spoil(images, generator(0))
    share = (1 - images * spoilt).flatten(1).mean(1) / 2
    assert 0.29 < share.min() < 0.32
    assert 0.48 < share.max() < 0.51


def test_a_pixelated_image_has_few_values_and_the_same_mean():
    images = torch.rand(40, 1, 24, 24, generator=generator(0)) * 2 - 1
    spoilt = DEGRADATIONS["pixelated"].spoil(images, generator(1))
    counts = {len(each.unique()) for each in spoilt}
    assert counts == {64, 100} or counts <= {81, 100, 49, 64}
    torch.testing.assert_close(spoilt.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=0.03, rtol=0)


# --- strokes


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [2.0, 3.0, 4.0])
def test_thickness_is_the_width_of_a_bar(width, sign):
    thickness, _ = measure_strokes(sign * bars(1, width=width))
    expected = 2 * width * 18 / (2 * (width + 18))  # twice the area over the outline
    assert thickness.item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("slant", [-0.5, -0.2, 0.0, 0.2, 0.5])
def test_slant_is_the_shear_and_leaning_right_is_positive(slant):
    _, found = measure_strokes(bars(1, slant=slant))
    assert found.item() == pytest.approx(slant, abs=0.03)


def test_an_empty_image_has_no_strokes():
    thickness, slant = measure_strokes(torch.full((1, 1, 8, 8), -1.0))
    assert (thickness.item(), slant.item()) == (0, 0)


def test_the_bounds_set_a_fifth_apart_and_give_the_words():
    images = torch.cat([bars(1, width=2 + number / 5, slant=number / 50) for number in range(20)])
    bounds = stroke_bounds(images)
    words = bounds.words(images)
    assert words.sum(0).tolist() == [4, 4, 4]
    assert words[-4:, 0].all()  # thick
    assert words[:4, 1].all()  # thin
    assert words[-4:, 2].all()  # slanted
    left = StrokeBounds(0.0, 100.0, 0.3).words(bars(1, slant=-0.4))
    assert left.tolist() == [[False, False, True]]

"""One seed, one picture: a draw depends on its own key and on nothing else."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from noisette.base.seeds import ImageNoise, generator, hash_seed

SHAPE = (1, 4, 4)


def test_streams_stay_what_they_were():
    """Golden values: if these change, every published picture changes with them."""
    assert hash_seed(0, "sample", 17) == 8389335498430512753
    noise = ImageNoise(0, "sample", [17], SHAPE)
    golden = ([-1.6031753, -0.2323545, -1.5556769, 1.0532856], [0.4814023, -0.9042299, 0.3321525, -1.0333006])
    for first_pixels in golden:
        torch.testing.assert_close(noise.draw().flatten()[:4], torch.tensor(first_pixels), rtol=0, atol=1e-6)


def test_the_order_the_kinds_and_the_number_of_parts_matter():
    keys = [(0, 1), (1, 0), (0,), (0, 1, 0), ("0", 1), (0, "1"), ("01",), (1, "sample"), (0, "sample")]
    assert len({hash_seed(*key) for key in keys}) == len(keys)


@given(st.integers(), st.text(), st.integers(0, 2**40))
def test_a_seed_fits_the_generator(seed, purpose, index):
    assert 0 <= hash_seed(seed, purpose, index) < 2**63
    assert generator(seed, purpose, index).initial_seed() == hash_seed(seed, purpose, index)


def test_an_image_is_the_same_in_any_batch_and_in_any_place():
    together = ImageNoise(3, "sample", [5, 17, 2**40], SHAPE)
    shuffled = ImageNoise(3, "sample", [17, 5], SHAPE)
    alone = ImageNoise(3, "sample", [17], SHAPE)
    for _ in range(3):
        all_three, two, one = together.draw(), shuffled.draw(), alone.draw()
        assert torch.equal(all_three[1], one[0])
        assert torch.equal(two, all_three[[1, 0]])


def test_images_draws_seeds_and_purposes_differ():
    noise = ImageNoise(3, "sample", [5, 17], SHAPE)
    draws = [*noise.draw(), *noise.draw()]
    draws += [ImageNoise(4, "sample", [5], SHAPE).draw()[0], ImageNoise(3, "train", [5], SHAPE).draw()[0]]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 6


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = ImageNoise(3, "sample", [5], SHAPE).draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(ImageNoise(3, "sample", [5], SHAPE).draw(), first)


def test_the_noise_is_standard_normal():
    noise = ImageNoise(0, "law", range(100), (1, 10, 10)).draw()
    assert noise.shape == (100, 1, 10, 10)
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 4 / 100
    assert abs(float(noise.var()) - 1) < 4 * 2**0.5 / 100
    below = [float((noise < z).float().mean()) for z in (-1.0, 0.0, 1.0)]
    for share, exact in zip(below, (0.1587, 0.5, 0.8413), strict=True):
        assert abs(share - exact) < 4 * (exact * (1 - exact)) ** 0.5 / 100


def test_an_empty_batch_draws_nothing():
    assert ImageNoise(0, "sample", [], SHAPE).draw().shape == (0, *SHAPE)

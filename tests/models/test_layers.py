"""The U-Net's parts do what their names say, each image for itself."""

import math

import pytest
import torch
from torch import nn

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.diffusion.noise import SCHEDULES, LevelRange, level_table
from noisette.diffusion.precondition import PRECONDITIONS
from noisette.models.layers import NORMS, Attention, Down, SeededDropout, Sinusoid, group_norm, key_dropout


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed, "layers"))


# --- the clock


LOG_CLOCK, FLOW_CLOCK = PRECONDITIONS["edm"], PRECONDITIONS["flow"]


@pytest.mark.parametrize(
    ("schedule", "row"),
    [*((name, LOG_CLOCK) for name in SCHEDULES), ("flow", FLOW_CLOCK)],
    ids=[*SCHEDULES, "flow with its own clock"],
)
def test_neighbours_of_a_table_of_1000_are_told_apart(schedule, row):
    table = level_table(schedule, 1000, LevelRange())
    embedding = Sinusoid(128)(row(table, 0.5).c_noise.float())  # [1000, 128], each row of length 8
    torch.testing.assert_close(embedding.norm(dim=1), torch.full((1000,), 8.0))
    assert embedding.diff(dim=0).norm(dim=1).min() > 0.25


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_two_levels_of_a_table_look_alike(schedule):
    """Fast waves alone would tell neighbours apart and confuse the rest."""
    clock = LOG_CLOCK(level_table(schedule, 1000, LevelRange()), 0.5).c_noise.float()
    distance = torch.cdist(embedding := Sinusoid(128)(clock), embedding)
    assert (distance + 100 * torch.eye(1000)).min() > 0.25


def test_the_clock_is_not_rounded_with_the_network():
    clock = torch.tensor([-1.5, -1.4990, 0.3])
    exact = Sinusoid(16)(clock)
    assert torch.equal(Sinusoid(16).to(torch.bfloat16)(clock), exact)
    angles = clock[:, None] * torch.tensor([256 ** (k / 7) for k in range(8)])
    torch.testing.assert_close(exact, torch.cat([angles.sin(), angles.cos()], dim=1), rtol=0, atol=1e-4)


# --- normalisation


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 12, 20, 32, 48, 96, 200])
def test_groups_are_at_most_eight_of_at_least_four_channels(channels):
    norm = group_norm(channels)
    assert isinstance(norm, nn.GroupNorm)
    assert channels % norm.num_groups == 0
    assert 1 <= norm.num_groups <= 8
    assert channels / norm.num_groups >= min(4, channels)
    if channels % 32 == 0:
        assert norm.num_groups == 8


def test_channel_norm_is_over_the_channels_of_each_pixel():
    x = 3 * normal(2, 6, 4, 5) + 1
    y = NORMS["channel"](6)(x)
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2, 4, 5), rtol=0, atol=1e-6)
    torch.testing.assert_close(y.std(dim=1, correction=0), torch.ones(2, 4, 5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_normalisation_keeps_images_apart_and_learns_a_scale_and_a_shift_a_channel(norm):
    layer, x, ramp = NORMS[norm](8), normal(3, 8, 4, 4), torch.arange(8.0)
    plain = layer(x)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"weight": (8,), "bias": (8,)}
    with torch.no_grad():
        layer.weight.copy_(ramp)
        layer.bias.copy_(1 + ramp)
    together = layer(x)
    torch.testing.assert_close(together, plain * ramp[:, None, None] + 1 + ramp[:, None, None])
    for number in range(3):
        torch.testing.assert_close(layer(x[number : number + 1])[0], together[number])


def test_an_unknown_normalisation_names_the_nearest():
    with pytest.raises(Refusal, match=r"unknown normalisation 'groups': .*did you mean 'group'\?"):
        NORMS["groups"]


# --- attention and the way down


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (48, 1), (64, 2), (96, 3), (100, 2)])
def test_attention_is_the_softmax_over_all_pixels_of_each_head(channels, heads):
    layer = Attention(channels, "channel")
    assert layer.heads == heads
    x = normal(2, channels, 3, 5)
    pixels = layer.norm(x).flatten(2).transpose(1, 2)  # [B, HW, C]
    qkv = pixels @ layer.query_key_value.weight[:, :, 0, 0].T + layer.query_key_value.bias
    width, mixed = channels // heads, []
    for head in range(heads):
        q, k, v = (qkv[:, :, part * channels + head * width :][:, :, :width] for part in range(3))
        mixed.append(torch.softmax(q @ k.transpose(1, 2) / math.sqrt(width), dim=-1) @ v)
    out = torch.cat(mixed, dim=2) @ layer.output.weight[:, :, 0, 0].T + layer.output.bias
    everything = layer(x, torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(everything, x + out.transpose(1, 2).reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_where_asked_each_pixel_attends_to_itself_alone():
    layer = Attention(64, "channel")
    x = normal(3, 64, 3, 5)
    found = layer(x, torch.tensor([False, True, False]))
    together = layer(x, torch.zeros(3, dtype=torch.bool))
    for number in (0, 2):
        torch.testing.assert_close(found[number], together[number])
    value = torch.nn.functional.conv2d(
        layer.norm(x[1:2]), layer.query_key_value.weight[128:], layer.query_key_value.bias[128:]
    )
    torch.testing.assert_close(found[1:2], x[1:2] + layer.output(value), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[1], together[1], atol=1e-3)


def test_down_sees_the_four_pixels_of_each_square():
    down = Down(2, 8)
    with torch.no_grad():
        down.project.weight.copy_(torch.eye(8)[:, :, None, None])
        down.project.bias.zero_()
    x = normal(1, 2, 4, 6)
    y = down(x)
    assert y.shape == (1, 8, 2, 3)
    for row in range(2):
        for column in range(3):
            square = x[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(y[0, :, row, column], square.flatten())


# --- dropout


def dropout(rate: float, site: int = 0) -> SeededDropout:
    layer = SeededDropout(rate)
    layer.site = site
    return layer.train()


def test_dropout_leaves_everything_alone_when_not_training_or_at_rate_0():
    x = normal(2, 3, 4, 4)
    assert torch.equal(dropout(0.5).eval()(x), x)
    assert torch.equal(dropout(0.0)(x), x)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    layer = dropout(rate)
    key_dropout(layer, range(10))
    y = layer(torch.ones(10, 8, 16, 16))  # 20,480 numbers
    spread = 4 * math.sqrt(rate * (1 - rate) / y.numel())
    assert (y == 0).float().mean().item() == pytest.approx(rate, abs=spread)
    torch.testing.assert_close(y[y != 0], torch.full((int((y != 0).sum()),), 1 / (1 - rate)))


def test_an_image_drops_the_same_whatever_batch_it_is_in():
    layer, ones = dropout(0.5), torch.ones(5, 2, 3, 3)
    keys = [11, 12, 13, 14, 15]
    key_dropout(layer, keys)
    whole = layer(ones)
    for cuts in ([1, 4], [2, 3], [1, 1, 3]):
        parts, first = [], 0
        for count in cuts:
            key_dropout(layer, keys[first : first + count])
            parts.append(layer(ones[:count]))
            first += count
        assert torch.equal(torch.cat(parts), whole)
    key_dropout(layer, keys[::-1])
    assert torch.equal(layer(ones), whole.flip(0))


def test_images_and_layers_drop_differently_and_no_global_generator_is_touched():
    before = torch.get_rng_state()
    one, other, ones = dropout(0.5, site=1), dropout(0.5, site=2), torch.ones(2, 4, 8, 8)
    for layer in (one, other):
        key_dropout(layer, [3, 4])
    y = one(ones)
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y, other(ones))
    assert torch.equal(torch.get_rng_state(), before)


def test_where_guidance_runs_a_batch_twice_both_halves_drop_the_same():
    layer, ones = dropout(0.5), torch.ones(2, 2, 3, 3)
    key_dropout(layer, [3, 4])
    once = layer(ones)
    assert torch.equal(layer(torch.cat([ones, ones])), torch.cat([once, once]))


@pytest.mark.parametrize("keys", [(), (1, 2), (1, 2, 3, 4)])
def test_dropout_without_one_key_an_image_is_an_error(keys):
    layer = dropout(0.5)
    key_dropout(layer, keys)
    with pytest.raises(ValueError, match=f"found {len(keys)} for 3 images"):
        layer(torch.ones(3, 1, 2, 2))

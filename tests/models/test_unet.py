"""The U-Net: any size, zero at birth, told its level and its class, the same whatever the batch."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from noisette.base.config import from_plain
from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.base.shapes import NO_CLASS, NO_CLASS_NO_ATTENTION
from noisette.diffusion.precondition import PRECONDITIONS, denoiser
from noisette.models.layers import Attention, ResidualBlock, SeededDropout, key_dropout
from noisette.models.unet import UNet, UNetConfig, multiply_adds

TINY = UNetConfig(widths=(8, 12), blocks=1, patch=2, embedding=16)
CONFIGS = {
    "one level": UNetConfig(widths=(8,), blocks=1, patch=1, embedding=4),
    "three levels, two blocks": UNetConfig(widths=(4, 8, 12), blocks=2, patch=1, embedding=8),
    "patch 3": UNetConfig(widths=(8, 6), blocks=1, patch=3, embedding=8),
    "falling and odd widths": UNetConfig(widths=(13, 5), blocks=1, patch=2, embedding=6),
    "attention at every level": UNetConfig(widths=(4, 8), blocks=2, patch=2, attention_at=(2, 4), embedding=8),
    "channel norm and dropout": UNetConfig(widths=(4, 8), blocks=1, dropout=0.3, norm="channel", embedding=8),
}
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def born(config: UNetConfig = TINY, channels: int = 1, classes: int = 10, seed: int = 0) -> UNet:
    """A network at birth; every weight was NaN before, so one that is not born shows."""
    network = UNet(config, channels, classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    network.initialise(generator(seed, "birth"))
    return network.eval()


def awake(config: UNetConfig = TINY, channels: int = 1, classes: int = 10) -> UNet:
    """A network none of whose weights is zero any more."""
    network = born(config, channels, classes)
    random = generator("awake")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return network


def batch(
    size: int, channels: int = 1, height: int = 8, width: int = 8
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, clocks and labels, all different."""
    x = torch.randn(size, channels, height, width, generator=generator("batch", size))
    return x, torch.linspace(-1.2, 0.9, size), torch.arange(size) % 11 - 1


# --- any size, any configuration


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (33, 47), (64, 64), (1, 1), (1, 9), (7, 2)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_any_height_and_width_are_kept(size, channels):
    x, clock, label = batch(2, channels, *size)
    y = awake(channels=channels)(x, clock, label)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert y.abs().max() > 1e-3


@EVERY_CONFIG
@torch.no_grad()
def test_any_configuration_works_at_a_size_that_its_levels_do_not_divide(config):
    x, clock, label = batch(3, 2, 11, 7)
    y = awake(config, channels=2)(x, clock, label)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert y.abs().flatten(1).max(dim=1).values.min() > 1e-3


@torch.no_grad()
def test_a_size_that_is_not_divided_is_padded_with_its_edge_and_cropped():
    network, (x, clock, label) = awake(), batch(2, 1, 10, 7)
    rows, columns = torch.arange(12).clamp(max=9), torch.arange(8).clamp(max=6)
    padded = network(x[:, :, rows][:, :, :, columns], clock, label)
    assert torch.equal(network(x, clock, label), padded[:, :, :10, :7])


@pytest.mark.parametrize("size", [(8, 8), (4, 12)], ids=str)
@torch.no_grad()
def test_every_pixel_is_seen_and_drawn(size):
    """None is lost to a crop: a change anywhere changes the output there."""
    network, (x, clock, label) = awake(), batch(1, 1, *size)
    before = network(x, clock, label)
    for row, column in itertools.product(range(size[0]), range(size[1])):
        changed = x.clone()
        changed[0, 0, row, column] += 1
        assert network(changed, clock, label)[0, 0, row, column] != before[0, 0, row, column]


# --- birth


@EVERY_CONFIG
@torch.no_grad()
def test_at_birth_it_is_zero(config):
    x, clock, label = batch(3, 1, 8, 8)
    assert torch.equal(born(config)(x, clock, label), torch.zeros_like(x))


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
@pytest.mark.parametrize("row", PRECONDITIONS)
@torch.no_grad()
def test_at_birth_each_denoiser_is_exactly_c_skip_times_noisy(row, sigma):
    noisy, _, label = batch(3)
    c_skip = float(PRECONDITIONS[row](torch.tensor(sigma, dtype=torch.float64), 0.6).c_skip)
    assert torch.equal(denoiser(born(), PRECONDITIONS[row], 0.6)(noisy, sigma, label), c_skip * noisy)


@EVERY_CONFIG
@torch.no_grad()
def test_at_birth_no_residual_branch_adds_anything(config):
    network = born(config)
    blocks = [part for part in network.modules() if isinstance(part, ResidualBlock | Attention)]
    levels = len(config.widths)
    assert len(blocks) == config.blocks * (2 * levels - 1) + config.blocks * sum(
        1 if factor == config.factors()[-1] else 2 for factor in config.attention_at
    )
    for block in blocks:
        if isinstance(block, Attention):
            x = torch.randn(2, block.output.in_channels, 3, 3, generator=generator("x"))
            assert torch.equal(block(x, torch.tensor([False, True])), x)
        else:
            x = torch.randn(2, block.conv1.in_channels, 3, 3, generator=generator("x"))
            embedding = torch.randn(2, config.embedding, generator=generator("e"))
            assert torch.equal(block(x, embedding), block.shortcut(x))
            if block.conv1.in_channels == block.conv1.out_channels:
                assert torch.equal(block(x, embedding), x)


def test_birth_depends_on_its_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = born(CONFIGS["attention at every level"], seed=3)
    torch.manual_seed(2)
    again, other = (born(CONFIGS["attention at every level"], seed=seed) for seed in (3, 4))
    for (name, one), two in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.equal(first.stem.weight, other.stem.weight)
    torch.manual_seed(1)
    network = UNet(TINY, 1, 10)
    state = torch.get_rng_state()
    network.initialise(generator("birth"))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(state, before)  # torch's own birth drew from the global generator: ours must not


@EVERY_CONFIG
def test_birth_covers_every_weight(config):
    for name, parameter in born(config, channels=3).named_parameters():
        assert parameter.isfinite().all(), name


def test_weights_are_born_with_the_variance_that_keeps_variance():
    network = born(UNetConfig(widths=(64, 96), blocks=1, patch=1, attention_at=(2,), embedding=128), channels=8)
    checked = 0
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.weight.any():
            inputs = module.weight.shape[0 if isinstance(module, nn.ConvTranspose2d) else 1]
            area = module.kernel_size[0] ** 2 if isinstance(module, nn.Conv2d) else 1
            count = module.weight.numel()
            expected = (inputs * area) ** -0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=4 / (2 * count) ** 0.5), name
            assert not module.bias.any(), name
            checked += 1
    assert checked >= 10
    assert network.embed_class.weight.std().item() == pytest.approx(1, rel=0.1)


@EVERY_CONFIG
def test_a_few_steps_after_birth_every_weight_has_moved(config):
    """Zeros at birth must not be dead: the output wakes first, then the branches, their modulation, the embeddings."""
    network = born(config, classes=3).train()
    start = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    x, clock, _ = batch(8)
    for _ in range(5):
        key_dropout(network, range(8))
        optimizer.zero_grad()
        (network(x, clock, torch.arange(8) % 4 - 1) - x).square().mean().backward()
        optimizer.step()
    for (name, parameter), before in zip(network.named_parameters(), start, strict=True):
        rows = (parameter != before).reshape(len(before), -1).any(dim=1)
        assert rows.float().mean() > 0.5, name  # a unit or two may be dead by chance


# --- level and class


@torch.no_grad()
def test_level_and_class_change_the_picture_of_their_image_alone():
    network, (x, clock, label) = awake(), batch(4)
    before = network(x, clock, label)
    for changed in (
        network(x, clock + torch.tensor([0, 0.01, 0, 0]), label),
        network(x, clock, label + torch.tensor([0, 3, 0, 0])),
    ):
        same = (changed == before).flatten(1).all(dim=1)
        assert same.tolist() == [True, False, True, True]


@torch.no_grad()
def test_no_class_is_an_entry_of_its_own():
    network, (x, clock, _) = awake(classes=3), batch(5)
    assert network.embed_class.weight.shape[0] == 4
    same = x[:1].expand(5, -1, -1, -1), clock[:1].expand(5)
    drawn = network(*same, torch.tensor([0, 1, 2, NO_CLASS, NO_CLASS]))
    for one, two in itertools.combinations(range(4), 2):
        assert (drawn[one] - drawn[two]).abs().max() > 1e-3
    torch.testing.assert_close(drawn[3], drawn[4], rtol=0, atol=1e-5)
    network.embed_class.weight[3] = network.embed_class.weight[1]
    again = network(*same, torch.tensor([0, 1, 2, NO_CLASS, NO_CLASS]))
    assert torch.equal(again[:3], drawn[:3])
    torch.testing.assert_close(again[3], drawn[1], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["attention at every level", "one level"])
def test_without_class_and_attention_it_is_the_network_whose_pixels_attend_to_themselves(name, monkeypatch):
    network = awake(CONFIGS[name])
    x, clock = torch.randn(3, 1, 8, 8, generator=generator(2, "image")), torch.zeros(3)
    labels = torch.tensor([4, NO_CLASS_NO_ATTENTION, NO_CLASS])
    found = network(x, clock, labels)
    without = network(x, clock, torch.full((3,), NO_CLASS))
    kept = network(x, clock, torch.tensor([4, NO_CLASS, NO_CLASS]))
    whole = Attention.forward
    monkeypatch.setattr(Attention, "forward", lambda self, h, alone: whole(self, h, torch.ones_like(alone)))
    blind = network(x, clock, torch.full((3,), NO_CLASS))
    torch.testing.assert_close(found[0], kept[0])
    torch.testing.assert_close(found[1], blind[1])
    torch.testing.assert_close(found[2], without[2])
    assert torch.allclose(blind, without, atol=1e-4) == (name == "one level")  # which has no attention to lose


@torch.no_grad()
def test_a_network_without_classes_knows_only_no_class():
    network, (x, clock, _) = awake(classes=0), batch(2)
    assert network(x, clock, torch.tensor([NO_CLASS, NO_CLASS])).isfinite().all()


def test_labels_matter_after_a_step_and_only_to_classes_that_were_seen():
    network = born().train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    x, clock, _ = batch(6)
    label = torch.tensor([0, 1, 2, 0, 1, NO_CLASS])
    before = network.embed_class.weight.detach().clone()
    for _ in range(4):  # output layer, last convolutions, modulation, embeddings: zeros wake one after the other
        optimizer.zero_grad()
        (network(x, clock, label) - x).square().mean().backward()
        optimizer.step()
    moved = (network.embed_class.weight != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [0, 1, 2, 10]
    network.eval()
    with torch.no_grad():
        assert (network(x, clock, label) - network(x, clock, label.roll(1))).abs().max() > 1e-6


# --- the batch


@torch.no_grad()
def test_a_batch_as_large_as_the_width_is_drawn_as_its_images_alone():
    network, (x, clock, label) = awake(UNetConfig(widths=(8, 12), blocks=1, attention_at=(4,))), batch(28, 1, 28, 28)
    together = network(x, clock, label)
    for number in (0, 1, 13, 27):
        row = slice(number, number + 1)
        torch.testing.assert_close(network(x[row], clock[row], label[row]), together[row], rtol=1e-4, atol=1e-5)


@EVERY_CONFIG
@torch.no_grad()
def test_evaluating_twice_gives_the_same(config):
    network, (x, clock, label) = awake(config), batch(3)
    assert torch.equal(network(x, clock, label), network(x, clock, label))


@torch.no_grad()
def test_dropout_acts_in_training_alone_and_in_every_block():
    config = UNetConfig(widths=(8, 12), blocks=2, dropout=0.5, embedding=16)
    network, (x, clock, label) = awake(config), batch(4)
    sites = [module.site for module in network.modules() if isinstance(module, SeededDropout)]
    assert len(set(sites)) == len(sites) == 6
    plain = network(x, clock, label)
    key_dropout(network.train(), [5, 6, 7, 8])
    dropped = network(x, clock, label)
    assert (dropped - plain).abs().flatten(1).max(dim=1).values.min() > 1e-3
    key_dropout(network, [5, 6])
    torch.testing.assert_close(network(x[:2], clock[:2], label[:2]), dropped[:2], rtol=1e-4, atol=1e-5)


@EVERY_CONFIG
@torch.no_grad()
def test_the_layout_of_memory_changes_nothing(config):
    network, (x, clock, label) = awake(config, channels=3), batch(3, 3, 12, 10)
    drawn = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = network.to(memory_format=layout)
        drawn += [network(x.contiguous(memory_format=kind), clock, label) for kind in (layout, torch.channels_last)]
    for other in drawn[1:]:
        torch.testing.assert_close(other, drawn[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_it_computes_in_the_precision_of_its_weights():
    network, (x, clock, label) = awake(), batch(2)
    exact = network.double()(x.double(), clock.double(), label)
    assert exact.dtype == torch.float64
    half = network.to(torch.bfloat16)(x.to(torch.bfloat16), clock, label)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), exact, rtol=0.1, atol=0.1 * float(exact.std()))


# --- what it costs


def test_multiply_adds_equal_a_count_by_hand():
    network = UNet(UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=6), 1, 10)
    by_hand = {
        "level embedding": 6 * 6 + 6 * 6,
        "stem, 4 x 4 pixels": 16 * (4 * 4 * 9),
        "block on the way down": 16 * (4 * 4 * 9) + 6 * 8 + 16 * (4 * 4 * 9),
        "down, 2 x 2 pixels": 4 * (16 * 8),
        "bottleneck": 4 * (8 * 8 * 9) + 6 * 16 + 4 * (8 * 8 * 9),
        "up: every pixel sees one of 8 channels": 16 * (8 * 4),
        "block on the way up, with its shortcut": 16 * (8 * 4 * 9) + 6 * 8 + 16 * (4 * 4 * 9) + 16 * (8 * 4),
        "output": 16 * (4 * 4 * 9),
    }
    assert multiply_adds(network, 8, 8) == sum(by_hand.values())
    assert multiply_adds(network, 7, 5) == sum(by_hand.values())  # padded


@pytest.mark.parametrize("name", ["three levels, two blocks", "patch 3", "channel norm and dropout"])
def test_multiply_adds_equal_torchs_own_count(name):
    network = born(CONFIGS[name], channels=3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 12, 12), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    assert 2 * multiply_adds(network, 12, 12) == counter.get_total_flops()


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_as_it_was(training):
    network = awake(CONFIGS["channel norm and dropout"]).train(training)
    assert multiply_adds(network, 8, 8) > 0
    assert all(module.training == training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


# --- configurations


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": []}, r"widths \(\): expected positive numbers"),
        ({"widths": [8, 0]}, r"widths \(8, 0\): expected positive numbers"),
        ({"widths": 8}, r"widths: expected .*, found 8"),
        ({"blocks": 0}, "blocks 0: expected at least 1"),
        ({"patch": 0}, "patch 0: expected a number from 1 to 16"),
        ({"patch": 17}, "patch 17: expected a number from 1 to 16"),
        ({"embedding": 7}, "embedding 7: expected an even number of at least 4"),
        ({"embedding": 2}, "embedding 2: expected an even number of at least 4"),
        ({"dropout": 1.0}, r"dropout 1\.0: expected a rate from 0 up to 1"),
        ({"dropout": -0.1}, r"dropout -0\.1: expected a rate from 0 up to 1"),
        ({"dropout": float("nan")}, "dropout nan: expected a rate from 0 up to 1"),
        ({"norm": "chanel"}, "unknown normalisation 'chanel': .*did you mean 'channel'"),
        ({"attention_at": [3]}, "unknown attention_at 3: expected one of 2, 4"),
        ({"width": [8]}, "unknown key 'width': .*did you mean 'widths'"),
    ],
    ids=str,
)
def test_a_bad_configuration_is_refused_in_one_line(settings, message):
    with pytest.raises(Refusal, match=message) as caught:
        from_plain(UNetConfig, settings, "network")
    assert "\n" not in str(caught.value)


def test_levels_are_named_by_how_much_smaller_they_are():
    assert UNetConfig(widths=(8, 8, 8), patch=1).factors() == (1, 2, 4)
    assert UNetConfig(widths=(8, 8), patch=3).factors() == (3, 6)
    attended = UNet(UNetConfig(widths=(8, 8, 8), patch=1, blocks=1, attention_at=(2,)), 1, 2)
    kinds = [[type(part).__name__ for part in stage] for stage in attended.down_stages]
    assert kinds == [["ResidualBlock"], ["ResidualBlock", "Attention"]]
    assert [type(part).__name__ for part in attended.bottleneck] == ["ResidualBlock"]
    assert [type(part).__name__ for part in attended.up_stages[1]] == ["ResidualBlock", "Attention"]

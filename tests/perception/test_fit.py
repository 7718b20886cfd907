"""Training a classifier: it learns, from its seed alone, on images that are moved about as they should be."""

import math

import pytest
import torch

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.seeds import generator
from noisette.perception.classifier import NETWORKS, Classifier, ClassifierConfig
from noisette.perception.fit import FitConfig, augment, fit
from noisette.perception.read import read

QUICK = FitConfig(images=1280, batch_size=32)
STILL = {"rotation": 0.0, "zoom": 0.0, "shift": 0.0}


def fitted(images, labels, config=QUICK, network="plain"):
    classifier = Classifier(ClassifierConfig(network, 64), *images.shape[1:], classes=2)
    return classifier, list(fit(classifier, images, labels, config))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(1, 12, 16), (3, 9, 8)])
def test_it_learns_what_it_has_not_seen(stripes, network, size):
    classifier, events = fitted(*stripes(size=size), network=network)
    images, labels = stripes(100, size, seed=1)
    assert (read(classifier, images).guesses == labels).float().mean() > 0.95
    assert events[-1].loss < events[0].loss
    assert not classifier.training


@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns_in_bfloat16_with_weights_in_float32(stripes, network):
    def trained(precision):
        classifier = Classifier(ClassifierConfig(network, 64), 1, 12, 16, 2)
        list(fit(classifier, *stripes(), QUICK, precision))
        return classifier

    half, whole = trained(torch.bfloat16), trained(torch.float32)
    images, labels = stripes(100, seed=1)
    assert (read(half, images).guesses == labels).float().mean() > 0.95
    assert all(weight.dtype == torch.float32 for weight in half.parameters())
    assert not torch.equal(half.head.weight, whole.head.weight)


def test_the_seed_decides_the_weights_and_nothing_else_does(stripes):
    def weights(seed, disturbed=0):
        torch.manual_seed(disturbed)
        before = torch.get_rng_state()
        short = FitConfig(images=128, batch_size=32, seed=seed)
        classifier = Classifier(ClassifierConfig(features=64), 1, 12, 16, 2)
        torch.manual_seed(disturbed)
        for _ in fit(classifier, *stripes(), short):
            assert torch.equal(torch.get_rng_state(), before)
            torch.rand(1)
            before = torch.get_rng_state()
        return classifier.state_dict()

    one, again, other = weights(0), weights(0, disturbed=1), weights(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("count", "images", "batch", "epochs"), [(64, 192, 32, 3), (50, 120, 20, 3), (10, 30, 200, 3), (64, 1, 32, 1)]
)
def test_epochs_are_whole_and_follow_from_the_images_to_see(stripes, count, images, batch, epochs):
    _, events = fitted(*stripes(count), FitConfig(images=images, batch_size=batch))
    assert [event.epoch for event in events] == list(range(1, epochs + 1))
    assert {event.epochs for event in events} == {epochs}
    assert all(math.isfinite(event.loss) for event in events)
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_the_rate_rises_for_a_fifth_and_falls_to_nothing(stripes, monkeypatch):
    rates = []

    class Noted(torch.optim.AdamW):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            return super().step()

    monkeypatch.setattr("torch.optim.AdamW", Noted)
    fitted(*stripes(), FitConfig(images=640, batch_size=32, learning_rate=0.01))
    highest = rates.index(max(rates))
    assert len(rates) == 20
    assert highest in (3, 4)
    assert 0.008 < max(rates) <= 0.01
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_loss_that_is_not_finite_stops_it(stripes):
    images, labels = stripes()
    images[5] = math.inf
    with pytest.raises(NoisetteError, match="loss of epoch 1 is nan: expected a lower learning rate"):
        fitted(images, labels)


def test_images_move_otherwise_each_time_and_for_each_seed(stripes, monkeypatch):
    seen = []
    monkeypatch.setattr("noisette.perception.fit.augment", lambda *given: seen.append(augment(*given)) or seen[-1])
    images = stripes(1)[0].expand(4, -1, -1, -1)
    for seed in (0, 1):
        fitted(images, torch.arange(4) % 2, FitConfig(images=8, batch_size=4, seed=seed))
    assert len({tuple(one.flatten().tolist()) for batch in seen for one in batch}) == 2 * 8


def test_one_image_is_refused(stripes):
    with pytest.raises(Refusal, match="1 images to train on: expected at least 2"):
        fitted(*stripes(1))


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"images": 0},
            {"images": 2**63},
            {"batch_size": 1},
            {"learning_rate": 0.0},
            {"learning_rate": math.nan},
            {"zoom": 1.0},
        ),
        *({"weight_decay": -0.1}, {"smoothing": 1.0}, {"shift": -0.1}, {"rotation": 181.0}, {"rotation": -1.0}),
    ],
)
def test_settings_out_of_range_are_refused(changes):
    (name,) = changes
    with pytest.raises(Refusal, match=f"{name} .*: expected "):
        FitConfig(**changes)


# --- augmentation


def disc(count, height, width, radius):
    """A white disc in the middle of black, its edge soft over four pixels."""
    rows, columns = torch.arange(height)[:, None] - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    distance = (rows**2 + columns**2).sqrt()
    return ((radius - distance) / 2).clamp(-1, 1).expand(count, 1, height, width)


def test_without_any_movement_an_image_stays(stripes):
    images, _ = stripes(size=(3, 9, 14))
    torch.testing.assert_close(augment(images, FitConfig(**STILL), generator(0)), images, atol=1e-5, rtol=0)


def test_turning_an_oblong_distorts_nothing():
    images = disc(20, 20, 33, 6)
    turned = augment(images, FitConfig(**STILL | {"rotation": 180.0}), generator(0))
    torch.testing.assert_close(turned, images, atol=0.2, rtol=0)


def test_images_turn_both_ways_and_no_further_than_asked():
    rows, columns = torch.arange(33)[:, None] - 16.0, torch.arange(33) - 16.0
    bars = (2 - rows.abs()).clamp(-1, 1).expand(200, 1, 33, 33)
    turned = augment(bars, FitConfig(**STILL | {"rotation": 20.0}), generator(0)) + 1
    mass = turned * (rows**2 + columns**2 < 225)
    angles = 0.5 * torch.atan2(
        2 * (mass * rows * columns).sum((1, 2, 3)), (mass * (columns**2 - rows**2)).sum((1, 2, 3))
    )
    degrees = angles.rad2deg()
    assert -20.5 < degrees.min() < -17
    assert 17 < degrees.max() < 20.5


def test_images_move_both_ways_and_no_further_than_asked():
    images = disc(200, 24, 40, 5)
    moved = augment(images, FitConfig(**STILL | {"shift": 0.1}), generator(0)) + 1
    mass = moved.sum((1, 2, 3))
    down = (moved * torch.arange(24)[:, None]).sum((1, 2, 3)) / mass - 11.5
    right = (moved * torch.arange(40)).sum((1, 2, 3)) / mass - 19.5
    for found, most in ((down, 2.4), (right, 4.0)):
        assert -most - 0.05 < found.min() < -0.9 * most
        assert 0.9 * most < found.max() < most + 0.05


def test_images_grow_and_shrink_no_further_than_asked():
    images = disc(200, 48, 48, 16)
    zoomed = augment(images, FitConfig(**STILL | {"zoom": 0.2}), generator(0))
    areas = (zoomed > 0).sum((1, 2, 3)) / (images[0] > 0).sum()
    assert 0.62 < areas.min() < 0.7
    assert 1.38 < areas.max() < 1.46


def test_what_comes_in_from_outside_repeats_the_border():
    images = torch.full((8, 3, 10, 12), 0.7)
    torch.testing.assert_close(augment(images, FitConfig(), generator(0)), images)


def test_every_image_moves_in_its_own_way(stripes):
    image = stripes(1)[0].expand(6, -1, -1, -1)
    moved = augment(image, FitConfig(), generator(0))
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 6
    assert torch.equal(moved, augment(image, FitConfig(), generator(0)))

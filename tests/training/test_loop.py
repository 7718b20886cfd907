"""The training loop: events in order, horizons in images or minutes, every draw keyed by its position."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor, nn

from noisette.base.seeds import generator
from noisette.base.shapes import NO_CLASS
from noisette.data.batches import Batch
from noisette.diffusion.objective import TRAINING_LEVELS, DiffusionConfig, Objective
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.loop import (
    BUCKETS,
    Diverged,
    Finished,
    Stepped,
    Validated,
    draw_randomness,
    gradient_seconds,
    train,
)

DIFFUSION = DiffusionConfig(data_std=0.6, noise_log_mean=0.0)


def brief(events) -> list[str]:
    """Events as words: s16 a step after which 16 images are seen, v16 a validation, f16 the end."""
    letters = {Stepped: "s", Validated: "v", Finished: "f"}
    return [f"{letters[type(event)]}{event.images_seen}" for event in events]


def of(kind, events) -> list:
    return [event for event in events if isinstance(event, kind)]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


class Scripted(Objective):
    """An objective whose validation losses are written beforehand; training is as ever."""

    def __init__(self, lesson, losses: list[float]) -> None:
        super().__init__(lesson.objective.config)
        self.average, self.losses = lesson.state.average, iter(losses)

    def per_image_loss(self, network, clean, label, noise_level, noise):
        if network is self.average:
            return torch.full((len(clean),), next(self.losses))
        return super().per_image_loss(network, clean, label, noise_level, noise)


# --- events and horizons


def test_steps_count_images_and_validations_come_at_multiples_and_at_the_end(lesson):
    events = lesson(images=100, batch_size=16, validate_every=32).run()
    assert " ".join(brief(events)) == "s16 s32 v32 s48 s64 v64 s80 s96 v96 s112 v112 f112"
    assert events[-1].reason == "horizon reached"


def test_a_multiple_that_is_jumped_over_is_made_up_for_once(lesson):
    events = lesson(images=96, batch_size=16, validate_every=24).run()
    assert " ".join(brief(events)) == "s16 s32 v32 s48 v48 s64 s80 v80 s96 v96 f96"
    events = lesson(images=64, batch_size=32, validate_every=10).run()
    assert " ".join(brief(events)) == "s32 v32 s64 v64 f64"


def test_without_held_out_images_there_is_no_validation(lesson):
    assert " ".join(brief(lesson(images=32, validate_every=16).run(validation=None))) == "s16 s32 f32"


def test_a_horizon_that_is_behind_ends_at_once(lesson):
    case = lesson(images=32)
    assert brief(case.run()) == ["s16", "s32", "v32", "f32"]
    assert brief(case.run()) == ["f32"]


class Clock:
    """Ten seconds pass between two looks at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def test_a_horizon_in_minutes_counts_the_seconds_of_steps_and_validations(lesson):
    case = lesson(images=None, minutes=1.0, batch_size=16, validate_every=32)
    events = case.run(clock=Clock())
    assert " ".join(brief(events)) == "s16 s32 v32 s48 s64 v64 f64"  # 6 times 10 seconds
    assert case.state.progress.seconds == pytest.approx(60, abs=1)


def test_whichever_horizon_comes_first_ends(lesson):
    assert brief(lesson(images=32, minutes=1.0).run(validation=None, clock=Clock()))[-1] == "f32"
    assert brief(lesson(images=10**6, minutes=0.5).run(validation=None, clock=Clock()))[-1] == "f48"


def test_the_callers_time_is_not_training_time(lesson):
    case, clock = lesson(images=64, validate_every=16), Clock()
    expected = 0
    for event in case.events(clock=clock):
        expected += 0 if isinstance(event, Finished) else 10
        assert case.state.progress.seconds == pytest.approx(expected)
        clock.now += 10_000
    assert expected == 80


def test_cosine_follows_whichever_horizon_is_nearer(lesson):
    case = lesson(images=10**6, minutes=1.0, rate="cosine", learning_rate=1.0, batch_size=16)
    rates = [event.learning_rate for event in of(Stepped, case.run(validation=None, clock=Clock()))]
    assert rates == pytest.approx([(1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)])


def test_the_rates_of_both_optimisers_follow_the_course(lesson):
    case = lesson(images=64, optimizer="muon", learning_rate=0.02, adamw_rate=0.004, warmup_images=32, batch_size=16)
    for share, event in zip((1 / 32, 17 / 32, 1, 1), case.events(validation=None), strict=False):
        assert event.learning_rate == pytest.approx(0.02 * share)
        groups = [optimizer.param_groups[0]["lr"] for optimizer in case.state.optimizers]
        assert groups == pytest.approx([0.02 * share, 0.004 * share])


# --- what follows from a validation


def test_the_plateau_rate_drops_after_its_patience_and_counts_anew(lesson):
    losses = [1.0, 0.9, 0.9, 0.95, 0.99, 0.8, 0.85, 0.81, 0.8, 0.8]
    case = lesson(images=160, batch_size=16, validate_every=16, rate="plateau", plateau_patience=2, plateau_factor=0.1)
    case.objective = Scripted(case, losses)
    events = case.run()
    validated, rates = of(Validated, events), [event.learning_rate for event in of(Stepped, events)]
    assert [event.loss for event in validated] == pytest.approx(losses)
    assert [n for n, event in enumerate(validated) if event.is_best] == [0, 1, 5]  # as good is not better
    assert [n for n, event in enumerate(validated) if event.rate_dropped] == [3, 7, 9]
    assert [rate / 1e-3 for rate in rates] == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 2)
    progress = case.state.progress
    assert (progress.best_loss, progress.best_images_seen) == (pytest.approx(0.8), 96)


@pytest.mark.parametrize("rate", ["constant", "cosine"])
def test_other_rates_never_drop(lesson, rate):
    case = lesson(images=64, batch_size=16, validate_every=16, rate=rate, plateau_patience=1)
    case.objective = Scripted(case, [1.0, 2.0, 3.0, 4.0])
    assert not any(event.rate_dropped for event in of(Validated, case.run()))
    assert case.state.progress.rate_drops == 1.0


def test_training_stops_early_after_its_patience(lesson):
    case = lesson(images=10**6, batch_size=16, validate_every=16, patience=3)
    case.objective = Scripted(case, [1.0, 2.0, 2.0, 0.5, 0.6, 0.5, 0.7, 0.1])
    events = case.run()
    assert brief(events)[-3:] == ["s112", "v112", "f112"]
    assert events[-1].reason == "no better validation loss in 3 validations"
    assert brief(case.run()) == ["f112"]  # and says so again


def test_patience_0_never_stops(lesson):
    case = lesson(images=96, batch_size=16, validate_every=16, patience=0)
    case.objective = Scripted(case, [1.0, *[2.0] * 5])
    assert brief(case.run())[-1] == "f96"


# --- validation


def test_validation_is_of_the_average_at_fixed_levels_and_noise(lesson):
    case = lesson(
        images=64, batch_size=16, validate_every=16, learning_rate=1e-2, ema_halflife_images=1000, ema_ramp=1.0
    )
    found = []
    for event in case.events():
        if isinstance(event, Validated):
            average = copy.deepcopy(case.state.average)
            found.append((event, average, copy.deepcopy(case.state.network)))
    for event, average, network in found:
        for shown, equal in ((average, True), (network, False)):
            other = lesson(images=64, validate_every=64)
            other.state.average = shown
            other.state.progress.images_seen = 64
            again = next(other.events())
            assert isinstance(again, Validated)
            assert ((again.loss, again.bucket_losses) == (event.loss, event.bucket_losses)) == equal


def test_validation_touches_neither_weights_nor_chance_nor_training(lesson):
    case = lesson(images=32, batch_size=16, validate_every=16, network=UNetConfig((4, 8), 1, 2, (), 8, 0.3))
    events = case.events()
    next(events)
    before, chance = weights(case.state.network), torch.get_rng_state()
    average = weights(case.state.average)
    assert isinstance(next(events), Validated)
    assert_same(weights(case.state.network), before)
    assert_same(weights(case.state.average), average)
    assert torch.equal(torch.get_rng_state(), chance)
    assert case.state.network.training
    assert not case.state.average.training


def test_a_validation_of_more_images_than_fit_at_once_is_their_mean(lesson):
    case = lesson(images=16, batch_size=16, validate_every=16)
    images = torch.rand(600, 1, 8, 8, generator=generator("many")) * 2 - 1
    held_out = Batch(images, torch.arange(600) % 3, range(600))
    seen = []

    class Watched(Objective):
        def per_image_loss(self, network, clean, label, noise_level, noise):
            loss = super().per_image_loss(network, clean, label, noise_level, noise)
            if network is case.state.average:
                seen.append((clean, label, loss))
            return loss

    case.objective = Watched(DIFFUSION)
    (event,) = of(Validated, case.run(validation=held_out))
    clean, label, loss = (torch.cat(part) for part in zip(*seen, strict=True))
    assert torch.equal(clean, images)
    assert torch.equal(label, held_out.labels)
    assert event.loss == pytest.approx(loss.mean().item(), rel=1e-6)
    assert np.mean(event.bucket_losses) == pytest.approx(event.loss, rel=0.01)


@pytest.mark.parametrize("levels", TRAINING_LEVELS)
@pytest.mark.parametrize("schedule", ["linear", "karras"])
def test_each_bucket_holds_the_losses_of_the_levels_between_its_edges(lesson, levels, schedule):
    class LevelAsLoss(Objective):
        def per_image_loss(self, network, clean, label, noise_level, noise):
            return noise_level

    case = lesson(images=16, batch_size=16)
    case.objective = LevelAsLoss(DiffusionConfig(data_std=0.6, training_levels=levels, schedule=schedule))
    case.state.progress.images_seen = 16
    images = torch.zeros(400, 1, 8, 8)
    event = next(case.events(validation=Batch(images, torch.zeros(400, dtype=torch.int64), range(400))))
    assert isinstance(event, Validated)
    assert len(event.bucket_losses) == BUCKETS == len(event.bucket_edges) - 1
    assert all(low < high for low, high in itertools.pairwise(event.bucket_edges))
    for loss, (low, high) in zip(event.bucket_losses, itertools.pairwise(event.bucket_edges), strict=True):
        assert low <= loss <= high


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 12])
def test_of_few_held_out_images_no_bucket_is_empty(lesson, count):
    case = lesson(images=16, batch_size=16)
    case.state.progress.images_seen = 16
    images = torch.rand(count, 1, 8, 8, generator=generator("few"))
    event = next(case.events(validation=Batch(images, torch.zeros(count, dtype=torch.int64), range(count))))
    assert isinstance(event, Validated)
    buckets = len(event.bucket_losses)
    assert 1 <= buckets <= min(count, BUCKETS)
    assert buckets == len(event.bucket_edges) - 1
    assert all(map(math.isfinite, event.bucket_losses))
    assert event.bucket_edges[0] == pytest.approx(case.objective.draw_levels(torch.tensor([0.0])).item())
    assert min(event.bucket_losses) <= event.loss <= max(event.bucket_losses)


# --- the gradient


def doubled(case, draw=None):
    """The lesson in float64, where rounding is far below what a wrong factor would do."""
    case.state.network.double()
    case.state.average.double()
    for optimizer in case.state.optimizers:
        for values in optimizer.state.values():
            for key, tensor in values.items():
                values[key] = tensor.double() if key != "step" else tensor

    def in_float64(first: int, count: int) -> Batch:
        batch = case.batches.at(first, count)
        return Batch(batch.images.double(), batch.labels, batch.position)

    return case.run(validation=None, draw=in_float64)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_accumulated_parts_are_the_whole_batch(lesson, optimizer):
    network = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, dropout=0.3)
    found = []
    for accumulation in (1, 4, 16):
        case = lesson(
            network=network,
            images=48,
            accumulation=accumulation,
            optimizer=optimizer,
            label_drop=0.5,
            gradient_clip=0.1,
        )
        events = doubled(case)
        found.append((weights(case.state.network), [(e.loss, e.gradient_norm) for e in of(Stepped, events)]))
    (whole, told), *others = found
    for other, also in others:
        np.testing.assert_allclose(also, told, rtol=1e-9)
        for name in whole:
            torch.testing.assert_close(other[name], whole[name], rtol=0, atol=1e-9)
    born = weights(lesson(network=network).state.network)
    assert all((whole[name] - born[name].double()).abs().max() > 1e-6 for name in ("output.weight", "output.bias"))


def test_the_loss_is_the_mean_over_the_batch(lesson):
    case = lesson(batch_size=8, images=8, accumulation=2)
    network, batch = copy.deepcopy(case.state.network), case.batches.at(0, 8)
    label, levels, noise = draw_randomness(case.objective, case.config, batch)
    expected = case.objective.per_image_loss(network, batch.images, label, levels, noise).mean()
    (event, *_) = case.run(validation=None)
    assert event.loss == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    assert event.gradient_norm == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.parametrize("limit", [0.0, 0.05, 1e6])
def test_the_gradient_is_clipped_to_its_limit_and_reported_before(lesson, limit):
    case = lesson(images=16, gradient_clip=limit)
    (event, *_) = case.run(validation=None)
    left = torch.cat([p.grad.flatten() for p in case.state.network.parameters()]).norm().item()
    assert event.gradient_norm > 0.1
    assert left == pytest.approx(0.05 if limit == 0.05 else event.gradient_norm, rel=1e-4)


def test_training_learns(lesson):
    losses = [event.loss for event in of(Stepped, lesson(images=1600, learning_rate=5e-3).run(validation=None))]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_the_average_follows_by_its_half_life(lesson):
    case = lesson(images=48, ema_halflife_images=16, ema_ramp=1e9)
    history = [weights(case.state.network)]
    for event in case.events(validation=None):
        if isinstance(event, Stepped):
            history.append(weights(case.state.network))
    for name, average in weights(case.state.average).items():
        expected = sum(share * step[name] for share, step in zip((1 / 8, 1 / 8, 1 / 4, 1 / 2), history, strict=True))
        torch.testing.assert_close(average, expected)


# --- divergence


def test_a_weight_that_is_not_a_number_stops_the_run_before_the_step(lesson):
    case = lesson(images=64)
    events = case.events(validation=None)
    next(events)
    with torch.no_grad():
        case.state.network.bottleneck[0].conv1.weight[0, 0, 0, 0] = float("nan")
    before = weights(case.state.network)
    moments = {id(p): copy.deepcopy(v) for o in case.state.optimizers for p, v in o.state.items()}
    with pytest.raises(Diverged, match=r"images 16 to 31: loss nan") as caught:
        next(events)
    assert "value: parameter bottleneck.0.conv1.weight" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert case.state.progress.images_seen == 16
    for name, parameter in case.state.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], rtol=0, atol=0, equal_nan=True)
    for optimizer in case.state.optimizers:
        for parameter, values in optimizer.state.items():
            assert all(torch.equal(values[key], moments[id(parameter)][key]) for key in values)


def test_an_image_that_is_not_finite_names_its_batch_and_leaves_good_weights(lesson):
    case = lesson(images=128, accumulation=2)

    def spoiled(first: int, count: int) -> Batch:
        batch = case.batches.at(first, count)
        if 40 in batch.position:
            batch.images[40 - first, 0, 3, 3] = math.inf
        return batch

    seen = []
    with pytest.raises(Diverged, match="images 32 to 47"):
        seen.extend(case.events(validation=None, draw=spoiled))
    assert brief(seen) == ["s16", "s32"]
    assert all(parameter.isfinite().all() for parameter in case.state.network.parameters())
    assert all(parameter.isfinite().all() for parameter in case.state.average.parameters())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_is_named_by_its_own_parameter(lesson, bad, precision, monkeypatch):
    case = lesson(images=64)
    from noisette.training import loop

    hand_over = loop.Worker.hand_over_gradients

    def spoil(worker) -> None:
        hand_over(worker)
        worker.network.bottleneck[0].conv2.bias.grad[2] = bad

    monkeypatch.setattr(loop.Worker, "hand_over_gradients", spoil)
    before = weights(case.state.network)
    with pytest.raises(Diverged, match=r"first bad gradient: parameter bottleneck\.0\.conv2\.bias"):
        case.run(validation=None, precision=precision)
    assert_same(weights(case.state.network), before)


# --- chance, keyed by position


def positions(case, first: int, count: int, shape=(1, 4, 4)) -> Batch:
    return Batch(torch.zeros(count, *shape), torch.arange(first, first + count) % 3, range(first, first + count))


@given(start=some.integers(0, 10**7), cuts=some.lists(some.integers(1, 9), min_size=1, max_size=6))
def test_what_is_drawn_depends_on_the_position_alone(start, cuts):
    objective, config = Objective(DIFFUSION), TrainingConfig(label_drop=0.5, seed=3)
    whole = draw_randomness(objective, config, positions(None, start, sum(cuts)))
    parts, first = [], start
    for count in cuts:
        parts.append(draw_randomness(objective, config, positions(None, first, count)))
        first += count
    for one, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(pieces))


def test_what_is_drawn_differs_by_position_and_by_seed():
    objective = Objective(DIFFUSION)
    _, levels, noise = draw_randomness(objective, TrainingConfig(seed=1), positions(None, 0, 50))
    assert len(set(levels.tolist())) == 50
    assert len({image.numpy().tobytes() for image in noise}) == 50
    _, other_levels, other_noise = draw_randomness(objective, TrainingConfig(seed=2), positions(None, 0, 50))
    assert not set(levels.tolist()) & set(other_levels.tolist())
    assert not torch.isclose(noise, other_noise).all(dim=(1, 2, 3)).any()
    assert noise.mean().item() == pytest.approx(0, abs=4 / noise.numel() ** 0.5)
    assert noise.std().item() == pytest.approx(1, abs=4 / (2 * noise.numel()) ** 0.5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_in_their_share_and_otherwise_kept(share):
    batch = positions(None, 1000, 4000, (1, 1, 1))
    label, levels, noise = draw_randomness(Objective(DIFFUSION), TrainingConfig(label_drop=share), batch)
    dropped = label == NO_CLASS
    assert dropped.float().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))
    assert torch.equal(label[~dropped], batch.labels[~dropped])
    _, same_levels, same_noise = draw_randomness(Objective(DIFFUSION), TrainingConfig(label_drop=0.3), batch)
    assert torch.equal(levels, same_levels)  # the rate of the drop changes nothing else
    assert torch.equal(noise, same_noise)


@pytest.mark.parametrize("levels", TRAINING_LEVELS)
@pytest.mark.parametrize("start", [0, 48_000, 123_456_789])
def test_every_batch_covers_the_distribution_of_levels_evenly(levels, start):
    """The star discrepancy of 128 levels is below 3/128; independent draws would have about 10/128."""
    objective = Objective(DiffusionConfig(data_std=0.6, training_levels=levels, schedule="log-linear", table_steps=999))
    _, drawn, _ = draw_randomness(objective, TrainingConfig(), positions(None, start, 128, (1, 1, 1)))
    many = objective.draw_levels((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000).sort().values
    ranks = torch.searchsorted(many, drawn.double().sort().values) / 100_000
    steps = torch.arange(129) / 128
    discrepancy = torch.maximum((steps[1:] - ranks).abs().max(), (ranks - steps[:-1]).abs().max())
    assert discrepancy < 3 / 128


def test_training_does_not_touch_the_global_generator(lesson):
    state = torch.get_rng_state()
    network = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, dropout=0.5)
    lesson_run = lesson(network=network, images=32, validate_every=16, label_drop=0.5)
    torch.set_rng_state(state)
    lesson_run.run()
    assert torch.equal(torch.get_rng_state(), state)


# --- bfloat16


def test_in_bfloat16_only_the_gradients_are_rounded(lesson):
    dtypes = set()

    def watch(module, arguments) -> None:
        if isinstance(module, nn.Conv2d):
            dtypes.add((module.training, arguments[0].dtype))

    found = {}
    for precision in (torch.float32, torch.bfloat16):
        case = lesson(images=64, validate_every=64, learning_rate=1e-3)
        hook = nn.modules.module.register_module_forward_pre_hook(watch)
        events = case.run(precision=precision)
        hook.remove()
        found[precision] = [event.loss for event in events[:-1]]
        for module in (case.state.network, case.state.average):
            assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
        assert {parameter.grad.dtype for parameter in case.state.network.parameters()} == {torch.float32}
    trained, validated = True, False
    assert dtypes == {(trained, torch.float32), (trained, torch.bfloat16), (validated, torch.float32)}
    assert found[torch.bfloat16] == pytest.approx(found[torch.float32], rel=0.02)
    assert found[torch.bfloat16] != found[torch.float32]


def test_bfloat16_keeps_changes_that_bfloat16_weights_would_round_away(lesson):
    case = lesson(images=32, learning_rate=1e-6)
    with torch.no_grad():
        case.state.network.output.bias.fill_(1.0)
    case.run(validation=None, precision=torch.bfloat16)
    moved = (case.state.network.output.bias - 1).abs()
    assert (moved > 1e-7).all()
    assert (moved < 1e-5).all()


# --- the estimate


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_estimate_times_real_gradients_and_changes_no_weight(lesson, precision):
    case = lesson(network=UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, dropout=0.5))
    before, state = weights(case.state.network), torch.get_rng_state()
    batch = case.batches.at(0, 16)
    seconds = gradient_seconds(case.state.network, case.objective, case.config, batch, precision)
    assert 0 < seconds < 60
    assert_same(weights(case.state.network), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is not None for parameter in case.state.network.parameters())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_loop_is_a_generator_that_may_be_left_at_any_event(lesson, precision):
    case, unbroken = (lesson(images=64, learning_rate=1e-2) for _ in range(2))
    events = train(case.state, case.objective, case.config, case.batches.at, case.held_out, precision)
    told = [next(events)]
    events.close()
    told += case.run(precision=precision)
    assert told == unbroken.run(precision=precision)
    assert brief(told) == ["s16", "s32", "s48", "s64", "v64", "f64"]
    assert_same(weights(unbroken.state.network), weights(case.state.network))
    assert_same(weights(unbroken.state.average), weights(case.state.average))


def test_a_validation_that_is_not_finite_stops_the_run(lesson):
    case = lesson(images=64, validate_every=32)
    with torch.no_grad():
        next(case.state.average.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="validation after 32 images: loss nan, of the average of the weights"):
        case.run()

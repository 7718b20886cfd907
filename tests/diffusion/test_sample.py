"""The driver walks any grid with any sampler, tells the truth after each step, and reaches the data."""

import itertools
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import ImageNoise
from noisette.base.shapes import NO_CLASS
from noisette.diffusion.noise import LevelRange, grid, level_table
from noisette.diffusion.oracles import DatasetOracle, GaussianOracle
from noisette.diffusion.sample import Snapshot, check_grid, sample, start_image
from noisette.diffusion.samplers import SAMPLERS, Sampler, make_sampler

EVERY_SAMPLER = pytest.mark.parametrize(
    "sampler", [*map(make_sampler, SAMPLERS), make_sampler("ddim", 0.5)], ids=[*SAMPLERS, "ddim-0.5"]
)
SHAPE = (2, 3, 4)
NONE = torch.full((3,), NO_CLASS)
GRID = [3.0, 1.0, 0.2, 0.0]


def karras(steps: int) -> list[float]:
    return grid(level_table("karras", steps, LevelRange()))


def walk(denoise: Callable, sampler: Sampler, levels: list[float], labels: Tensor, first: int = 0) -> list[Snapshot]:
    """All snapshots of one image a label, from the noise of the indices that begin with `first`."""
    noise = ImageNoise(0, "test", range(first, first + len(labels)), SHAPE)
    start = start_image(noise.draw(), levels[0], unit_start=False)
    return list(sample(denoise, sampler, levels, start, labels, noise.draw))


class Watched:
    """A denoiser that writes down the levels and labels it is asked for."""

    def __init__(self, denoise: Callable) -> None:
        self.denoise, self.levels, self.labels = denoise, [], []

    def __call__(self, noisy: Tensor, noise_level: float, label: Tensor) -> Tensor:
        self.levels.append(noise_level)
        self.labels.append(label.tolist())
        return self.denoise(noisy, noise_level, label)


# --- what a snapshot says


@EVERY_SAMPLER
@pytest.mark.parametrize("levels", [GRID, [2.0, 0.0]], ids=["3 steps", "1 step"])
def test_snapshots_count_steps_and_evaluations_and_name_the_level(sampler, levels):
    oracle = Watched(GaussianOracle(0.3, 0.5))
    seen = walk(oracle, sampler, levels, NONE)
    steps = len(levels) - 1
    assert [state.step for state in seen] == list(range(1, steps + 1))
    assert {state.steps for state in seen} == {steps}
    assert [state.noise_level for state in seen] == levels[1:]
    expected = [sampler.evaluations * n for n in range(1, steps)] + [sampler.evaluations * (steps - 1) + 1]
    assert [state.evaluations for state in seen] == expected
    assert len(oracle.levels) == expected[-1]


@EVERY_SAMPLER
def test_the_sample_is_the_last_denoised_image(sampler):
    last = walk(GaussianOracle(0.3, 0.5), sampler, GRID, NONE)[-1]
    assert torch.equal(last.noisy, last.denoised)


@EVERY_SAMPLER
def test_denoised_is_the_estimate_at_the_level_the_step_began_from(sampler):
    oracle = GaussianOracle(0.3, 0.5)
    seen = walk(oracle, sampler, GRID, NONE)
    for before, after in itertools.pairwise(seen):
        assert torch.equal(after.denoised, oracle(before.noisy, before.noise_level))


@EVERY_SAMPLER
def test_the_denoiser_is_never_called_at_level_zero(sampler):
    oracle = Watched(GaussianOracle(0.3, 0.5))
    walk(oracle, sampler, GRID, NONE)
    assert min(oracle.levels) == 0.2
    assert max(oracle.levels) == 3.0


def test_the_labels_reach_the_denoiser():
    oracle = Watched(GaussianOracle(0.3, 0.5))
    walk(oracle, make_sampler("heun"), GRID, torch.tensor([7, -1, 3]))
    assert oracle.labels == [[7, -1, 3]] * 5


# --- noise


@EVERY_SAMPLER
def test_noise_is_drawn_once_a_step_except_the_last_and_only_where_it_is_used(sampler):
    calls: list[int] = []

    def draw() -> Tensor:
        calls.append(1)
        return torch.zeros(1, *SHAPE)

    list(sample(GaussianOracle(0.3, 0.5), sampler, GRID, torch.ones(1, *SHAPE), torch.zeros(1).long(), draw))
    assert len(calls) == (2 if sampler.draws_noise else 0)


@EVERY_SAMPLER
def test_only_samplers_that_draw_noise_depend_on_it(sampler):
    start, label = torch.ones(1, *SHAPE), torch.zeros(1).long()
    ends = []
    for value in (0.0, 1.0):
        draw = lambda value=value: torch.full((1, *SHAPE), value)  # noqa: E731
        *_, last = sample(GaussianOracle(0.3, 0.5), sampler, GRID, start, label, draw)
        ends.append(last.noisy)
    assert torch.equal(*ends) != sampler.draws_noise


def test_missing_noise_is_refused_before_any_step():
    with pytest.raises(Refusal, match="expected draw_noise"):
        sample(GaussianOracle(0.0, 1.0), make_sampler("ddpm"), GRID, torch.ones(1, *SHAPE), torch.zeros(1).long())


@pytest.mark.parametrize("unit_start", [True, False])
def test_the_start_is_unit_noise_in_the_chain_or_sigma_times_it(unit_start):
    noise = ImageNoise(0, "start", range(2), SHAPE).draw()
    x = start_image(noise, 3.0, unit_start)
    torch.testing.assert_close(x, (math.sqrt(10) if unit_start else 3.0) * noise)


# --- the grid


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "at least 2 that end in 0"),
        ([0.0], "at least 2 that end in 0"),
        ([3.0, 1.0], "at least 2 that end in 0"),
        ([3.0, 3.0, 0.0], "do not fall strictly"),
        ([1.0, 3.0, 0.0], "do not fall strictly"),
        ([3.0, 0.0, 0.0], "do not fall strictly"),
        ([3.0, -1.0, 0.0], "do not fall strictly"),
        ([math.inf, 1.0, 0.0], "do not fall strictly"),
        ([math.nan, 1.0, 0.0], "do not fall strictly"),
        ([3.0, math.nan, 0.0], "do not fall strictly"),
    ],
)
def test_a_grid_that_does_not_fall_strictly_to_zero_is_refused_before_any_step(levels, message):
    start, label = torch.ones(1, *SHAPE), torch.zeros(1).long()
    with pytest.raises(Refusal, match=message):
        sample(GaussianOracle(0.0, 1.0), make_sampler("euler"), levels, start, label)


@pytest.mark.parametrize("trained", [(0.2, 2.0), (0.5, 3.0)])
def test_leaving_the_trained_levels_is_warned_about(trained):
    with pytest.warns(UserWarning, match="the grid runs from 3 to 0.2, but the model was trained from"):
        check_grid(GRID, trained)


def test_keeping_to_the_trained_levels_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_grid(GRID, (0.2 * (1 + 1e-9), 3.0 * (1 - 1e-9)))
        check_grid(GRID, (0.001, 80.0))


# --- what comes out


@EVERY_SAMPLER
def test_a_gaussian_is_reached_in_mean_and_variance(sampler):
    """Within 3 % at 300 steps: the order is proved elsewhere, here that nothing is off by a constant."""
    count, shape = 40, (1, 20, 20)
    noise = ImageNoise(1, "gaussian", range(count), shape)
    levels = karras(300)
    start = start_image(noise.draw(), levels[0], unit_start=False)
    *_, last = sample(GaussianOracle(0.3, 0.5), sampler, levels, start, torch.full((count,), -1), noise.draw)
    assert float(last.noisy.mean()) == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(start.numel()))
    assert float(last.noisy.std()) == pytest.approx(0.5, rel=0.03)


@EVERY_SAMPLER
def test_one_datum_is_what_sampling_returns(sampler):
    datum = ImageNoise(2, "datum", [0], SHAPE).draw()
    sampled = walk(DatasetOracle(datum), sampler, karras(5), NONE)[-1].noisy
    torch.testing.assert_close(sampled, datum.expand(3, *SHAPE), rtol=0, atol=1e-6)


@EVERY_SAMPLER
def test_an_image_is_the_same_alone_and_in_any_batch(sampler):
    oracle = DatasetOracle(ImageNoise(3, "data", range(6), SHAPE).draw())
    together = walk(oracle, sampler, karras(6), NONE)[-1].noisy
    for one in range(3):
        alone = walk(oracle, sampler, karras(6), NONE[:1], first=one)[-1].noisy
        torch.testing.assert_close(alone[0], together[one], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


@EVERY_SAMPLER
def test_asked_for_label_k_sampling_yields_class_k(sampler):
    images, labels = ImageNoise(4, "data", range(6), SHAPE).draw(), torch.tensor([0, 0, 1, 1, 2, 2])
    wanted = torch.arange(12) % 3
    sampled = walk(DatasetOracle(images, labels), sampler, karras(12), wanted)[-1].noisy
    distance = (sampled[:, None] - images).flatten(2).norm(dim=2)  # [B, N]
    assert float(distance.min(1).values.max()) < 0.1
    assert torch.equal(labels[distance.argmin(1)], wanted)


def test_breaking_off_after_a_step_costs_no_further_evaluation():
    oracle = Watched(GaussianOracle(0.3, 0.5))
    steps = sample(oracle, make_sampler("euler"), karras(50), torch.ones(1, *SHAPE), torch.zeros(1).long())
    assert oracle.levels == []
    for state in steps:
        if state.step == 2:
            break
    assert len(oracle.levels) == 2
    steps.close()


# --- the choice of a sampler


def test_ddim_is_euler_without_noise_and_ddpm_with_all_of_it():
    oracle = GaussianOracle(0.3, 0.5)
    for name, eta in (("euler", 0.0), ("ddpm", 1.0)):
        ours, ddim = (
            walk(oracle, each, GRID, NONE)[-1].noisy for each in (make_sampler(name), make_sampler("ddim", eta))
        )
        assert torch.equal(ours, ddim)


@pytest.mark.parametrize(
    ("name", "eta", "message"),
    [
        ("huen", None, r"unknown sampler 'huen'.*did you mean 'heun'"),
        ("heun", 0.5, "expected no eta, or sampler 'ddim' or 'dpmpp-2m'"),
        ("ddpm", 1.0, "expected no eta, or sampler 'ddim' or 'dpmpp-2m'"),
        ("ddim", -0.1, "expected a number from 0 to 1"),
        ("ddim", 1.1, "expected a number from 0 to 1"),
        ("ddim", math.nan, "expected a number from 0 to 1"),
    ],
)
def test_a_sampler_or_eta_that_is_not_offered_is_refused(name, eta, message):
    with pytest.raises(Refusal, match=message):
        make_sampler(name, eta)

"""What the doctor works out itself: neighbours, the loss without a network, the losses of weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from noisette.data.datasets import load_data
from noisette.data.split import split
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.diffusion.precondition import PRECONDITIONS
from noisette.workflows.doctor.evidence import course_of
from noisette.workflows.doctor.learning_causes import spikes, windows, worse
from noisette.workflows.doctor.trials import evenly, first_bad, losses, neighbours, trivial_loss, values

NOISE = DiffusionConfig("noise", "linear", 300, training_levels="table", loss_weight="noise")


@pytest.mark.parametrize(
    "diffusion", [NOISE, DiffusionConfig(noise_log_mean=0.5), DiffusionConfig(loss_weight="min-snr")]
)
def test_the_loss_without_a_network_is_that_of_the_best_linear_denoiser(diffusion):
    """Measured on Gaussian pixels, for which no denoiser is better."""
    objective, std = Objective(replace(diffusion, data_std=0.7)), 0.4
    random = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4096, 1, 4, 4, generator=random) for _ in range(2))
    levels = objective.draw_levels((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096).float()

    def network(x, c_noise, label):
        """The network whose denoiser is std^2 noisy / (std^2 + sigma^2)."""
        c_skip, c_out, c_in, _ = (
            c.reshape(-1, 1, 1, 1) for c in PRECONDITIONS[diffusion.parameterisation](levels, 0.7)
        )
        noisy, sigma = x / c_in, levels.reshape(-1, 1, 1, 1)
        return (std**2 * noisy / (std**2 + sigma**2) - c_skip * noisy) / c_out

    nothing = torch.full((4096,), -1)
    found = objective.per_image_loss(network, std * clean, nothing, levels, noise).mean()
    assert trivial_loss(objective.config, std) == pytest.approx(float(found), rel=0.02)


def test_neighbours_know_clean_digits_and_see_what_was_mislabelled():
    data = load_data("mnist-5k")
    rows = split(data.labels)
    clean = neighbours(data, *rows)
    assert clean.images == 500
    assert clean.chance == 0.1
    assert clean.right > 0.85
    assert clean.contradicted < 0.05 * clean.agreed
    random = np.random.default_rng(0)
    labels = data.labels.copy()
    wrong = np.flatnonzero(random.random(5000) < 0.2)
    labels[wrong] = random.integers(0, 10, len(wrong))
    spoilt = neighbours(replace(data, labels=labels), *split(labels))
    assert spoilt.contradicted > 0.12 * spoilt.agreed
    shuffled = random.permutation(data.labels)
    assert neighbours(replace(data, labels=shuffled), *split(shuffled)).right < 0.17


def test_neighbours_are_not_asked_where_they_could_not_tell(data):
    one = replace(data, labels=np.zeros_like(data.labels))
    assert neighbours(one, *split(one.labels)) is None
    rows = np.arange(30), np.arange(30, 60)
    assert neighbours(data, np.arange(27), np.arange(30, 330)) is None  # nine of a class
    assert neighbours(data, *rows) is None  # few to ask
    without = replace(data, labels=np.full_like(data.labels, -1), classes=())
    assert neighbours(without, *rows) is None


def test_as_many_of_each_class_are_asked_as_there_may_be(data, monkeypatch):
    monkeypatch.setattr("noisette.workflows.doctor.trials.ASKED", 90)
    assert neighbours(data, np.arange(300), np.arange(300, 450)).images == 90  # 30 of 50 of each class


def test_a_label_that_most_images_have_is_no_evidence(data):
    """Labels that have nothing to do with the images, four fifths of them the same."""
    labels = (np.random.default_rng(0).random(len(data.labels)) < 0.2).astype(np.int64)
    found = neighbours(replace(data, labels=labels, classes=("a", "b")), *split(labels, 0.5))
    assert found.chance == 0.5
    assert 0.3 < found.right < 0.7


def test_losses_compare_networks_on_the_same_noise(tiny_model):
    file = tiny_model(size=(1, 8, 8))
    images, labels = torch.zeros(70, 1, 8, 8), torch.zeros(70, dtype=torch.int64)
    objective = Objective(file.spec.diffusion)
    one = losses(file.network, objective, images, labels)
    assert one.shape == (70,)
    assert (one == losses(file.network, objective, images, labels)).all()
    assert one.std() > 0
    assert not np.allclose(one[:6], losses(file.network, objective, images[:6] + 0.5, labels[:6]))


def test_the_first_bad_parameter_is_named(tiny_model):
    network = tiny_model().network
    assert first_bad(network) is None
    network.stem.weight.data[0] = float("inf")
    network.output.bias.data[0] = float("nan")
    assert first_bad(network) == "stem.weight"


def test_rows_are_evenly_spaced_and_no_more_than_asked():
    assert evenly(np.arange(10), 3).tolist() == [0, 4, 8]
    assert evenly(np.arange(3), 10).tolist() == [0, 1, 2]
    assert len(evenly(np.arange(0), 10)) == 0


def test_the_values_are_those_of_the_images(data):
    assert values(replace(data, images=data.images[:0])) == ()
    assert values(replace(data, images=(data.images > 100).astype(np.uint8) * 9)) == (0, 9)


def test_losses_that_differ_by_chance_are_not_worse():
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 1.5, 100)
    assert not worse(base, base)
    assert not worse(base + np.tile([2.0, -1.8], 50), base)  # more on average, but uncertain
    assert not worse(base * 1.02, base)  # certain, but little
    assert worse(base * 1.1, base)
    assert not worse(base, base * 1.1)


def test_spikes_and_windows():
    loss = np.ones(100)
    loss[[30, 31, 70]] = 4.0
    loss[5] = 50.0  # at the beginning every loss is high
    assert spikes(loss) == 3
    assert spikes(loss[:10]) == 0
    assert windows(np.arange(100.0)).tolist() == [4.5 + 10 * number for number in range(10)]
    assert len(windows(np.arange(49.0))) == 0


def test_a_log_becomes_columns():
    steps = [
        {"event": "step", "images_seen": 8 * n, "loss": 1 / n, "learning_rate": 0.5, "gradient_norm": 2.0 * n}
        for n in (1, 2)
    ]
    validation = {"event": "validation", "images_seen": 16, "loss": 0.75}
    course = course_of([*steps, validation, {"event": "diverged", "images_seen": 16, "reason": "loss nan"}])
    assert [course.seen.tolist(), course.loss.tolist()] == [[8, 16], [1, 0.5]]
    assert [course.rate.tolist(), course.norm.tolist()] == [[0.5, 0.5], [2, 4]]
    assert [course.validated.tolist(), course.validation.tolist()] == [[16], [0.75]]
    assert (course.finished, course.diverged) == (None, "loss nan")

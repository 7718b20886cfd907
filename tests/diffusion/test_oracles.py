"""The oracles are E[clean | noisy]: by numerical integration, by the score, by brute force over images."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.diffusion.oracles import DatasetOracle, GaussianOracle, MixtureOracle

MEANS, STDS, WEIGHTS = [-1.0, 0.2, 1.1], [0.3, 0.2, 0.4], [0.2, 0.3, 0.5]
X = torch.linspace(-3, 3, 7, dtype=torch.float64).reshape(-1, 1, 1, 1)
LEVELS = pytest.mark.parametrize("sigma", [0.1, 0.7, 5.0])


def normal(x: Tensor, mean: float | Tensor, std: float) -> Tensor:
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def prior(clean: Tensor, components: list[int]) -> Tensor:
    return sum(WEIGHTS[k] * normal(clean, MEANS[k], STDS[k]) for k in components)


def integral(f: Callable[[Tensor], Tensor]) -> Tensor:
    """Over the clean value, on a fine grid that holds all its mass; f returns [B, points]."""
    clean = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    return torch.trapezoid(f(clean[None]), clean, dim=1)


def expected_clean(sigma: float, prior_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Bayes' rule by brute force: the mean of clean under prior(clean) N(noisy; clean, sigma^2)."""

    def joint(clean: Tensor) -> Tensor:
        return prior_of(clean) * normal(X.flatten(1), clean, sigma)

    return (integral(lambda clean: clean * joint(clean)) / integral(joint)).reshape(X.shape)


@LEVELS
def test_gaussian_is_the_posterior_mean(sigma):
    expected = expected_clean(sigma, lambda clean: normal(clean, 0.4, 0.6))
    torch.testing.assert_close(GaussianOracle(0.4, 0.6)(X, sigma), expected, rtol=1e-9, atol=1e-9)


@LEVELS
@pytest.mark.parametrize("label", [None, -1, 0, 1, 2])
def test_mixture_is_the_posterior_mean_of_all_or_of_the_labelled_component(sigma, label):
    components = [0, 1, 2] if label in (None, -1) else [label]
    expected = expected_clean(sigma, lambda clean: prior(clean, components))
    labels = None if label is None else torch.full((len(X),), label)
    found = MixtureOracle(MEANS, STDS, WEIGHTS)(X, sigma, labels)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@LEVELS
def test_tweedie_mixture_is_noisy_plus_sigma_squared_times_the_score(sigma):
    """Efron 2011: E[clean | x] = x + sigma^2 d/dx log p(x; sigma)."""
    x = X.clone().requires_grad_()
    density = sum(w * normal(x, m, math.hypot(s, sigma)) for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True))
    (score,) = torch.autograd.grad(density.log().sum(), x)
    found = MixtureOracle(MEANS, STDS, WEIGHTS)(X, sigma)
    torch.testing.assert_close(found, X + sigma**2 * score, rtol=1e-9, atol=1e-9)


def test_mixture_labels_act_image_by_image():
    oracle, label = MixtureOracle(MEANS, STDS, WEIGHTS), torch.tensor([0, 1, 2, -1, 0, 1, 2])
    found = oracle(X, 0.5, label)
    for one in range(len(X)):
        alone = oracle(X[one : one + 1], 0.5, label[one : one + 1])
        torch.testing.assert_close(found[one : one + 1], alone, rtol=0, atol=0)


def test_mixture_distribution_is_the_integral_of_the_noisy_density():
    edge, sigma = torch.tensor([-0.3], dtype=torch.float64), 0.5
    x = torch.linspace(-12, -0.3, 20_001, dtype=torch.float64)
    density = sum(w * normal(x, m, math.hypot(s, sigma)) for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True))
    share = MixtureOracle(MEANS, STDS, WEIGHTS).distribution(edge, sigma)
    assert float(share) == pytest.approx(float(torch.trapezoid(density, x)), abs=1e-8)


@pytest.mark.parametrize(
    "oracle", [GaussianOracle(0.4, 0.6), MixtureOracle(MEANS, STDS, WEIGHTS)], ids=["gaussian", "mixture"]
)
def test_flow_solves_the_probability_flow_equation(oracle):
    """dx/dsigma = (x - D(x, sigma))/sigma (Karras et al. 2022, eq. 3), by differences; and back again."""
    sigma, h = 0.8, 1e-4
    slope = (oracle.flow(X, sigma, sigma + h) - oracle.flow(X, sigma, sigma - h)) / (2 * h)
    torch.testing.assert_close(slope, (X - oracle(X, sigma)) / sigma, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(oracle.flow(oracle.flow(X, 0.8, 3.0), 3.0, 0.8), X, rtol=0, atol=1e-9)


@LEVELS
def test_dataset_is_the_mean_of_the_images_weighted_by_their_likelihood(sigma):
    chance = generator(0, "dataset")
    images = torch.randn(5, 2, 3, 3, generator=chance, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 1])
    noisy = images[:3] + sigma * torch.randn(3, 2, 3, 3, generator=chance, dtype=torch.float64)
    wanted = torch.tensor([0, 1, -1])
    found = DatasetOracle(images, labels)(noisy, sigma, wanted)
    for x, label, denoised in zip(noisy, wanted, found, strict=True):
        kept = [k for k in range(5) if label == -1 or labels[k] == label]
        log_likelihood = [-float(((x - images[k]) ** 2).sum()) / (2 * sigma**2) for k in kept]
        likelihood = [math.exp(each - max(log_likelihood)) for each in log_likelihood]
        mean = sum(p * images[k] for p, k in zip(likelihood, kept, strict=True)) / sum(likelihood)
        torch.testing.assert_close(denoised, mean, rtol=1e-9, atol=1e-9)


def test_dataset_without_labels_keeps_all_images_whatever_is_asked():
    images = torch.randn(4, 1, 2, 2, generator=generator(0, "unlabelled"))
    oracle = DatasetOracle(images)
    torch.testing.assert_close(oracle(images, 1.0, torch.arange(4)), oracle(images, 1.0), rtol=0, atol=0)


def test_dataset_at_a_small_level_returns_the_nearest_image():
    images = torch.randn(4, 1, 8, 8, generator=generator(0, "near"))
    torch.testing.assert_close(DatasetOracle(images)(images + 1e-4, 1e-3), images, rtol=0, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianOracle(0.0, -1.0),
        lambda: MixtureOracle([0.0], [1.0, 1.0], [1.0]),
        lambda: MixtureOracle([0.0], [0.0], [1.0]),
        lambda: MixtureOracle([0.0], [1.0], [0.0]),
        lambda: DatasetOracle(torch.zeros(0, 1, 2, 2)),
    ],
)
def test_impossible_data_are_refused(make):
    with pytest.raises(Refusal, match="expected"):
        make()

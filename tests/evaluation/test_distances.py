"""Both distances are what their formulas say, worked out here another way."""

import pytest
import torch
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation.distances import frechet, frechet_interval, kernel, kernel_interval
from noisette.evaluation.intervals import deal, jackknife


def points(count: int, width: int, *key: int | str) -> Tensor:
    return torch.randn(count, width, generator=generator("points", *key), dtype=torch.float64)


def with_moments(mean: Tensor, covariance: Tensor, *key: int | str) -> Tensor:
    """Points whose mean and covariance are exactly these."""
    raw = points(50, len(mean), "moments", *key)
    raw -= raw.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(raw.T.cov()), raw.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


# --- Frechet


def test_frechet_of_gaussians_that_differ_along_the_axes():
    """|m|^2 + sum (s1 - s2)^2, s the standard deviations."""
    one = with_moments(torch.tensor([0.0, 0, 0]).double(), torch.diag(torch.tensor([1.0, 4, 9])).double(), 1)
    other = with_moments(torch.tensor([1.0, 2, 0]).double(), torch.diag(torch.tensor([16.0, 4, 1])).double(), 2)
    assert frechet(one, other) == pytest.approx(5 + 9 + 0 + 4, rel=1e-10)


def test_frechet_of_gaussians_whose_covariances_do_not_commute():
    """The cross term by symmetric roots: tr (R C2 R)^1/2 with R R = C1."""
    A, B = points(9, 5, "a"), points(9, 5, "b")
    C1, C2, mean = A.T @ A, B.T @ B, torch.arange(5.0).double()
    values, vectors = torch.linalg.eigh(C1)
    R = vectors * values.sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(R @ C2 @ R).sqrt().sum()
    expected = mean.square().sum() + C1.trace() + C2.trace() - 2 * cross
    assert frechet(with_moments(mean, C1, 1), with_moments(0 * mean, C2, 2)) == pytest.approx(float(expected), rel=1e-9)


def test_equal_sets_are_at_distance_zero():
    same = points(60, 7) + 3
    assert frechet(same, same) == pytest.approx(0, abs=1e-6)
    # Unbiased: each row is compared with the others of its own set, and with itself only across.
    assert kernel(same, same) < 0
    assert frechet_interval(same, same).value == pytest.approx(0, abs=1e-6)


def test_frechet_turns_and_shifts_with_the_space_and_grows_with_its_square():
    one, other = points(80, 4, "one") * 2, points(60, 4, "other") + 1
    turn, _ = torch.linalg.qr(points(4, 4, "turn"))
    expected = frechet(one, other)
    assert expected > 0.5
    assert frechet(other, one) == pytest.approx(expected, rel=1e-9)
    assert frechet(one.flip(0), other) == pytest.approx(expected, rel=1e-9)
    assert frechet(one @ turn + 5, other @ turn + 5) == pytest.approx(expected, rel=1e-7)
    assert frechet(3 * one, 3 * other) == pytest.approx(9 * expected, rel=1e-9)


def test_a_feature_that_never_changes_adds_nothing():
    one, other = points(40, 3, "one"), points(40, 3, "other") + 1
    dead = torch.zeros(40, 2, dtype=torch.float64)
    assert frechet(torch.cat([one, dead], 1), torch.cat([other, dead], 1)) == pytest.approx(frechet(one, other))


def test_float32_features_are_measured_in_float64():
    """Far from the origin float32 sums would drown the distance."""
    one, other = points(200, 3, "one").float() + 1000, points(200, 3, "other").float() + 1000.5
    assert frechet(one, other) == pytest.approx(frechet(one.double() - 1000, other.double() - 1000), rel=1e-6)
    assert kernel(one, other) == kernel(one.double(), other.double())


def test_one_row_has_no_covariance():
    with pytest.raises(Refusal, match="1 and 5 features: expected two of each"):
        frechet(points(1, 3), points(5, 3))


# --- kernel


def brute_kernel(one: Tensor, other: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of (x.y / width + 1)^3, by its definition."""

    def similarity(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    def among(some: Tensor) -> float:
        pairs = [(a, b) for a in range(len(some)) for b in range(len(some)) if a != b]
        return sum(similarity(some[a], some[b]) for a, b in pairs) / len(pairs)

    across = sum(similarity(a, b) for a in one for b in other) / (len(one) * len(other))
    return among(one) + among(other) - 2 * across


def test_kernel_counts_every_pair_once():
    one, other = points(40, 3, "one"), 0.5 * points(60, 3, "other") + 1
    assert kernel(one, other) == pytest.approx(brute_kernel(one, other), rel=1e-9)
    assert kernel(other, one) == pytest.approx(kernel(one, other), rel=1e-9)


def test_kernel_is_what_torchmetrics_finds_in_one_call():
    from torchmetrics.image.kid import KernelInceptionDistance

    one, other = points(100, 6, "one"), points(100, 6, "other") + 0.3
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = KernelInceptionDistance(torch.nn.Identity(), subsets=1, subset_size=100)
    metric.update(one, real=False)
    metric.update(other, real=True)
    assert kernel(one, other) == pytest.approx(float(metric.compute()[0]), rel=1e-9)


def test_kernel_of_gaussians_on_a_line():
    """Unit variances, means 0 and m: E (x y + 1)^3 of independent x, y by the Gaussian moments."""
    m = 0.5
    expected = 3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2
    found = kernel_interval(points(1000, 1, "one"), points(1000, 1, "other") + m)
    assert found.low < expected < found.high
    assert found.high - found.low < expected


def test_kernel_of_equal_distributions_scatters_about_zero():
    """The biased estimate would lie above zero every time."""
    found = torch.tensor([kernel(points(40, 5, "one", n), points(40, 5, "other", n)) for n in range(12)])
    assert 3 <= int((found > 0).sum()) <= 9
    assert abs(float(found.mean())) < 2 * float(found.std()) / 12**0.5


def test_fixed_class_counts_put_equal_distributions_below_zero():
    """Classes far apart, five of each on both sides: the same class makes 4 of 39 other rows, but 5 of 40 across."""
    labels = torch.arange(40) % 8
    middles = 3 * points(8, 5, "middles")
    found = [
        kernel(middles[labels] + 0.1 * points(40, 5, n), middles[labels] + 0.1 * points(40, 5, -n)) for n in (1, 2)
    ]
    assert max(found) < -1


def test_the_kernel_interval_is_the_jackknife_of_whole_distances():
    one, other = points(40, 3, "one"), points(40, 3, "other") + 0.5
    labels = torch.arange(40) % 4
    group = deal(40, seed=3, labels=labels)
    left_out = torch.tensor([brute_kernel(one[group != number], other) for number in range(20)], dtype=torch.float64)
    expected = jackknife(brute_kernel(one, other), left_out)
    found = kernel_interval(one, other, labels, seed=3)
    assert found.low == pytest.approx(expected.low, rel=1e-9)
    assert found.high == pytest.approx(expected.high, rel=1e-9)


def test_every_row_counts_however_the_groups_are_dealt():
    one, other = points(47, 3, "one"), points(3001, 3, "other")  # uneven groups; more rows than are taken at once
    values = [kernel_interval(one, other, seed=seed).value for seed in (0, 1)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert kernel(one, torch.cat([other, other[:1] + 50])) > 2 * values[0]  # the last row is no exception


def test_kernel_refuses_sets_too_small_for_its_blocks():
    with pytest.raises(Refusal, match="39 and 50 features: expected at least 40 of each"):
        kernel(points(39, 3), points(50, 3))


# --- both


@pytest.mark.parametrize("measure", [frechet, kernel, frechet_interval, kernel_interval])
def test_the_same_number_every_time_and_the_global_generator_untouched(measure):
    one, other = points(50, 3, "one"), points(60, 3, "other")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = measure(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert measure(one, other) == first


def test_the_interval_is_of_other_samples_not_of_another_reference():
    points = torch.tensor([[0.0, 1.0], [2.0, -1.0]]).repeat_interleave(20, 0)  # each group to be left out is alike
    reference = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2).repeat_interleave(20)
    found = frechet_interval(points, reference, labels)
    assert found.high - found.low < 1e-6 < found.value

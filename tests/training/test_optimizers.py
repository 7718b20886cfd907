"""Muon moves matrices by orthogonal steps; every parameter is stepped once; state is there from birth."""

import copy

import pytest
import torch
from torch import Tensor, nn

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.models.unet import UNet, UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.loop import new_state
from noisette.training.optimizers import OPTIMIZERS, Muon, orthogonalised


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "optimizers"))


def network() -> UNet:
    module = UNet(UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, attention_at=(4,)), 1, 3)
    module.initialise(generator("network"))
    return module


def give_gradients(module: nn.Module, seed: int = 0) -> None:
    for parameter in module.parameters():
        parameter.grad = normal(*parameter.shape, seed=seed)


# --- the orthogonal matrix


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 8, 40), (3, 40, 8), (2, 1, 9), (2, 9, 1), (1, 1, 1)], ids=str)
def test_orthogonalised_keeps_the_singular_vectors_and_evens_the_values(shape):
    matrices = normal(*shape)
    U, _, Vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    core = U.mT @ orthogonalised(matrices).double() @ Vh.mT  # diagonal: the new singular values
    values = core.diagonal(dim1=1, dim2=2)
    # The iteration lifts what is far below the largest singular value only in part: 16 x 16 has one such.
    assert values.max() < 1.25
    assert (values > 0.65).float().mean() >= 15 / 16
    torch.testing.assert_close(core, torch.diag_embed(values), rtol=0, atol=2e-3)


def test_orthogonalised_is_the_quintic_iteration_of_the_matrix_itself():
    """X <- aX + b(XX^T)X + c(XX^T)^2 X, five times, after division by the Frobenius norm."""
    for matrix in (normal(6, 10).double(), normal(10, 6).double()):
        X = matrix / matrix.norm()
        for _ in range(5):
            A = X @ X.T
            X = 3.4445 * X - 4.7750 * A @ X + 2.0315 * A @ A @ X
        torch.testing.assert_close(orthogonalised(matrix[None])[0], X, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6, 10), (4, 10, 6)], ids=str)
def test_a_stack_is_orthogonalised_matrix_by_matrix(shape):
    matrices = normal(*shape) * torch.tensor([1.0, 1e-3, 1e3, 1.0])[:, None, None]
    matrices[3] = 0
    found = orthogonalised(matrices)
    for number in range(3):
        torch.testing.assert_close(found[number], orthogonalised(matrices[number : number + 1])[0])
    torch.testing.assert_close(orthogonalised(matrices[:1] * 1e3), found[:1], rtol=1e-3, atol=1e-3)  # of any size
    assert torch.equal(found[3], torch.zeros(shape[1:]))


# --- a step of Muon


def muon_step_by_hand(weight: Tensor, momentum: Tensor, gradient: Tensor, rate: float, decay: float) -> Tensor:
    """In place; one weight at a time, as the paper has it."""
    momentum.mul_(0.95).add_(gradient, alpha=0.05)
    ahead = (0.05 * gradient + 0.95 * momentum).reshape(1, len(weight), -1)
    _, rows, columns = ahead.shape
    step = orthogonalised(ahead)[0] * max(1, rows / columns) ** 0.5
    return weight.mul_(1 - rate * decay).sub_(rate * step.reshape(weight.shape))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_muon_steps_as_by_hand_and_groups_of_one_shape_alike(decay):
    shapes = [(4, 3, 3, 3), (40, 2, 1, 1), (4, 27, 1, 1), (40, 2), (5, 7)]  # (4, 3, 3, 3) and (4, 27, 1, 1): one stack
    weights = [nn.Parameter(normal(*shape, seed=number)) for number, shape in enumerate(shapes)]
    expected = [weight.detach().clone() for weight in weights]
    momenta = [torch.zeros_like(weight) for weight in expected]
    optimizer = Muon(weights, 0.1, decay)
    for step in range(3):
        for number, weight in enumerate(weights):
            weight.grad = normal(*weight.shape, seed=100 * step + number)
            muon_step_by_hand(expected[number], momenta[number], weight.grad, 0.1, decay)
        optimizer.step()
        for weight, want in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight.detach(), want, rtol=1e-4, atol=1e-5)


def test_muon_walks_downhill_by_its_rate():
    weight = nn.Parameter(normal(16, 16))
    optimizer, target = Muon([weight], 0.1), normal(16, 16, seed=1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        before = weight.detach().clone()
        optimizer.step()
        assert torch.linalg.matrix_norm(weight.detach() - before, 2) == pytest.approx(0.1, rel=0.25)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_muon_leaves_a_weight_without_gradient_alone():
    moved, still = nn.Parameter(normal(3, 3)), nn.Parameter(normal(3, 3))
    before = still.detach().clone()
    moved.grad = normal(3, 3, seed=1)
    Muon([moved, still], 0.1, 0.5).step()
    assert torch.equal(still, before)


# --- which optimiser steps what


def test_muon_takes_the_convolutions_between_the_first_and_the_last_and_adamw_the_rest():
    module = network()
    inner, others = OPTIMIZERS["muon"](module, 0.02, 0.003, 0.1)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    by_muon = {names[id(p)] for group in inner.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in others.param_groups for p in group["params"]}
    assert isinstance(inner, Muon)
    assert isinstance(others, torch.optim.AdamW)
    assert by_muon.isdisjoint(by_adamw)
    assert by_muon | by_adamw == set(names.values())
    for name, parameter in module.named_parameters():
        assert (name in by_muon) == (parameter.ndim == 4 and name not in ("stem.weight", "output.weight")), name
    assert [group["lr"] for group in (*inner.param_groups, *others.param_groups)] == [0.02, 0.003]
    assert [group["weight_decay"] for group in (*inner.param_groups, *others.param_groups)] == [0.1, 0.1]


def test_adamw_takes_every_parameter_at_its_rate():
    module = network()
    (optimizer,) = OPTIMIZERS["adamw"](module, 0.02, 0.003, 0.1)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in module.parameters()]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.02, 0.1, (0.9, 0.99))


def test_an_unknown_optimizer_names_the_nearest():
    with pytest.raises(Refusal, match=r"unknown optimizer 'adam': .*did you mean 'adamw'\?"):
        TrainingConfig(optimizer="adam")


# --- the state at birth


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_at_birth_the_state_is_whole_and_zero_and_nothing_has_moved(name):
    module = network()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    state = new_state(module, TrainingConfig(optimizer=name, weight_decay=0.1))
    held = {id(parameter) for optimizer in state.optimizers for parameter in optimizer.state}
    assert held == {id(parameter) for parameter in module.parameters()}
    for optimizer in state.optimizers:
        for values in optimizer.state.values():
            assert values
            assert all(isinstance(value, Tensor) and not value.any() for value in values.values())
    for parameter, was, average in zip(module.parameters(), before, state.average.parameters(), strict=True):
        assert torch.equal(parameter, was)
        assert torch.equal(average, was)
        assert parameter.grad is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_from_birth_it_steps_as_a_fresh_one_would(name):
    """Making the state beforehand must not have counted as a step: AdamW's first is corrected for its bias."""
    module = network()
    other = copy.deepcopy(module)
    config = TrainingConfig(optimizer=name, learning_rate=0.02, adamw_rate=0.003, weight_decay=0.1)
    prepared, fresh = new_state(module, config).optimizers, OPTIMIZERS[name](other, 0.02, 0.003, 0.1)
    for step in range(3):
        for each in (module, other):
            give_gradients(each, seed=step)
        for optimizer in (*prepared, *fresh):
            optimizer.step()
        for (label, one), two in zip(module.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two), label


def test_adamw_is_torchs_own():
    module = network()
    other = copy.deepcopy(module)
    (optimizer,) = new_state(module, TrainingConfig(learning_rate=0.01, weight_decay=0.1)).optimizers
    reference = torch.optim.AdamW(other.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, foreach=False)
    for step in range(3):
        for each in (module, other):
            give_gradients(each, seed=step)
        optimizer.step()
        reference.step()
        for one, two in zip(module.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one, two)

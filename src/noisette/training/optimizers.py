"""Optimisers: name -> the list of torch optimisers that together step every parameter once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from noisette.base.registry import Registry

OPTIMIZERS: Registry[Callable[[nn.Module, float, float, float], list[torch.optim.Optimizer]]] = Registry("optimizer")
"""(network, learning rate, AdamW's rate beside Muon, weight decay) -> optimisers."""


@OPTIMIZERS.register("adamw")
def adamw(network: nn.Module, rate: float, adamw_rate: float, decay: float) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov & Hutter 2019) for every parameter."""
    return [_adamw(network.parameters(), rate, decay)]


@OPTIMIZERS.register("muon")
def muon(network: nn.Module, rate: float, adamw_rate: float, decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between the first and the last, AdamW for everything else, as Muon's author advises."""
    convolutions = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    hidden = {id(weight) for weight in convolutions[1:-1]}
    inner = [p for p in network.parameters() if id(p) in hidden]
    others = [p for p in network.parameters() if id(p) not in hidden]
    return [Muon(inner, rate, decay), _adamw(others, adamw_rate, decay)]


def _adamw(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay, foreach=True)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: each weight moves by a matrix whose singular values are all about 1 (Jordan et al.
    2024).

    A convolution's weight [C_out, C_in, h, w] is the matrix [C_out, h * w * C_in]. Steps are scaled by
    sqrt(max(1, rows / columns)), so that one learning rate suits all shapes.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rate: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(list(parameters), {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients: list[Tensor] = [weight.grad for weight in weights]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            momenta = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov's look ahead
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            for rows in _same_shape(weights):  # stacked, so that small matrices cost one call
                matrices = torch.stack([_channels_last(updates[row]).flatten(1) for row in rows])
                scale = max(1.0, matrices.shape[1] / matrices.shape[2]) ** 0.5  # [N, C_out, h * w * C_in]
                for row, step in zip(rows, orthogonalised(matrices), strict=True):
                    weight = _channels_last(weights[row])
                    weight.add_(step.reshape(weight.shape), alpha=-group["lr"] * scale)


def _channels_last(weight: Tensor) -> Tensor:
    """[C_out, C_in, h, w] -> [C_out, h, w, C_in], how a convolution's weight lies in memory: a view. Else as it is.

    Orthogonalising is blind to the order of columns, so nothing need be copied into another.
    """
    return weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight


def _same_shape(weights: Sequence[Tensor]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, weight in enumerate(weights):
        groups.setdefault((len(weight), weight[0].numel()), []).append(number)
    return list(groups.values())


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """About U V^T of each matrix U S V^T: singular values land in roughly 0.7 to 1.2. [N, rows, columns] -> the same.

    The quintic Newton-Schulz iteration X <- (aI + bA + cA^2) X, A = X X^T (Jordan et al. 2024). Only the small Gram
    matrix A and the product of the polynomials are iterated, which for wide matrices is a fifth of the arithmetic.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    X = matrices.mT if tall else matrices
    X = X / (X.norm(dim=(1, 2), keepdim=True) + 1e-7)
    A = X @ X.mT
    identity = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    product = identity.expand_as(A)
    for left in reversed(range(iterations)):
        polynomial = a * identity + torch.baddbmm(A, A, A, beta=b, alpha=c)
        product = polynomial @ product
        if left:
            A = polynomial @ A @ polynomial
    X = product @ X
    return X.mT if tall else X  # type: ignore[no-any-return]

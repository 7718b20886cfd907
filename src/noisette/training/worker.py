"""The network that computes gradients, beside the one whose weights the optimisers step."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from noisette.base.processes import ALONE, Processes
from noisette.base.shapes import Images, Labels
from noisette.training.ema import average_of


class Worker:
    """The network itself, or a bfloat16 copy of it beside float32 weights; its gradients are the processes' mean."""

    def __init__(self, network: nn.Module, precision: torch.dtype, processes: Processes = ALONE) -> None:
        self.network, self.copy, self._processes = network, network, processes
        if precision != torch.float32 and next(network.parameters()).dtype == torch.float32:
            self.copy = average_of(network).to(precision).requires_grad_(True)
        self.copy.train()
        self.module = processes.sharing(self.copy)

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the weights in, rounded; clear the gradients."""
        if self.copy is not self.network:
            torch._foreach_copy_(list(self.copy.parameters()), list(self.network.parameters()))
        self.copy.zero_grad(set_to_none=True)

    def backward(self, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward of a part of a batch: gradients are averaged with the last part only."""
        return self._processes.backward(self.module, last)

    def hand_over_gradients(self) -> None:
        """Give the gradients to the network that the optimisers step."""
        if self.copy is not self.network:
            for own, weight in zip(self.copy.parameters(), self.network.parameters(), strict=True):
                weight.grad = own.grad.to(weight.dtype) if own.grad is not None else None

    def __call__(self, x: Images, c_noise: Tensor, label: Labels) -> Images:
        output: Tensor = self.module(x, c_noise, label)
        return output

"""The moving average of the weights (EMA), of what training changes alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tasks.training.freezing import Depth, frozen_tensors
from tasks.training.network import Network, tensors_of


class Average:
    """Averaged values of every trained parameter and moving buffer; whole numbers are taken over as they are.

    torch's AveragedModel would copy the frozen part too, and would average whole numbers such as Swin's table of
    positions, which is then cut to other numbers.

    Attributes:
        values: by the tensor's name; empty before the first step.
        steps: taken in so far.
    """

    def __init__(self, current: dict[str, torch.Tensor], decay: float) -> None:
        """
        Args:
            current: what is averaged, as `moving_tensors` gives it; the network's own tensors.
            decay: share of the average that stays at a step, once there were many: at step n it is (1 + n) / (10 + n)
                at most, so that a short training does not stay at its start (as TensorFlow's moving average has it).
        """
        self._current, self._decay = current, decay
        self.values: dict[str, torch.Tensor] = {}
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step; the first ones are the average."""
        self.steps += 1
        if not self.values:
            self.values = {name: tensor.clone() for name, tensor in self._current.items()}
            return
        real = [name for name, tensor in self._current.items() if tensor.is_floating_point()]
        if real:
            decay = min(self._decay, self.steps / (9 + self.steps))
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average([self.values[name] for name in real], [self._current[name] for name in real], 1)
        copy_into(self.values, {name: self._current[name] for name in self._current.keys() - set(real)})

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network holds the averaged weights, once there are any."""
        own = {name: tensor.clone() for name, tensor in self._current.items()}
        copy_into(self._current, self.values)
        try:
            yield
        finally:
            copy_into(self._current, own)


def moving_tensors(network: Network, depth: Depth) -> dict[str, torch.Tensor]:
    """Every tensor that training changes, by name."""
    frozen = frozen_tensors(network, depth)
    return {name: tensor for name, tensor in tensors_of(network).items() if name not in frozen}


@torch.no_grad()
def copy_into(tensors: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
    """Give tensors of a network the values of the same names; names that `values` lacks stay as they are."""
    for name, value in values.items():
        tensors[name].copy_(value)

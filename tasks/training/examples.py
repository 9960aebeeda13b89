"""What a training run reads: the items of a data set as tensors, varied or as they are served."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

IntVector = npt.NDArray[np.int64]
Inputs = tuple[torch.Tensor, ...]
"""What a network takes: pixels alone, or the activations that cross from its frozen part into the trained one."""


class Examples(Protocol):
    """Items in the order they were given; rows count from 0. Threads may ask at the same time."""

    def __len__(self) -> int: ...

    def inputs(self, rows: IntVector, epoch: int) -> Inputs:
        """The variants of these items that training sees in an epoch (from 1 on), float32, first axis as `rows`."""

    def plain(self, rows: IntVector) -> Inputs:
        """The same items unvaried, exactly as they are served."""

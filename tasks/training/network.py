"""What is trained: a trunk that gives features, and a linear head on them."""

from __future__ import annotations

import torch
from torch import nn

TRUNK, HEAD = "trunk.", "head."
"""How the names of a network's tensors begin; behind `trunk.` stands the body's own name."""


class Network(nn.Module):
    """Logits of a batch.

    Attributes:
        trunk: the body, or the part of it above what is kept; its tensors have the body's own names.
        dropout: of the features, while training.
        head: (features) to (classes), the linear model that is grafted onto the released graph.
    """

    def __init__(self, trunk: nn.Module, head: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = head

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(n, classes) of what `Examples` gives for n items: one tensor of n rows or several."""
        logits: torch.Tensor = self.head(self.dropout(self.trunk(*inputs)))
        return logits


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by its name, buffers that no state dict holds included."""
    return {name: tensor.detach() for name, tensor in (*network.named_parameters(), *network.named_buffers())}

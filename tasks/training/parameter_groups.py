"""Which learning rate and weight decay each parameter gets."""

from __future__ import annotations

from typing import Any

import torch

from tasks.params.training import TrainingParams
from tasks.training.freezing import Depth
from tasks.training.network import Network

WITHOUT_DECAY = ("class_token", "pos_embedding", "relative_position_bias_table", "layer_scale", "logit_scale")
"""Last names of what is no matrix though it has more than one axis: tokens, positions, scales."""
HIGHEST = "highest_rate"
"""Key of a group: its learning rate where the schedule's multiplier is 1."""
MOMENTUM = 0.9


def parameter_groups(network: Network, settings: TrainingParams, depth: Depth) -> list[dict[str, Any]]:
    """Groups for a torch optimiser, one for each pair of rate and decay; the head's come last.

    Weight decay acts on matrices and convolutions alone, not on norms, biases, tokens, positions and scales
    (Dosovitskiy et al. 2021; Liu et al. 2022). Rates fall from block to block downwards (Howard and Ruder 2018).
    """
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = depth.rate_factor(name), _decays(name, parameter)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            HIGHEST: settings.learning_rate * factor,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (factor, decays), parameters in sorted(groups.items(), key=lambda entry: entry[0])
    ]


def optimizer_of(network: Network, settings: TrainingParams, depth: Depth) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9, over the trained parameters; `set_rates` gives the rates."""
    groups = parameter_groups(network, settings, depth)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=MOMENTUM, fused=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Have every group learn at its highest rate times the schedule's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = group[HIGHEST] * multiplier


def _decays(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim > 1 and name.rpartition(".")[2] not in WITHOUT_DECAY

"""Which blocks of a network are trained, and that the others stay as they were, to the byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tasks.backbones.blocks import Block, blocks_of
from tasks.errors import ParamsError, counted
from tasks.params.training import FineTuneParams, TrainingParams
from tasks.reports.training import BlockState
from tasks.training.network import HEAD, TRUNK, Network, tensors_of


@dataclass(frozen=True)
class Depth:
    """How deep training reaches into a body.

    Attributes:
        blocks: of the whole body, in the order in which an image meets them.
        first: index of the first trained block; what lies below is frozen, the head is always trained.
        statistics_frozen: whether the batch norms of trained blocks keep their running statistics too.
        decay: factor of the learning rate from one block to the one below it.
    """

    blocks: tuple[Block, ...]
    first: int
    statistics_frozen: bool
    decay: float

    def block_of(self, name: str) -> int | None:
        """The block that a tensor or module of the body, by its own name, is part of; None: of none."""
        return next((index for index, block in enumerate(self.blocks) if block.owns(name)), None)

    def below_the_last(self, name: str) -> int:
        """How many blocks lie between a network's parameter and the last block; 0 for that and the head."""
        block = None if name.startswith(HEAD) else self.block_of(name.removeprefix(TRUNK))
        return 0 if block is None else len(self.blocks) - 1 - block

    def trains(self, name: str) -> bool:
        """Whether a network's parameter is trained."""
        return self.below_the_last(name) < len(self.blocks) - self.first

    def rate_factor(self, name: str) -> float:
        """What the learning rate of a network's parameter is multiplied by; 1 for the last block and the head."""
        return self.decay ** self.below_the_last(name)


def depth_of(body: nn.Module, settings: TrainingParams) -> Depth:
    """What the settings say of a body, which `tasks.backbones.bodies.body_of` gives.

    Raises:
        ParamsError: more blocks are to be trained than there are, or fewer than one.
    """
    blocks = tuple(blocks_of(body))
    if not isinstance(settings, FineTuneParams):
        return Depth(blocks, 0, statistics_frozen=False, decay=1.0)
    wanted = len(blocks) if settings.blocks == "all" else settings.blocks
    if not 1 <= wanted <= len(blocks):
        raise ParamsError(
            f"adapt.method.blocks is {wanted}, but the network has {counted(len(blocks), 'block')}; "
            f"set it to 1 to {len(blocks)}, or to all"
        )
    return Depth(blocks, len(blocks) - wanted, settings.batch_norm == "frozen", settings.layer_decay)


def freeze(network: Network, depth: Depth) -> None:
    """Have gradients flow into the trained blocks and the head alone."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(depth.trains(name))


def training_mode(network: Network, depth: Depth) -> None:
    """Trained modules behave as in training; frozen ones, and batch norms that keep their statistics, as served."""
    network.eval()
    for module in _trained_modules(network, depth):
        module.training = not (depth.statistics_frozen and isinstance(module, _BatchNorm))


def frozen_tensors(network: Network, depth: Depth) -> dict[str, torch.Tensor]:
    """What training must not change, by name: all of the frozen blocks, and the statistics that are kept."""
    trained = _trained_modules(network, depth)
    learning = {name for name, _ in network.named_parameters() if depth.trains(name)}
    moving = {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if module in trained and not (depth.statistics_frozen and isinstance(module, _BatchNorm))
        for name, _ in module.named_buffers(recurse=False)
    }
    return {name: tensor for name, tensor in tensors_of(network).items() if name not in learning | moving}


def digest_of(tensors: dict[str, torch.Tensor]) -> str:
    """Hex sha256 over names, shapes, kinds of number and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def block_states(body: nn.Module, head: nn.Linear, depth: Depth) -> list[BlockState]:
    """The blocks of the whole body with the count of their parameters, the head last."""
    counts = [0] * len(depth.blocks)
    for name, parameter in body.named_parameters():
        block = depth.block_of(name)
        if block is not None:
            counts[block] += parameter.numel()
    states = [
        BlockState(name=block.name, parameters=counts[index], trained=index >= depth.first)
        for index, block in enumerate(depth.blocks)
    ]
    size = sum(parameter.numel() for parameter in head.parameters())
    return [*states, BlockState(name="head", parameters=size, trained=True)]


def _trained_modules(network: Network, depth: Depth) -> set[nn.Module]:
    """The head, its dropout, and every module of a trained block."""
    return {*network.head.modules(), network.dropout, *_of_trained_blocks(network.trunk, depth)}


def _of_trained_blocks(trunk: nn.Module, depth: Depth) -> Iterator[nn.Module]:
    """Modules between blocks have no tensors (dropout, activations) and go with the block before them."""
    latest = -1
    for path, module in trunk.named_modules():
        block = depth.block_of(path)
        if block is None and [*module.children()]:
            continue
        latest = latest if block is None else block
        if latest >= depth.first:
            yield module

"""A network's blocks from its stem to its last one, in the order in which an image meets them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torchvision.models.maxvit import MaxVitBlock
from torchvision.models.vision_transformer import Encoder

_CONTAINERS = (nn.Sequential, nn.ModuleList, Encoder, MaxVitBlock)


@dataclass(frozen=True)
class Block:
    """A part of a network that is frozen or trained as one.

    Attributes:
        name: path of the part that opens it.
        parts: paths of its modules and of parameters that stand alone (a class token), in order.
    """

    name: str
    parts: tuple[str, ...]

    def owns(self, tensor: str) -> bool:
        """Whether a parameter or buffer of the network, by its name there, is part of this block.

        >>> Block("conv1", ("conv1", "bn1")).owns("bn1.weight"), Block("conv1", ("conv1",)).owns("conv10.weight")
        (True, False)
        """
        return any(tensor == part or tensor.startswith(f"{part}.") for part in self.parts)


def blocks_of(body: nn.Module) -> list[Block]:
    """The blocks of a body, which `tasks.backbones.bodies.body_of` gives.

    A block is the smallest module that works as one: a residual block, an encoder layer, or a layer that stands alone.
    What only rescales (a norm) belongs to the block before it; a token or position belongs to the first block. Every
    parameter and buffer lies in exactly one block.
    """
    alone: list[str] = []
    units: list[list[str]] = []
    for path, opens in _units(body, ""):
        if opens is None:
            alone.append(path)
        elif opens or not units:
            units.append([path])
        else:
            units[-1].append(path)
    units[0].extend(alone)
    return [Block(parts[0], tuple(parts)) for parts in units]


def _units(module: nn.Module, path: str) -> Iterator[tuple[str, bool | None]]:
    """Each part with tensors, and whether it opens a block; None: a tensor that stands alone."""
    for name, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        yield f"{path}{name}", None
    for name, child in module.named_children():
        if _is_container(child):
            yield from _units(child, f"{path}{name}.")
        elif [*child.parameters(), *child.buffers()]:
            yield f"{path}{name}", _layers(child) > 0


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, _CONTAINERS) and _layers(module) > 1


def _layers(module: nn.Module) -> int:
    """How many layers a module holds; norms do not count."""
    return sum(isinstance(part, (nn.Linear, nn.Conv2d)) for part in module.modules())

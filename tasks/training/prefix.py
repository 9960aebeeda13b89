"""Cutting a network in two: what lies below every trained parameter, and the rest that an epoch has to compute."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any

import torch
import torchvision.ops
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer
from torchvision.ops import StochasticDepth

from tasks.stage import say

_CHANGING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm, StochasticDepth)
"""In training mode these give something else each time for the same image."""
_IN_PLACE = frozenset({operator.iadd, operator.isub, operator.imul, operator.itruediv})


def split_network(body: nn.Module, trained: Collection[str], side: int) -> tuple[nn.Module | None, nn.Module]:
    """The part of a network that training does not change, and the part above it.

    Args:
        body: the network, its frozen modules in evaluation mode; one of batch norm or dropout in training mode counts
            as trained, because what it gives changes.
        trained: names of the parameters that are trained.
        side: of the square images that it takes, pixels.
    Returns:
        prefix: images to a tuple of tensors; None where nothing worth keeping lies below, or the network cannot be
            traced (a line says so).
        suffix: takes those tensors (`suffix(*prefix(images))` is `body(images)`), or the images where there is no
            prefix. It holds the body's own modules under the body's own names: training it trains the body.
    """
    attributes = set(vars(body))
    try:
        cut = _Cut(body, _traced(body), frozenset(trained), side)
        return (cut.prefix(), cut.suffix()) if cut.worth_keeping() else (None, body)
    except Exception as err:  # whatever an unusual forward raises: training goes on without the saving
        reason = " ".join(str(err).split())[:200]
        say(f"training: the frozen part cannot be cut off ({type(err).__name__}: {reason}); every epoch computes it")
        return None, body
    finally:
        for constant in set(vars(body)) - attributes:  # the tracer puts tensors there that it came upon
            delattr(body, constant)


def _traced(body: nn.Module) -> fx.Graph:
    tracer = NodePathTracer(leaf_modules=[StochasticDepth], autowrap_modules=(math, torchvision.ops))
    graph: fx.Graph = tracer.trace(body)
    return graph


class _Cut:
    """Which nodes of a traced network lie below the cut, and which of their values cross it."""

    def __init__(self, body: nn.Module, graph: fx.Graph, trained: frozenset[str], side: int) -> None:
        self._body, self._graph = body, graph
        self._late = _late_nodes(body, graph, trained)
        self._bytes = _tensor_bytes(body, graph, side)
        self.crossing = self._settled()

    def prefix(self) -> nn.Module:
        early = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._graph.nodes:
            if node not in self._late and node.op != "output":
                copies[node] = early.node_copy(node, lambda one: copies[one])
        early.output(tuple(copies[node] for node in self.crossing))
        prefix = fx.GraphModule(self._body, early, "Prefix")
        prefix.graph.eliminate_dead_code()
        prefix.delete_all_unused_submodules()
        prefix.recompile()
        return prefix

    def suffix(self) -> nn.Module:
        late = fx.Graph()
        copies = {node: late.placeholder(f"kept_{place}") for place, node in enumerate(self.crossing)}
        for node in self._graph.nodes:
            if node in self._late:
                copies[node] = late.node_copy(node, lambda one: copies[one])
        suffix = fx.GraphModule(self._body, late, "Suffix")
        for name in {name for name, _ in suffix.named_buffers()} - set(self._body.state_dict()):
            above, _, own = name.rpartition(".")
            holder = suffix.get_submodule(above)
            # What the body does not save, such as a tensor that the tracer came upon: nor does its upper part.
            holder.register_buffer(own, holder._buffers.pop(own), persistent=False)
        return suffix

    def worth_keeping(self) -> bool:
        """Whether anything with weights lies below the cut."""
        return any(
            node not in self._late
            and node.op == "call_module"
            and next(self._body.get_submodule(str(node.target)).parameters(), None) is not None
            for node in self._graph.nodes
        )

    def _settled(self) -> list[fx.Node]:
        """The values that cross, once all that cannot be kept or is cheaper done again is above the cut."""
        while True:
            crossing = self._crossing()
            moved = next((node for node in crossing if self._goes_up(node, crossing)), None)
            if moved is None:
                return crossing
            self._late.add(moved)

    def _crossing(self) -> list[fx.Node]:
        return [
            node
            for node in self._graph.nodes
            if node not in self._late and any(user in self._late for user in node.users)
        ]

    def _goes_up(self, node: fx.Node, crossing: list[fx.Node]) -> bool:
        if node not in self._bytes:  # a size, a tuple or a parameter: nothing that an image has of its own
            return True
        if node.op == "placeholder" or not self._repeatable(node):
            return False
        more = sum(self._bytes.get(one, 0) for one in node.all_input_nodes if one not in crossing)
        return more < self._bytes[node]

    def _repeatable(self, node: fx.Node) -> bool:
        """Whether doing it again in each epoch is cheap and safe: no weights, nothing random, nothing done in place."""
        if any(one.op == "get_attr" for one in node.all_input_nodes):
            return False
        if node.op == "call_module":
            module = self._body.get_submodule(str(node.target))
            weights = [*module.parameters(), *module.buffers()]
            return not (weights or isinstance(module, _CHANGING) or getattr(module, "inplace", False))
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "_")
        return not (name.endswith("_") or node.target in _IN_PLACE or node.kwargs.get("inplace"))


def _late_nodes(body: nn.Module, graph: fx.Graph, trained: frozenset[str]) -> set[fx.Node]:
    late: set[fx.Node] = set()
    for node in graph.nodes:
        above = any(one in late for one in node.all_input_nodes)
        if above or node.op == "output" or _changes(body, node, trained):
            late.add(node)
    return late


def _changes(body: nn.Module, node: fx.Node, trained: frozenset[str]) -> bool:
    """Whether training changes what a node gives for the same input."""
    target = str(node.target)
    if node.op == "get_attr":
        return target in trained
    if node.op != "call_module":
        return False
    module = body.get_submodule(target)
    if any(f"{target}.{name}" in trained for name, _ in module.named_parameters()):
        return True
    return any(part.training and isinstance(part, _CHANGING) for part in module.modules())


def _tensor_bytes(body: nn.Module, graph: fx.Graph, side: int) -> dict[fx.Node, int]:
    """Bytes an image of every node that gives a tensor with one row an image."""
    sizes: dict[fx.Node, int] = {}

    class Sizes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == 2 and n.op != "get_attr":
                sizes[n] = value[0].numel() * value.element_size()
            return value

    parameter = next(body.parameters())
    modes = {module: module.training for module in body.modules()}
    try:
        body.eval()
        with torch.no_grad():
            Sizes(fx.GraphModule(body, graph)).run(torch.zeros(2, 3, side, side, device=parameter.device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return sizes

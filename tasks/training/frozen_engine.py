"""What computes a frozen prefix fastest: torch with folded batch norms, or ONNX Runtime where an export pays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from tasks.backbones.torch_export import OPSET, quiet_exporter
from tasks.onnx_session import open_session
from tasks.reports.document import write_bytes
from tasks.stage import say, without_collector

EXPORT_PAYS_FROM = 1500
"""Images: mobilenet_v2 gains 7 ms of processor time each, and its export takes 6 s."""

Engine = Literal["torch", "onnxruntime"]
Compute = Callable[[torch.Tensor], npt.NDArray[np.float32]]
"""(images, 3, side, side) float32 to (images, floats of all values that cross)."""


def engine_for(images: int, device: str) -> Engine:
    """What is to compute so many images; decided without looking at clocks, because the two differ in the last bit."""
    return "onnxruntime" if device == "cpu" and images >= EXPORT_PAYS_FROM else "torch"


def for_inference(prefix: nn.Module) -> nn.Module:
    """A copy of the prefix that is fast: batch norms folded into their convolutions, memory in channels-last order."""
    network = fuse(prefix, no_trace=True) if isinstance(prefix, fx.GraphModule) else copy.deepcopy(prefix)
    fast: nn.Module = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return fast


def compute_with(engine: Engine, network: nn.Module, side: int, draft: Path) -> Compute:
    """The function that computes a network of `for_inference`; threads may call it at the same time.

    Args:
        side: of the images, pixels.
        draft: where the exported graph may lie for a moment.
    """
    if engine == "onnxruntime":
        try:
            return _onnx_runtime(network, side, draft)
        except Exception as err:  # whatever an unusual network raises in the exporter: torch computes it, slower
            reason = " ".join(str(err).split())[:200]
            say(f"training: the frozen part cannot be exported ({type(err).__name__}: {reason}); torch computes it")
    return lambda images: _run(network, images)


def _run(network: nn.Module, images: torch.Tensor) -> npt.NDArray[np.float32]:
    device = next(network.parameters()).device
    with torch.inference_mode():
        values = network(images.to(device, memory_format=torch.channels_last))
        return np.concatenate([value.float().contiguous().flatten(1).cpu().numpy() for value in values], axis=1)


def _onnx_runtime(network: nn.Module, side: int, draft: Path) -> Compute:
    write_bytes(draft, _exported(network, side))
    try:
        session = open_session(draft)
    finally:
        draft.unlink()
    (taken,) = (given.name for given in session.get_inputs())

    def compute(images: torch.Tensor) -> npt.NDArray[np.float32]:
        values = session.run(None, {taken: images.numpy()})
        return np.concatenate([value.reshape(len(images), -1) for value in values], axis=1)

    return compute


def _exported(network: nn.Module, side: int) -> bytes:
    with quiet_exporter(), without_collector(), torch.no_grad():
        program: Any = torch.onnx.export(
            network,
            (torch.zeros(2, 3, side, side),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    data: bytes = program.model_proto.SerializeToString()
    return data

"""All that determines what a training gives, as one digest: the name under which it is kept and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch

from tasks.backbones.engine import installed_engine
from tasks.digests import rows_sha256, value_sha256
from tasks.metrics import IntVector
from tasks.params.training import TrainingParams
from tasks.training.examples import Examples
from tasks.training.freezing import Depth, digest_of
from tasks.training.network import Network, tensors_of
from tasks.training.precision import Numerics
from tasks.training.sources import sources_sha256

SOURCES = ("training/*.py", "backbones/bodies.py", "backbones/blocks.py", "preprocess.py", "decoding.py")
"""The code that a training consists of, below `tasks`: the loop, the network and what makes pixels of a file."""
ELSEWHERE = frozenset(
    {"min_validation_items", "folds", "views", "frozen_cache_gb", "keep_frozen", "threads", "precision"}
    | {"memory_format", "probe", "min_steps", "processes"}
)
"""Settings that a training's bits do not depend on, or that are in its key as what they came to: the rows, the
examples' own determinants, the numerics, the head's start and the passes."""


@dataclass(frozen=True)
class TrainingItems:
    """What is learned from, and what it is judged on.

    Attributes:
        examples: the network's inputs for every item.
        labels: class of every item.
        identities: sha256 of every item; with the seed it decides the item's place in an epoch.
        learn: rows of the items that are learned from.
        judge: rows of the items that every epoch is judged on; None: of none.
    """

    examples: Examples
    labels: IntVector
    identities: Sequence[str]
    learn: IntVector
    judge: IntVector | None = None


def training_key(
    network: Network,
    depth: Depth,
    items: TrainingItems,
    settings: TrainingParams,
    numerics: Numerics,
    until: int,
    determinants: Mapping[str, Any],
) -> str:
    """Hex sha256 over the network at its start, the items in use, the settings that matter, the machine's numerics,
    the code and its libraries.

    Args:
        determinants: JSON-able; what the caller knows beside them: of the examples' inputs, above all.
    """

    def listed(rows: IntVector | None) -> str | None:
        used = [] if rows is None else [(items.identities[row], str(items.labels[row]), str(row)) for row in rows]
        return None if rows is None else rows_sha256(used)

    return value_sha256(
        {
            "code": sources_sha256(*SOURCES),
            "libraries": libraries(),
            "processor": processor(numerics.device),
            "numerics": asdict(numerics),
            "settings": settings.model_dump(mode="json", exclude=_without_effect(items.judge is not None)),
            "until": until,
            "start": digest_of(tensors_of(network)),
            "trained": [depth.first, depth.statistics_frozen, depth.decay, [block.name for block in depth.blocks]],
            "learn": listed(items.learn),
            "judge": listed(items.judge),
            "determinants": dict(determinants),
        }
    )


def libraries() -> dict[str, Any]:
    """Versions of what computes, decodes and varies; onnxruntime may compute the frozen part."""
    names = ("torch", "torchvision", "lightning-fabric", "numpy")
    return {**{name: version(name) for name in names}, "engine": installed_engine().model_dump(mode="json")}


def processor(device: str) -> dict[str, Any]:
    """What chooses among kernels that differ in their bits."""
    if device == "cuda":
        return {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    capabilities = torch.cpu.get_capabilities()
    units = {name: bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16")}
    return {"cpu": torch.backends.cpu.get_cpu_capability(), **units}


def _without_effect(judged: bool) -> set[str]:
    return {*ELSEWHERE, *(() if judged else ("patience",))}

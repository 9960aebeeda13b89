"""All that determines what a training gives, as one digest: the name under which it is kept and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tasks.digests import file_sha256, rows_sha256, value_sha256
from tasks.metrics import IntVector
from tasks.params.training import TrainingParams
from tasks.training.examples import Examples
from tasks.training.freezing import Depth, digest_of
from tasks.training.network import Network, tensors_of
from tasks.training.precision import Numerics


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
    """Hex sha256 over the network at its start, the items in use, the settings, the machine's numerics, the code
    of this folder and its libraries.

    Args:
        determinants: JSON-able; what the caller knows beside them: of the examples' inputs, above all.
    """

    def listed(rows: IntVector | None) -> str | None:
        used = [] if rows is None else [(items.identities[row], str(items.labels[row]), str(row)) for row in rows]
        return None if rows is None else rows_sha256(used)

    return value_sha256(
        {
            "code": rows_sha256((path.name, file_sha256(path)) for path in sorted(Path(__file__).parent.glob("*.py"))),
            "torch": torch.__version__,
            "fabric": version("lightning-fabric"),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "numerics": asdict(numerics),
            "settings": settings.model_dump(mode="json"),
            "until": until,
            "start": digest_of(tensors_of(network)),
            "trained": [depth.first, depth.statistics_frozen, depth.decay, [block.name for block in depth.blocks]],
            "learn": listed(items.learn),
            "judge": listed(items.judge),
            "determinants": dict(determinants),
        }
    )

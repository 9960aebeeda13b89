"""One training as a file: all that the processes that share it need in order to do exactly what one would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from tasks.methods.contract import LinearHead
from tasks.methods.features import LabelledItems
from tasks.methods.network_contract import LabelledImages
from tasks.metrics import IntVector
from tasks.params import BackboneParams, FineTuneParams, FromScratchParams, TrainingParams
from tasks.preprocess import Preprocess

_SETTINGS: TypeAdapter[FineTuneParams | FromScratchParams] = TypeAdapter(FineTuneParams | FromScratchParams)


@dataclass(frozen=True)
class TrainingOrder:
    """The arguments of a network's run and of one of its trainings.

    Attributes:
        data: features are left out; no training reads them.
        run_settings: those that the run was made with.
        settings: those of this training, which differ in how long it lasts.
        kept: name of the folder of kept activations; None: what is frozen is computed in every epoch.
    """

    data: LabelledImages
    run_settings: TrainingParams
    pretrained: bool
    section: str
    kept: str | None
    learn: IntVector
    judge: IntVector | None
    head: LinearHead | None
    until: int | None
    settings: TrainingParams
    multipliers: Sequence[float] | None


def write_order(order: TrainingOrder, file: Path) -> None:
    """Write it as tensors and JSON, no code; every number comes back to the bit."""
    data, items = order.data, order.data.items
    words = {
        "run_settings": order.run_settings.model_dump(mode="json"),
        "settings": order.settings.model_dump(mode="json"),
        "pretrained": order.pretrained,
        "section": order.section,
        "kept": order.kept,
        "until": order.until,
        "multipliers": None if order.multipliers is None else [float(one) for one in order.multipliers],
        "items": [items.names, items.paths, items.sha256, items.sides],
        "files": [str(path) for path in data.files],
        "backbone": data.backbone.model_dump(mode="json"),
        "preprocess": data.preprocess.model_dump(mode="json"),
        "weights_sha256": data.weights_sha256,
        "folders": [str(data.root.absolute()), str(data.checkpoints.absolute()), str(data.cache.absolute())],
        "threads": data.threads,
    }
    arrays: dict[str, np.ndarray[Any, Any]] = {"labels": items.labels, "groups": items.groups, "learn": order.learn}
    arrays |= {} if order.judge is None else {"judge": order.judge}
    arrays |= {} if order.head is None else {"weight": order.head.weight, "bias": order.head.bias}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    torch.save({"words": json.dumps(words), **tensors}, file)


def read_order(file: Path) -> TrainingOrder:
    """What `write_order` wrote."""
    found: dict[str, Any] = torch.load(file, weights_only=True)
    words = json.loads(found.pop("words"))
    arrays = {name: tensor.numpy() for name, tensor in found.items()}
    names, paths, sha256, sides = words["items"]
    root, checkpoints, cache = map(Path, words["folders"])
    nothing = np.zeros((len(paths), 0), dtype=np.float32)
    data = LabelledImages(
        items=LabelledItems(names, paths, sha256, sides, arrays["labels"], arrays["groups"], nothing),
        files=[Path(path) for path in words["files"]],
        backbone=BackboneParams.model_validate(words["backbone"]),
        root=root,
        preprocess=Preprocess.model_validate(words["preprocess"]),
        weights_sha256=words["weights_sha256"],
        checkpoints=checkpoints,
        cache=cache,
        threads=words["threads"],
    )
    return TrainingOrder(
        data=data,
        run_settings=_SETTINGS.validate_python(words["run_settings"]),
        pretrained=words["pretrained"],
        section=words["section"],
        kept=words["kept"],
        learn=arrays["learn"],
        judge=arrays.get("judge"),
        head=LinearHead(arrays["weight"], arrays["bias"]) if "weight" in arrays else None,
        until=words["until"],
        settings=_SETTINGS.validate_python(words["settings"]),
        multipliers=words["multipliers"],
    )

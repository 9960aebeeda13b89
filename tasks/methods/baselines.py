"""What a model must beat: the largest class, and logistic regression on raw pixels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.errors import StageInputError
from tasks.methods.contract import Float32Array, LabelledFeatures
from tasks.methods.features import LabelledItems
from tasks.methods.linear_probe import LinearProbe
from tasks.metrics import IntVector
from tasks.params.evaluate import Baseline
from tasks.params.linear_probe import LinearProbeParams
from tasks.tables import PIXELS_SIDE


def baseline_predictions(name: Baseline, fitted: LabelledItems, tested: LabelledItems, items: pa.Table) -> IntVector:
    """(tested items,) class indices that the baseline predicts, learned from the items that the model learned from.

    Args:
        name: as in params.yaml, evaluate.baselines.
        items: the table of validate (schema ITEMS), for its pixels.
    Raises:
        StageInputError: an item of the splits has no pixels in the table.
    """
    if name == "majority":
        return majority(fitted.labels, len(tested.labels))
    return raw_pixels(fitted, tested, items)


def majority(labels: IntVector, items: int) -> IntVector:
    """The most frequent label, (items,) times; of equals the first."""
    return np.full(items, np.bincount(labels).argmax())


def raw_pixels(fitted: LabelledItems, tested: LabelledItems, items: pa.Table) -> IntVector:
    """Predictions of multinomial logistic regression on 16x16 grey pixels, its strength by cross-validation.

    The settings are the method's defaults, so turning the model's own knobs leaves the baseline where it is.
    """
    pixels = dict(zip(items["path"].to_pylist(), items["pixels"].to_pylist(), strict=True))
    data = LabelledFeatures(_pixel_rows(pixels, fitted.paths), fitted.labels, fitted.groups, len(fitted.names))
    head = LinearProbe().adapt(data, LinearProbeParams()).head
    return np.asarray(head.logits(_pixel_rows(pixels, tested.paths)).argmax(axis=1), dtype=np.int64)


def _pixel_rows(pixels: dict[str, bytes | None], paths: list[str]) -> Float32Array:
    """(paths, 256) float32 grey values in [0, 1]."""
    without = [path for path in paths if not pixels.get(path)]
    if without:
        raise StageInputError(f"data/items.parquet has no pixels of {without[0]}; run `graft adapt` (stage validate)")
    rows = [np.frombuffer(pixels[path] or b"", dtype=np.uint8) for path in paths]
    return (np.array(rows, dtype=np.float32) / 255.0).reshape(len(paths), PIXELS_SIDE**2)

"""A small workspace whose int8 models pass, up to its verdict; and latencies that are not measured but said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_workspace import make_workspace, run_stages

from tasks.quantization import search
from tasks.reports import Estimate
from tasks.reports.quantization import Latency, LatencyReport
from tasks.workspace import Workspace

INT8: dict[str, Any] = {
    "export": {"precision": "int8", "int8": {"calibration_items": 12, "accuracy_margin": 0.2, "macro_f1_margin": 0.2}}
}
"""Margins that ten test items can show to be kept."""

SPEEDS = {"fp32_sensitive": 1.2, "fp32_stem": 1.4, "per_channel": 1.6, "per_tensor": 1.61}


def make_int8_workspace(root: Path) -> Workspace:
    """Forty pictures, every stage up to gate."""
    workspace = make_workspace(root, pictures=60, settings=INT8)
    run_stages(workspace, "validate", "embed", "split", "review", "adapt", "evaluate", "gate")
    return workspace


def say_latencies(monkeypatch: pytest.MonkeyPatch, speeds: Mapping[str, float] = SPEEDS) -> None:
    """Latencies of this machine under load would make a test's outcome a matter of chance."""

    def said(models: Mapping[str, bytes], image: Any, rounds: int, seed: int) -> LatencyReport:
        assert image.shape == (32, 32, 3)
        return LatencyReport(
            rounds=rounds,
            confidence=0.95,
            models=[Latency(model=name, median_ms=1.0, speedup=around(speeds.get(name, 1.0))) for name in models],
        )

    monkeypatch.setattr(search, "measured_latencies", said)


def around(speed: float) -> Estimate:
    return Estimate(value=speed, low=speed - 0.02, high=speed + 0.02, method="said")

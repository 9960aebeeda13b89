"""int8 asked for by a user: one setting, a whole run, and a release that a server opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import make_desk
from small_workspace import add_pictures

from tasks.reports.manifest import Manifest
from tasks.reports.quantization import LatencyReport, QuantizationReport
from tasks.servable import open_servable

LENIENT = (
    *("export.int8.min_speedup=0.5", "export.int8.max_size_ratio=2.0"),
    *("export.int8.accuracy_margin=0.2", "export.int8.macro_f1_margin=0.2"),
)
"""Budgets that no machine under load fails, and margins that twenty test items can show to be kept."""


@pytest.mark.slow
def test_an_int8_model_is_released_and_opens_as_a_server_opens_it(tmp_path: Path) -> None:
    desk = make_desk(tmp_path.resolve())
    add_pictures(desk.root / "data" / "raw", 40, first_seed=40)
    settings = ("export.precision=int8", "adapt.from_scratch=never", *LENIENT)
    code, result, stderr = desk.adapt(*(part for setting in settings for part in ("--set", setting)))
    assert (code, result["state"]) == (0, "released"), stderr
    (folder,) = desk.releases()
    manifest = Manifest.read(folder / "manifest.json")
    assert manifest.precision == "int8"
    assert manifest.quantization is not None
    assert manifest.quantization.variant is not None
    assert result["accuracy"] == manifest.metrics.accuracy.value
    assert open_servable(folder).manifest == manifest
    assert QuantizationReport.read(desk.workspace.quantization).released == "int8"
    assert len(LatencyReport.read(desk.workspace.int8_timings).models) == 5
    assert "int8_timings" not in desk.workspace.dvc_lock.read_text()

    code, again, stderr = desk.adapt()
    assert (code, again["state"], again["unchanged"]) == (0, "released", True), stderr
    assert again["accuracy"] == result["accuracy"]


@pytest.mark.slow
def test_where_int8_is_not_worth_it_the_run_releases_fp32_and_says_why(tmp_path: Path) -> None:
    desk = make_desk(tmp_path.resolve())
    settings = ("export.precision=int8", "adapt.from_scratch=never", "export.int8.min_speedup=10")
    code, result, stderr = desk.adapt(*(part for setting in settings for part in ("--set", setting)))
    assert (code, result["state"]) == (0, "released"), stderr
    (folder,) = desk.releases()
    manifest = Manifest.read(folder / "manifest.json")
    assert manifest.precision == "fp32"
    assert manifest.quantization is not None
    assert all("export.int8.min_speedup" in reason for reason in manifest.quantization.reasons)
    assert "no int8 model earned its place" in stderr
    assert "export.int8.min_speedup" in result["not_int8"]

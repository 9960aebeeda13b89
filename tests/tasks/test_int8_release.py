"""An int8 release from export to qualify: what it says of itself, when it falls back, and how qualify finds it out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from int8_scene import INT8, SPEEDS, make_int8_workspace, say_latencies
from small_workspace import change_params, copy_workspace, run_stages

from tasks.digests import file_sha256, folder_sha256
from tasks.errors import DataError, StageInputError
from tasks.onnx_session import open_session
from tasks.opened_release import OpenedRelease, golden_faults
from tasks.quantization import search
from tasks.quantization.answers import FloatMatrix
from tasks.release import verify_release
from tasks.reports import EvaluationReport
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification
from tasks.reports.quantization import LatencyReport, QuantizationReport, int8_refused
from tasks.reports.release_parts import INT8_GOLDEN_TOLERANCE, GoldenCases
from tasks.workspace import Workspace


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_int8_workspace(tmp_path_factory.mktemp("int8") / "template")


@pytest.fixture(scope="module")
def released_template(template: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copy_workspace(template, tmp_path_factory.mktemp("int8_released") / "template")
    with pytest.MonkeyPatch.context() as monkeypatch:
        say_latencies(monkeypatch)
        run_stages(workspace, "export", "qualify")
    return workspace


@pytest.fixture
def ready(template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A passed verdict, int8 asked for, nothing exported."""
    say_latencies(monkeypatch)
    return copy_workspace(template, tmp_path / "ready")


@pytest.fixture
def released(released_template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    say_latencies(monkeypatch)
    return copy_workspace(released_template, tmp_path / "released")


def manifest_of(workspace: Workspace) -> Manifest:
    return verify_release(workspace.release)


def reseal(workspace: Workspace) -> None:
    """A manifest that fits the release as it is now."""
    path = workspace.release / "manifest.json"
    manifest = Manifest.read(path)
    files = {name: file_sha256(workspace.release / name) for name in manifest.files}
    manifest.model_copy(update={"files": files}).write(path)


def failed(workspace: Workspace) -> list[str]:
    run_stages(workspace, "qualify")
    return [check.check for check in Qualification.read(workspace.qualification).checks if not check.passed]


# what is released


def test_an_int8_release_says_so_with_its_own_figures_and_qualifies(released: Workspace) -> None:
    manifest, report = manifest_of(released), QuantizationReport.read(released.quantization)
    assert manifest.precision == report.released == "int8"
    assert manifest.quantization == report.quantization
    assert manifest.quantization is not None
    assert manifest.quantization.variant == "per_channel"  # per_tensor is not told apart from it
    assert report.evaluation is not None
    assert manifest.metrics.accuracy == report.evaluation.accuracy
    assert manifest.quantization.predictions == file_sha256(released.int8_predictions)
    assert all(rule.passed for rule in manifest.quantization.rules)
    qualification = Qualification.read(released.qualification)
    assert qualification.passed
    assert {"gates", "int8 against fp32"} < {check.check for check in qualification.checks}


def test_the_served_answers_are_those_that_were_judged(released: Workspace) -> None:
    table = pq.read_table(released.int8_predictions)
    gated = pq.read_table(released.predictions)
    assert table["path"].to_pylist() == gated["path"].to_pylist()
    assert table["probabilities"].to_pylist() != gated["probabilities"].to_pylist()


def test_the_golden_files_are_answered_by_the_int8_model_itself(released: Workspace) -> None:
    golden = GoldenCases.read(released.release / "golden" / "golden.json")
    assert golden.tolerance == INT8_GOLDEN_TOLERANCE
    opened = OpenedRelease(released.release)
    assert golden_faults(opened) == []
    image = opened.preprocess.prepare((released.release / "golden" / golden.cases[0].file).read_bytes())
    np.testing.assert_allclose(opened.answer(image), golden.cases[0].probabilities, atol=1e-6)


def test_the_card_tells_what_int8_means(released: Workspace) -> None:
    card = (released.release / "model_card.md").read_text()
    for text in ("int8 (per_channel)", "Calibrated on 12 items", "lower bound", "without VNNI", "within 0.07"):
        assert text in card


def test_every_out_is_the_same_again_and_holds_no_time(released: Workspace) -> None:
    def outs() -> tuple[str, ...]:
        return (
            folder_sha256(released.release),
            file_sha256(released.quantization),
            file_sha256(released.int8_predictions),
        )

    before = outs()
    for name in (released.quantization, released.int8_predictions, released.int8_timings):
        name.unlink()
    change_params(released, {"limits": {"threads": 1}})
    run_stages(released, "export")
    assert outs() == before
    assert "speedup" not in released.quantization.read_text()
    assert [each.model for each in LatencyReport.read(released.int8_timings).models] == ["fp32", *SPEEDS]


def test_latencies_alone_change_no_byte_but_the_choice(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    say_latencies(monkeypatch, {name: speed + 0.005 for name, speed in SPEEDS.items()})
    run_stages(ready, "export")
    first = folder_sha256(ready.release)
    say_latencies(monkeypatch)
    run_stages(ready, "export")
    assert folder_sha256(ready.release) == first


def test_the_fp32_way_knows_nothing_of_int8(ready: Workspace) -> None:
    change_params(ready, {"export": {"precision": "fp32"}})
    run_stages(ready, "evaluate", "gate", "export", "qualify")
    report = QuantizationReport.read(ready.quantization)
    assert (report.requested, report.released, report.quantization) == ("fp32", "fp32", None)
    assert pq.read_table(ready.int8_predictions).num_rows == 0
    assert not ready.int8_timings.exists()
    assert "## Precision" not in (ready.release / "model_card.md").read_text()
    assert manifest_of(ready).precision == "fp32"
    assert Qualification.read(ready.qualification).passed


# falling back


def fell_back(workspace: Workspace, fp32: bytes | None = None) -> str:
    """Export and qualify; the release is the fp32 model, and this is what it says of int8."""
    run_stages(workspace, "export", "qualify")
    manifest = manifest_of(workspace)
    assert manifest.precision == "fp32"
    assert manifest.quantization is not None
    assert (manifest.quantization.requested, manifest.quantization.variant) == ("int8", None)
    assert Qualification.read(workspace.qualification).passed
    reasons = "\n".join(manifest.quantization.reasons)
    card = (workspace.release / "model_card.md").read_text()
    assert all(reason in card for reason in manifest.quantization.reasons)
    assert manifest.metrics.accuracy == EvaluationReport.read(workspace.evaluation).accuracy
    assert int8_refused(workspace.quantization) == "; ".join(manifest.quantization.reasons)
    return reasons


def spoil_answers(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[FloatMatrix], FloatMatrix]) -> None:
    honest = search.answers_of

    def spoilt(*arguments: Any) -> Any:
        return {name: spoil(rows) for name, rows in honest(*arguments).items()}

    monkeypatch.setattr(search, "answers_of", spoilt)


def one_wrong(rows: FloatMatrix) -> FloatMatrix:
    changed = rows.copy()
    changed[0] = changed[0, ::-1]
    return changed


def test_a_quantised_model_that_loses_accuracy_falls_back_and_says_why(
    ready: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_params(ready, {"export": {"int8": {"accuracy_margin": 0.2, "macro_f1_margin": 0.2}}})
    spoil_answers(monkeypatch, one_wrong)
    reasons = fell_back(ready)
    assert "accuracy is not shown to lose less than 0.2 against fp32" in reasons
    assert "params.yaml: export.int8.accuracy_margin" in reasons
    assert "fp32_sensitive, which is gentler, failed on the test items" in reasons
    assert "export: fp32 is released, for no int8 model earned its place" in capsys.readouterr().err


def test_a_quantised_model_below_the_gate_falls_back(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_answers(monkeypatch, lambda rows: rows[:, ::-1].copy())
    assert "accuracy 0.000" in fell_back(ready)


def test_answers_that_are_no_numbers_fall_back(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_answers(monkeypatch, lambda rows: np.full_like(rows, np.nan))
    assert "not numbers" in fell_back(ready)


def test_a_slower_int8_model_falls_back(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    say_latencies(monkeypatch, dict.fromkeys(SPEEDS, 1.05))
    reasons = fell_back(ready)
    assert "not shown to be 1.1 times as fast as fp32" in reasons
    assert "1.05" not in reasons
    assert LatencyReport.read(ready.int8_timings).models[1].speedup.value == 1.05


def test_a_larger_int8_model_falls_back(ready: Workspace) -> None:
    change_params(ready, {"export": {"int8": {"max_size_ratio": 0.1}}})
    assert "allowed 0.1 (params.yaml: export.int8.max_size_ratio)" in fell_back(ready)


def test_a_network_that_cannot_be_quantised_falls_back(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: bytes) -> None:
        raise RuntimeError("no schema for Foo in /tmp/graft-int8-xyz/before.onnx")

    monkeypatch.setattr(search, "prepared_graph", fails)
    reasons = fell_back(ready)
    assert "cannot be quantised (RuntimeError; the run's log says more)" in reasons
    assert "/tmp" not in (ready.release / "manifest.json").read_text()


def test_a_fallback_releases_the_very_bytes_of_fp32(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    say_latencies(monkeypatch, dict.fromkeys(SPEEDS, 0.9))
    fell_back(ready)
    after = (ready.release / "model.onnx").read_bytes()
    golden = (ready.release / "golden" / "golden.json").read_bytes()
    change_params(ready, {"export": {"precision": "fp32"}})
    run_stages(ready, "export")
    assert (ready.release / "model.onnx").read_bytes() == after
    assert (ready.release / "golden" / "golden.json").read_bytes() == golden


# what is refused


def test_a_training_picture_that_changed_is_named_and_nothing_is_released(ready: Workspace) -> None:
    for file in (ready.root / "data" / "raw").rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match="changed after the data were validated"):
        run_stages(ready, "export")
    assert not (ready.release / "manifest.json").exists()


def test_other_answers_of_the_baselines_than_the_gated_ones_are_refused(ready: Workspace) -> None:
    ready.baseline_predictions.write_bytes(ready.baseline_predictions.read_bytes() + b"\n")
    with pytest.raises(Exception, match=r"baseline_predictions\.parquet changed since"):
        run_stages(ready, "export")


# qualify


def test_other_answers_than_those_judged_at_export_are_refused(released: Workspace) -> None:
    released.int8_predictions.write_bytes(released.int8_predictions.read_bytes() + b"\n")
    with pytest.raises(StageInputError, match=r"int8_predictions\.parquet is not what export judged"):
        run_stages(released, "qualify")


def test_the_fp32_graph_under_an_int8_manifest_is_found(released: Workspace) -> None:
    shutil.copy(released.backbone / "model.onnx", released.release / "model.onnx")
    reseal(released)
    assert failed(released) == ["opens"]


def test_an_int8_graph_with_a_damaged_weight_is_found_by_its_answers(released: Workspace) -> None:
    import onnx

    model = onnx.load(released.release / "model.onnx")
    weight = max(
        (each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8),
        key=lambda each: len(each.raw_data),
    )
    weight.raw_data = weight.raw_data[::-1]
    (released.release / "model.onnx").write_bytes(model.SerializeToString())
    reseal(released)
    assert "parity" in failed(released)


def test_labels_in_another_order_fail_the_judgement(released: Workspace) -> None:
    path = released.release / "labels.json"
    path.write_text(path.read_text().replace("ember", "x").replace("ocean", "ember").replace("x", "ocean"))
    reseal(released)
    assert {"same judgement", "gates", "int8 against fp32"} <= set(failed(released))


def test_a_margin_that_is_no_longer_kept_fails(released: Workspace) -> None:
    change_params(released, {"export": {"int8": {"accuracy_margin": 0.01}}})
    assert failed(released) == ["int8 against fp32"]


def test_a_gate_that_is_no_longer_passed_fails(released: Workspace) -> None:
    change_params(released, {"gate": {"min_test_items": 1000}})
    assert failed(released) == ["gates"]


def test_a_batch_answers_as_one_image_does(released: Workspace) -> None:
    session = open_session(released.release / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    together = session.run(["probabilities"], {"image": images})[0]
    alone = np.concatenate([session.run(["probabilities"], {"image": images[i : i + 1]})[0] for i in range(9)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_int8_is_off_unless_asked_for() -> None:
    from tasks.params import Params

    assert Params().export.precision == "fp32"
    assert INT8["export"]["precision"] == "int8"

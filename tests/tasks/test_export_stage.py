"""Stage export: only a passed verdict on exactly this model becomes a release, and a release says nothing of where."""

from __future__ import annotations

import errno
import getpass
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from small_network import make_training_workspace, small_network
from small_workspace import REPOSITORY, change_params, copy_workspace, make_workspace, run_stages

from tasks import export as stage
from tasks.digests import file_sha256, folder_sha256
from tasks.errors import GateNotPassed, GraftError, ReleaseError, StageInputError
from tasks.methods.adapted_folder import read_adapted
from tasks.metrics import softmax
from tasks.onnx_session import open_session
from tasks.params import load_params
from tasks.params.identity import result_params_sha256
from tasks.release import verify_release
from tasks.reports import AdaptationReport, EvaluationReport, Verdict, write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification
from tasks.reports.release_parts import Labels
from tasks.workspace import Workspace

RUN_ID = "20261121T070000-a1b2c3d4"
BATCH = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def ready(finished: Workspace) -> Workspace:
    """A workspace whose verdict passed, before its release."""
    shutil.rmtree(finished.release)
    return finished


def refused(workspace: Workspace, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        run_stages(workspace, "export")
    assert not workspace.release.exists()


def test_a_passed_verdict_becomes_a_whole_release(ready: Workspace) -> None:
    run_stages(ready, "export")
    assert verify_release(ready.release).verdict.passed


def test_a_failed_verdict_is_refused_with_its_reasons(ready: Workspace) -> None:
    change_params(ready, {"gate": {"min_test_items": 1000}})
    run_stages(ready, "gate")
    refused(ready, GateNotPassed, r"10 test items .*1000; .*gate\.min_test_items")


def test_a_missing_verdict_is_refused_with_the_stage_to_run(ready: Workspace) -> None:
    ready.verdict.unlink()
    refused(ready, StageInputError, r"gate\.json cannot be read .*run `graft adapt` \(stage gate\)")


def test_a_model_adapted_anew_beside_the_earlier_models_passed_verdict_is_refused(ready: Workspace) -> None:
    assert Verdict.read(ready.verdict).passed
    change_params(ready, {"adapt": {"method": {"head": "ridge"}}})
    run_stages(ready, "adapt")
    refused(ready, GateNotPassed, r"judged something else: models/adapted/ changed since; run `graft adapt`")


def test_adapting_anew_to_the_same_bits_keeps_the_verdict(ready: Workspace) -> None:
    before = folder_sha256(ready.adapted)
    shutil.rmtree(ready.adapted)
    run_stages(ready, "adapt", "export")
    assert folder_sha256(ready.adapted) == before


def test_a_verdict_under_other_gate_params_is_refused(ready: Workspace) -> None:
    change_params(ready, {"gate": {"accuracy": {"minimum": 0.1}}})
    refused(ready, GateNotPassed, r"judged something else: the section gate of params\.yaml changed since")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("data/splits.parquet", r"data/splits\.parquet"),
        ("reports/predictions.parquet", r"reports/predictions\.parquet"),
        ("reports/evaluation.json", r"reports/evaluation\.json"),
        ("models/adapted/head.safetensors", "models/adapted/"),
    ],
)
def test_a_verdict_on_anything_else_is_refused(ready: Workspace, name: str, what: str) -> None:
    (ready.root / name).write_bytes((ready.root / name).read_bytes() + b"\n")
    refused(ready, GateNotPassed, rf"judged something else: {what} changed since")


def test_a_head_beside_another_backbone_is_refused(ready: Workspace) -> None:
    report = BackboneReport.read(ready.backbone / "backbone.json")
    report.model_copy(update={"engine_sha256": "0" * 64}).write(ready.backbone / "backbone.json")
    refused(ready, StageInputError, r"learned on another backbone \(engine_sha256 differs\); run `graft adapt`")


def test_a_backbone_whose_graph_is_another_is_refused(ready: Workspace) -> None:
    graph = ready.backbone / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    refused(ready, StageInputError, r"model\.onnx is not the graph that backbone\.json names; run `graft adapt`")
    graph.unlink()
    refused(ready, StageInputError, r"model\.onnx cannot be read .*\(stage embed\)")


def test_without_the_lock_file_nothing_is_released(ready: Workspace) -> None:
    (ready.root / "requirements.lock").unlink()
    with pytest.raises(StageInputError, match=r"requirements\.lock is missing; `git checkout requirements\.lock`"):
        run_stages(ready, "export")


def test_an_export_that_breaks_off_leaves_no_release(ready: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        if path.name == "tiny.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_bytes(path, data)

    monkeypatch.setattr(stage, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run_stages(ready, "export")
    with pytest.raises(ReleaseError, match="is no release"):
        verify_release(ready.release)
    monkeypatch.undo()
    run_stages(ready, "export")
    assert verify_release(ready.release)


def test_what_an_earlier_export_left_does_not_stay(ready: Workspace) -> None:
    (ready.release / "golden").mkdir(parents=True)
    (ready.release / "golden" / "old.png").write_bytes(b"old")
    run_stages(ready, "export")
    assert not (ready.release / "golden" / "old.png").exists()


def test_the_manifest_names_what_the_release_was_made_of(finished: Workspace) -> None:
    manifest = Manifest.read(finished.release / "manifest.json")
    evaluation, backbone = (
        EvaluationReport.read(finished.evaluation),
        BackboneReport.read(finished.backbone / "backbone.json"),
    )
    assert manifest.digests.model_dump() == {
        "data": evaluation.digests.data,
        "code": stage.code_sha256(),
        "params": result_params_sha256(load_params(finished.params)),
        "lock": file_sha256(finished.root / "requirements.lock"),
        "backbone_weights": backbone.weights_sha256,
        "backbone_graph": file_sha256(finished.backbone / "model.onnx"),
        "adapted": folder_sha256(finished.adapted),
    }
    assert manifest.verdict == Verdict.read(finished.verdict)
    assert manifest.metrics.accuracy == evaluation.accuracy
    assert Labels.read(finished.release / "labels.json").labels == evaluation.labels == ["ember", "ocean"]


def test_the_graph_is_the_backbone_with_the_adapted_head_on_it(finished: Workspace) -> None:
    session, adapted = open_session(finished.release / "model.onnx"), read_adapted(finished.adapted)
    logits, probabilities, embedding = session.run(["logits", "probabilities", "embedding"], {"image": BATCH})
    (features,) = open_session(finished.backbone / "model.onnx").run(["embedding"], {"image": BATCH})
    np.testing.assert_array_equal(embedding, features)
    expected = (features @ adapted.head.weight.T + adapted.head.bias) / adapted.report.temperature
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.fixture(scope="module")
def fine_tuned_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace whose adapted model is a fine-tuned network, as adapt leaves it."""
    with small_network():
        workspace = make_training_workspace(tmp_path_factory.mktemp("fine_tuned") / "template")
        run_stages(workspace, "validate", "embed", "split", "review", "adapt")
        yield workspace


@pytest.fixture
def fine_tuned(fine_tuned_template: Workspace, tmp_path: Path) -> Workspace:
    return copy_workspace(fine_tuned_template, tmp_path / "fine_tuned")


@pytest.mark.parametrize("model", ["finished", "fine_tuned"])
def test_served_probabilities_are_those_of_the_logits_divided_by_the_temperature(
    model: str, request: pytest.FixtureRequest
) -> None:
    workspace: Workspace = request.getfixturevalue(model)
    calibrate(workspace, temperature=20.0)
    run_stages(workspace, "evaluate", "gate", "export", "qualify")
    adapted = read_adapted(workspace.adapted)
    below = adapted.graph or workspace.backbone / "model.onnx"
    assert (adapted.graph is None) == (model == "finished")
    (features,) = open_session(below).run(["embedding"], {"image": BATCH})
    raw = (features @ adapted.head.weight.T + adapted.head.bias).astype(np.float64)
    session = open_session(workspace.release / "model.onnx")
    logits, probabilities = session.run(["logits", "probabilities"], {"image": BATCH})
    np.testing.assert_allclose(logits, raw / 20, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, softmax(raw / 20), atol=1e-5)
    assert np.abs(softmax(raw) - softmax(raw / 20)).max() > 0.1
    assert Qualification.read(workspace.qualification).passed


def test_other_calibration_is_another_model(fine_tuned: Workspace) -> None:
    """The verdict was given on the probabilities of another temperature."""
    run_stages(fine_tuned, "evaluate", "gate")
    calibrate(fine_tuned, temperature=2.5)
    refused(fine_tuned, GateNotPassed, r"judged something else: models/adapted/, .* changed since")


def test_a_trained_graph_that_is_not_the_one_of_the_report_is_refused(fine_tuned: Workspace) -> None:
    run_stages(fine_tuned, "evaluate")
    graph = fine_tuned.adapted / "graph.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(StageInputError, match=r"graph\.onnx is missing or not the graph that adapted\.json names"):
        read_adapted(fine_tuned.adapted)
    refused(fine_tuned, GraftError, r"graft adapt")


def calibrate(workspace: Workspace, temperature: float) -> None:
    """Say in the report that this temperature was fitted; a gate then lets any calibration pass."""
    path = workspace.adapted / "adapted.json"
    AdaptationReport.read(path).model_copy(update={"temperature": temperature}).write(path)
    change_params(workspace, {"gate": {"calibration_error": {"maximum": 1.0}}})


def test_the_model_card_reads_well(finished: Workspace) -> None:
    card = (finished.release / "model_card.md").read_text()
    assert card.startswith("# small\n\nAn image classifier for 2 classes: ember, ocean.\n")
    assert "| backbone | squeezenet1_0, weights none (sha256 " in card
    assert "| licence | CC0-1.0 |" in card
    assert "## Measured on 10 test items that it never saw" in card
    assert "| metric | value | 95% interval |" in card
    assert re.search(r"^\| accuracy \| \d\.\d{3} \| \d\.\d{3} to \d\.\d{3} \|$", card, re.MULTILINE)
    assert re.search(r"^- accuracy .* reaches 0\.800 ", card, re.MULTILINE)
    assert "{" not in card
    assert "\n\n\n" not in card


def local_words(workspace: Workspace) -> list[str]:
    """Everything of this machine, moment and place that a release must not know."""
    places = [workspace.root, workspace.cache, REPOSITORY, Path.home(), Path(tempfile.gettempdir())]
    now = datetime.now(UTC)
    moments = [f"{now:%Y-%m-%d}", f"{now:%Y%m%d}", f"{datetime.now():%Y-%m-%d}"]
    return [*map(str, places), getpass.getuser(), socket.gethostname(), *moments, RUN_ID, "pytest"]


def scan(folder: Path, words: list[str]) -> list[str]:
    """`FILE holds WORD` for every whole word in any file; megabytes of weights hold very short ones by chance."""
    patterns = {word: re.compile(rb"(?<![\w-])" + re.escape(word.encode()) + rb"(?![\w-])") for word in words}
    return [
        f"{file.name} holds {word}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for word, pattern in patterns.items()
        if (len(word) > 3 or file.suffix != ".onnx") and pattern.search(file.read_bytes())
    ]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same run in another folder, with a cache of its own and another run id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_RUN_ID", RUN_ID)
        patch.delenv("GRAFT_CACHE_DIR", raising=False)
        workspace = make_workspace(tmp_path_factory.mktemp("another") / "deeper" / "place")
        run_stages(workspace)
    return workspace


def test_two_runs_in_two_folders_give_the_same_bytes_for_every_file(
    finished_template: Workspace, elsewhere: Workspace
) -> None:
    names = [*verify_release(elsewhere.release).files, "manifest.json"]
    ours = {name: file_sha256(finished_template.release / name) for name in names}
    assert {name: file_sha256(elsewhere.release / name) for name in names} == ours


def test_no_file_of_a_release_knows_path_host_user_time_or_run(
    finished_template: Workspace, elsewhere: Workspace
) -> None:
    assert scan(finished_template.release, local_words(finished_template)) == []
    assert scan(elsewhere.release, local_words(elsewhere)) == []


@pytest.mark.parametrize("plant", [lambda folder, word: f"made in {word} by", lambda folder, word: f'"{word}/x.py"'])
def test_the_scan_finds_what_it_looks_for(tmp_path: Path, plant: Callable[[Path, str], str]) -> None:
    word = str(tmp_path)
    (tmp_path / "card.md").write_bytes(b"\0\xff" + plant(tmp_path, word).encode())
    assert scan(tmp_path, [word]) == [f"card.md holds {word}"]

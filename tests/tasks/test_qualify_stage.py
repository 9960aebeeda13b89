"""Stage qualify: the release itself is judged, so nothing that was done to it after export gets through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from champion_scene import enthrone, record_use
from onnx import numpy_helper
from small_workspace import change_params, picture, run_stages

from tasks.digests import file_sha256
from tasks.errors import DataError, StageInputError
from tasks.release import manifest_sha256, verify_release
from tasks.reports import Verdict
from tasks.reports.qualification import Qualification
from tasks.tables import CHAMPION_PREDICTIONS, PREDICTIONS, read_table, write_table
from tasks.workspace import Workspace


def judged(workspace: Workspace) -> Qualification:
    run_stages(workspace, "qualify")
    return Qualification.read(workspace.qualification)


def failed(workspace: Workspace) -> list[str]:
    """The checks that failed; a qualification passes if and only if there are none."""
    found = judged(workspace)
    names = [check.check for check in found.checks if not check.passed]
    assert found.passed == (not names)
    assert len(found.reasons) == len(names)
    return names


def reseal(release: Path, **verdict_digests: str) -> None:
    """Make the manifest agree with the files, as a forger would."""
    path = release / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: file_sha256(release / name) for name in manifest["files"]}
    manifest["verdict"]["digests"].update(verdict_digests)
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    verify_release(release)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def change_graph(release: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(release / "model.onnx")
    change(model)
    (release / "model.onnx").write_bytes(model.SerializeToString())


def flip_a_weight(model: onnx.ModelProto) -> None:
    """Negate the head's largest weight."""
    head = next(part for part in model.graph.initializer if part.name == "head.weight")
    weight = numpy_helper.to_array(head).copy()
    weight.flat[np.abs(weight).argmax()] *= -1
    head.CopyFrom(numpy_helper.from_array(weight, "head.weight"))


def freeze_the_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def test_the_release_as_exported_qualifies_and_is_named_by_its_manifest(finished: Workspace) -> None:
    found = judged(finished)
    assert found.passed
    assert found.reasons == []
    assert found.manifest_sha256 == manifest_sha256(finished.release)
    names = [check.check for check in found.checks]
    assert names == ["integrity", "golden files", "parity", "same judgement", "batch sizes", "size"]
    details = {check.check: check.detail for check in found.checks}
    assert details["parity"].startswith("0 top-1 flips in 10 items, largest difference ")
    assert "batch 1: " in details["batch sizes"]
    assert "batch 3: " in details["batch sizes"]
    assert "batch 10: " in details["batch sizes"]


def test_the_qualification_is_the_same_bytes_every_time(finished: Workspace) -> None:
    before = finished.qualification.read_bytes()
    run_stages(finished, "qualify")
    assert finished.qualification.read_bytes() == before


@pytest.mark.parametrize(
    "tamper",
    [
        lambda release: change_graph(release, flip_a_weight),
        lambda release: (release / "model.onnx").write_bytes((release / "model.onnx").read_bytes()[:-1]),
        lambda release: (release / "notes.txt").write_text("mine"),
        lambda release: change_json(release / "preprocess.json", lambda parts: parts.update(interpolation="bicubic")),
        lambda release: change_json(release / "labels.json", lambda parts: parts["labels"].reverse()),
        lambda release: change_json(release / "golden" / "golden.json", lambda parts: parts["cases"].pop()),
        lambda release: (release / "golden" / "tiny.png").unlink(),
        lambda release: (release / "manifest.json").unlink(),
    ],
    ids=["weight", "truncated", "extra", "preprocess", "labels", "golden", "golden file", "manifest"],
)
def test_a_release_that_is_not_what_its_manifest_says_fails_and_is_not_run(
    finished: Workspace, tamper: Callable[[Path], None]
) -> None:
    tamper(finished.release)
    assert failed(finished) == ["integrity"]
    assert Qualification.read(finished.qualification).manifest_sha256 == ""


def rewrite_probability(release: Path) -> None:
    change_json(release / "golden" / "golden.json", lambda parts: parts["cases"][0]["probabilities"].reverse())


@pytest.mark.parametrize(
    ("forge", "checks"),
    [
        (lambda release: change_graph(release, flip_a_weight), {"golden files"}),
        (lambda release: change_graph(release, freeze_the_batch), {"opens"}),
        (lambda release: (release / "model.onnx").write_bytes(b"junk"), {"opens"}),
        (
            lambda release: change_json(release / "preprocess.json", lambda parts: parts.update(resize=40)),
            {"golden files", "parity"},
        ),
        (
            lambda release: change_json(release / "preprocess.json", lambda parts: parts.update(crop=30)),
            {"opens"},
        ),
        (
            lambda release: change_json(release / "labels.json", lambda parts: parts["labels"].reverse()),
            {"same judgement"},
        ),
        (
            lambda release: change_json(release / "labels.json", lambda parts: parts.update(labels=["a", "b"])),
            {"same judgement"},
        ),
        (rewrite_probability, {"golden files"}),
        (
            lambda release: shutil.copy(release / "golden" / "odd_size.jpg", release / "golden" / "cmyk.jpg"),
            {"golden files"},
        ),
    ],
    ids=["weight", "batch", "graph", "resize", "crop", "labels", "other labels", "golden", "golden file"],
)
def test_a_forged_release_whose_manifest_fits_is_found_by_what_it_answers(
    finished: Workspace, forge: Callable[[Path], None], checks: set[str]
) -> None:
    forge(finished.release)
    reseal(finished.release)
    assert checks <= set(failed(finished))


def test_predictions_that_differ_from_the_gated_ones_fail_parity(finished: Workspace) -> None:
    gated = pq.read_table(finished.predictions)
    rows = [list(reversed(row)) if place == 4 else row for place, row in enumerate(gated["probabilities"].to_pylist())]
    column = pa.array(rows, PREDICTIONS.field("probabilities").type)
    place = gated.schema.get_field_index("probabilities")
    write_table(gated.set_column(place, "probabilities", column), finished.predictions)
    with pytest.raises(StageInputError, match=r"predictions\.parquet is not what the gate judged"):
        run_stages(finished, "qualify")
    reseal(finished.release, predictions=file_sha256(finished.predictions))
    assert failed(finished) == ["parity"]
    assert "1 top-1 flips in 10 items" in Qualification.read(finished.qualification).reasons[0]


def test_a_release_above_the_size_limit_fails(finished: Workspace) -> None:
    change_params(finished, {"qualify": {"max_size_mb": 0.5}})
    assert failed(finished) == ["size"]
    assert "allowed 0.5 (params.yaml: qualify.max_size_mb)" in Qualification.read(finished.qualification).reasons[0]


def test_without_a_release_the_stage_to_run_is_named(finished: Workspace) -> None:
    shutil.rmtree(finished.release)
    with pytest.raises(StageInputError, match=r"models/release/ is missing; run `graft adapt` \(stage export\)"):
        run_stages(finished, "qualify")


def test_a_test_picture_that_changed_since_it_was_validated_is_named(finished: Workspace) -> None:
    path = pq.read_table(finished.predictions)["path"][0].as_py()
    picture("ember", 999).save(finished.root / "data" / "raw" / path)
    with pytest.raises(DataError, match=rf"{path} changed after the data were validated"):
        run_stages(finished, "qualify")


# with a champion


@pytest.fixture
def challenging(finished: Workspace) -> Workspace:
    """A second model with a release of its own, judged against the first, which is in production."""
    enthrone(finished)
    params = {"adapt": {"method": {"head": "ridge"}}, "gate": {"champion": {"refuse": [], "alpha": 0.2}}}
    change_params(finished, params)
    run_stages(finished, "adapt", "evaluate")
    record_use(finished, use=2)
    run_stages(finished, "gate", "export")
    return finished


def test_the_comparison_is_repeated_with_what_the_release_itself_answers(challenging: Workspace) -> None:
    found = judged(challenging)
    assert found.passed
    check = next(check for check in found.checks if check.check == "champion")
    champion = Verdict.read(challenging.verdict).champion
    assert champion is not None
    assert champion.use == 2
    assert check.detail.startswith(f"{champion.outcome} (")
    told, gated = check.detail.split("; gated ")
    assert told == gated


def test_a_release_that_answers_otherwise_than_what_was_compared_fails_the_comparison(challenging: Workspace) -> None:
    """Its two classes change places: all that was right is wrong, and the champion is far ahead."""
    change_json(challenging.release / "labels.json", lambda parts: parts["labels"].reverse())
    reseal(challenging.release)
    assert "champion" in failed(challenging)
    texts = [
        check.detail for check in Qualification.read(challenging.qualification).checks if check.check == "champion"
    ]
    assert texts[0].startswith("worse (")


@pytest.mark.parametrize("name", ["champion_predictions", "evaluation"])
def test_a_comparison_on_other_answers_than_the_gated_ones_is_refused(challenging: Workspace, name: str) -> None:
    path: Path = getattr(challenging, name)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StageInputError, match=rf"{path.name} is not what the gate judged; run `graft adapt`"):
        run_stages(challenging, "qualify")


def test_answers_of_fewer_items_are_not_compared_with(challenging: Workspace) -> None:
    answers = read_table(challenging.champion_predictions, CHAMPION_PREDICTIONS)
    write_table(answers.slice(1), challenging.champion_predictions)
    reseal(challenging.release, champion_predictions=file_sha256(challenging.champion_predictions))
    with pytest.raises(StageInputError, match=r"has no answers of v3 to these 10 test items; run `graft adapt`"):
        run_stages(challenging, "qualify")

"""Stage export: the adapted model and a passed verdict on exactly it become one release folder.

Run by hand: python -m tasks.export
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from tasks.digests import bytes_sha256, file_sha256, rows_sha256
from tasks.errors import StageInputError
from tasks.golden import golden_files
from tasks.methods.adapted_folder import calibrated, read_adapted
from tasks.model_card import model_card
from tasks.onnx_files import with_linear_head
from tasks.opened_release import golden_cases
from tasks.params import Params
from tasks.params.identity import result_params_sha256
from tasks.params.release import Precision
from tasks.quantization.judgement import read_basis
from tasks.quantization.search import Quantized, as_it_is, quantized
from tasks.release import MANIFEST, verify_release
from tasks.release_run import ReleaseRun
from tasks.reports import AdaptationReport, EvaluationReport, Verdict, write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.reports.manifest import Manifest, ReleaseMetrics, SourceDigests
from tasks.reports.release_parts import INT8_GOLDEN_TOLERANCE, Labels
from tasks.stage import run_stage, say
from tasks.tables import write_table
from tasks.verdicts import check_verdict
from tasks.workspace import Workspace


def export(workspace: Workspace, params: Params) -> None:
    """Write models/release/, and what became of int8: reports/int8.json and reports/int8_predictions.parquet.

    Raises:
        GateNotPassed: the verdict refuses the model, or was given on another model, split, prediction or gate.
        StageInputError: an earlier stage's file is missing or does not fit the others.
        DataError: a file that int8 is calibrated or judged with changed since it was validated.
    """
    verdict = check_verdict(workspace, params)
    evaluation = EvaluationReport.read(workspace.evaluation)
    backbone, graph = read_backbone(workspace)
    adapted, release = read_adapted(workspace.adapted), workspace.release
    check_fit(adapted.report, backbone, evaluation)
    if adapted.graph is not None:
        graph = adapted.graph.read_bytes()
    head = calibrated(adapted.head, adapted.report.temperature)
    shutil.rmtree(release, ignore_errors=True)
    form = _form(workspace, params, with_linear_head(graph, head.weight, head.bias), verdict, evaluation, backbone)
    write_bytes(release / "model.onnx", form.model)
    write_bytes(release / "preprocess.json", (backbone.preprocess.model_dump_json(indent=2) + "\n").encode())
    Labels(labels=form.evaluation.labels).write(release / "labels.json")
    card = model_card(params, backbone, form.evaluation, verdict, adapted.report, form.report)
    write_bytes(release / "model_card.md", card.encode())
    write_golden(release, form.report.released)
    manifest = manifest_of(workspace, params, verdict, form, backbone)
    manifest.write(release / MANIFEST)
    verify_release(release)
    say(f"export: {len(manifest.files)} files, model {file_sha256(release / 'model.onnx')[:12]}")


def _form(
    workspace: Workspace,
    params: Params,
    model: bytes,
    verdict: Verdict,
    evaluation: EvaluationReport,
    backbone: BackboneReport,
) -> Quantized:
    """The model in the precision that is released, with the files that tell of it written."""
    for path in (workspace.quantization, workspace.int8_predictions, workspace.int8_timings):
        path.unlink(missing_ok=True)
    if params.export.precision == "fp32":
        form = as_it_is(params, model, evaluation)
    else:
        form = quantized(workspace, params, model, backbone.preprocess, read_basis(workspace, verdict))
    write_table(form.predictions, workspace.int8_predictions)
    form.report.write(workspace.quantization)
    if form.latencies is not None:
        form.latencies.write(workspace.int8_timings)
    return form


def read_backbone(workspace: Workspace) -> tuple[BackboneReport, bytes]:
    """The backbone's report and its graph.

    Raises:
        StageInputError: one is missing, or the graph is not the one that the report names.
    """
    report, path = BackboneReport.read(workspace.backbone / "backbone.json"), workspace.backbone / "model.onnx"
    try:
        graph = path.read_bytes()
    except OSError as err:
        raise StageInputError(f"{path} cannot be read ({err.strerror}); run `graft adapt` (stage embed)") from err
    if bytes_sha256(graph) != report.graph_sha256:
        raise StageInputError(f"{path} is not the graph that backbone.json names; run `graft adapt` (stage embed)")
    return report, graph


def check_fit(adaptation: AdaptationReport, backbone: BackboneReport, evaluation: EvaluationReport) -> None:
    """Refuse a head that was learned on another backbone than the one at hand, or evaluated under other labels.

    Raises:
        StageInputError: naming what differs.
    """
    mend = "run `graft adapt` (stages adapt, evaluate and gate)"
    for what in ("graph_sha256", "engine_sha256"):
        if getattr(adaptation, what) != getattr(backbone, what):
            raise StageInputError(f"models/adapted/ was learned on another backbone ({what} differs); {mend}")
    if adaptation.labels != evaluation.labels:
        raise StageInputError(f"models/adapted/ knows {adaptation.labels}, evaluated were {evaluation.labels}; {mend}")


def write_golden(release: Path, precision: Precision) -> None:
    """Copy the golden files into the release and record its answers to them."""
    for file in golden_files():
        write_bytes(release / "golden" / file.name, file.read_bytes())
    cases = golden_cases(ReleaseRun(release), golden_files())
    if precision == "int8":
        cases = cases.model_copy(update={"tolerance": INT8_GOLDEN_TOLERANCE})
    cases.write(release / "golden" / "golden.json")


def manifest_of(
    workspace: Workspace, params: Params, verdict: Verdict, form: Quantized, backbone: BackboneReport
) -> Manifest:
    """The manifest of the files that lie in models/release/ now."""
    release, evaluation = workspace.release, form.evaluation
    files = {path.relative_to(release).as_posix(): path for path in sorted(release.rglob("*")) if path.is_file()}
    return Manifest(
        name=params.export.name,
        graft_version=version("graft"),
        files={name: file_sha256(path) for name, path in files.items() if name != MANIFEST},
        digests=SourceDigests(
            data=evaluation.digests.data,
            code=code_sha256(),
            params=result_params_sha256(params),
            lock=lock_sha256(workspace),
            backbone_weights=backbone.weights_sha256,
            backbone_graph=backbone.graph_sha256,
            adapted=evaluation.digests.adapted,
        ),
        metrics=ReleaseMetrics(
            test_items=evaluation.test_items, accuracy=evaluation.accuracy, macro_f1=evaluation.macro_f1
        ),
        verdict=verdict,
        precision=form.report.released,
        quantization=form.report.quantization,
    )


def code_sha256() -> str:
    """sha256 over the source of the stages and all that they import."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return rows_sha256((file.relative_to(package).as_posix(), file_sha256(file)) for file in files)


def lock_sha256(workspace: Workspace) -> str:
    """sha256 of requirements.lock.

    Raises:
        StageInputError: the file is missing, so nobody could say with what the release was made.
    """
    lock = workspace.root / "requirements.lock"
    if not lock.is_file():
        raise StageInputError("requirements.lock is missing; `git checkout requirements.lock` brings it back")
    return file_sha256(lock)


if __name__ == "__main__":
    run_stage("export", export)

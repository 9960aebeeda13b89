"""Stage qualify: judge the release itself, from the test files' bytes through ONNX Runtime.

Run by hand: python -m tasks.qualify
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.champion_judgement import judge_champion
from tasks.digests import file_sha256
from tasks.errors import ReleaseError, StageInputError
from tasks.metrics import accuracy, confusion_matrix, macro_f1
from tasks.model_comparison import measured_again
from tasks.opened_release import golden_faults
from tasks.params import Params
from tasks.quantization.decision import gain_text, losses
from tasks.quantization.judgement import judge_answers, read_basis
from tasks.release import manifest_sha256, verify_release
from tasks.release_run import ReleaseRun
from tasks.reports import ChampionVerdict, EvaluationReport
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Check, Qualification
from tasks.stage import Progress, run_stage, say
from tasks.tables import CHAMPION_PREDICTIONS, read_table
from tasks.threads import worker_threads
from tasks.workspace import Workspace

FloatMatrix = npt.NDArray[np.float32]

BATCH_PROBE_ITEMS = 33
"""Items that are answered again in batches of 1, 3 and all at once."""


def qualify(workspace: Workspace, params: Params) -> None:
    """Write reports/qualification.json, passed or not.

    Raises:
        StageInputError: there is no release, or the predictions are not those that were gated.
        DataError: a test file changed since it was validated.
    """
    qualification = qualify_release(workspace, params)
    qualification.write(workspace.qualification)
    for check in qualification.checks:
        say(f"qualify: {'ok' if check.passed else 'FAILED'} {check.check}: {check.detail}")


def qualify_release(workspace: Workspace, params: Params) -> Qualification:
    """Every check on models/release/; a broken folder fails the first one and ends it."""
    release = workspace.release
    if not release.is_dir():
        raise StageInputError("models/release/ is missing; run `graft adapt` (stage export)")
    try:
        manifest = verify_release(release)
    except ReleaseError as err:
        return Qualification(passed=False, manifest_sha256="", checks=[_check("integrity", False, str(err))])
    checks = [_check("integrity", True, f"{len(manifest.files)} files as the manifest names them")]
    try:
        run = ReleaseRun(release)
    except ReleaseError as err:
        return Qualification(passed=False, manifest_sha256="", checks=[*checks, _check("opens", False, str(err))])
    checks += _behaviour(workspace, params, manifest, run)
    return Qualification(
        passed=all(check.passed for check in checks), manifest_sha256=manifest_sha256(release), checks=checks
    )


def _behaviour(workspace: Workspace, params: Params, manifest: Manifest, run: ReleaseRun) -> list[Check]:
    gated = _gated_predictions(workspace, manifest)
    root = workspace.data_root(params.data.path)
    files, contents = [root / path for path in gated["path"].to_pylist()], gated["sha256"].to_pylist()
    progress, allowed = Progress("qualify", len(files)), params.qualify.max_probability_difference
    threads, probed = params.limits.of("qualify").threads, BATCH_PROBE_ITEMS
    served = run.probabilities(files, contents, params.embed.batch_size, threads, progress.advance)
    expected = np.array(gated["probabilities"].to_pylist(), dtype=np.float32).reshape(len(files), -1)
    return [
        _golden(run),
        _parity(served, expected, allowed),
        _same_metrics(run, served, gated, manifest),
        *(_same_outcome if manifest.precision == "fp32" else _judged_again)(workspace, params, run, served, manifest),
        _batches(run, run.prepared(files[:probed], contents[:probed]), served[:probed], allowed, threads),
        _size(workspace.release, params.qualify.max_size_mb),
    ]


def _gated_predictions(workspace: Workspace, manifest: Manifest) -> pa.Table:
    """The answers that the release was judged by: the gated ones, or those of the int8 model at its export."""
    path, digest, judge = workspace.predictions, manifest.verdict.digests.predictions, "the gate"
    if manifest.precision == "int8":
        own = manifest.quantization
        path, digest, judge = workspace.int8_predictions, (own and own.predictions) or "", "export"
    if not path.is_file() or file_sha256(path) != digest:
        raise StageInputError(f"{workspace.relative(path)} is not what {judge} judged; run `graft adapt`")
    # Not pq.read_table: that imports pyarrow.dataset and, with it, pandas.
    return pq.ParquetFile(path).read()


def _golden(run: ReleaseRun) -> Check:
    faults = golden_faults(run)
    return _check("golden files", not faults, "; ".join(faults) or "every golden file gives the recorded answer")


def _parity(served: FloatMatrix, expected: FloatMatrix, allowed: float) -> Check:
    if served.shape != expected.shape or not np.isfinite(served).all():
        return _check("parity", False, f"{served.shape} finite probabilities expected as {expected.shape}")
    difference = float(np.abs(served - expected).max(initial=0.0))
    flips = int((served.argmax(axis=1) != expected.argmax(axis=1)).sum())
    text = f"{flips} top-1 flips in {len(served)} items, largest difference {difference:.2g} (allowed {allowed:.0e})"
    return _check("parity", flips == 0 and difference <= allowed, text)


def _same_metrics(run: ReleaseRun, served: FloatMatrix, gated: pa.Table, manifest: Manifest) -> Check:
    index = {label: place for place, label in enumerate(run.labels)}
    unknown = sorted(set(gated["label"].to_pylist()) - index.keys())
    if unknown:
        return _check("same judgement", False, f"labels.json lacks {', '.join(unknown)}")
    true = np.array([index[label] for label in gated["label"].to_pylist()], dtype=np.int64)
    confusion = confusion_matrix(true, served.argmax(axis=1), len(run.labels))
    metrics = manifest.metrics
    served_values, gated_values = (
        (accuracy(confusion), macro_f1(confusion)),
        (metrics.accuracy.value, metrics.macro_f1.value),
    )
    same = bool(np.allclose(served_values, gated_values, rtol=0.0, atol=1e-12))
    text = f"accuracy {served_values[0]:.4f}, macro-F1 {served_values[1]:.4f}; gated {gated_values[0]:.4f}, "
    return _check("same judgement", same, text + f"{gated_values[1]:.4f}")


def _same_outcome(
    workspace: Workspace, params: Params, run: ReleaseRun, served: FloatMatrix, manifest: Manifest
) -> list[Check]:
    """The comparison with earlier releases once more, now with this release's own answers; none where none was made.

    Raises:
        StageInputError: the comparison, or the answers that it rests on, are not those that were gated.
    """
    gated = manifest.verdict.champion
    if gated is None or gated.champion is None:
        return []
    for path, digest in (
        (workspace.evaluation, manifest.verdict.digests.evaluation),
        (workspace.champion_predictions, manifest.verdict.digests.champion_predictions),
    ):
        if not path.is_file() or file_sha256(path) != digest:
            raise StageInputError(f"{workspace.relative(path)} is not what the gate judged; run `graft adapt`")
    answers = read_table(workspace.champion_predictions, CHAMPION_PREDICTIONS)
    ours = [run.labels[place] for place in served.argmax(axis=1)]
    evaluation = EvaluationReport.read(workspace.evaluation)
    again = [measured_again(pair, answers, ours, evaluation.labels, params.evaluate) for pair in evaluation.comparisons]
    judged = judge_champion(again, params.gate.champion, gated.use, params.promotion.equivalent)
    same = (judged.outcome, judged.promotable) == (gated.outcome, gated.promotable)
    return [_check("champion", same, f"{_outcome_text(judged)}; gated {_outcome_text(gated)}")]


def _judged_again(
    workspace: Workspace, params: Params, run: ReleaseRun, served: FloatMatrix, manifest: Manifest
) -> list[Check]:
    """Of an int8 release: every rule of the gate, the champion and the margins to fp32, with its own answers.

    Raises:
        StageInputError: what it is held against is not what was gated.
    """
    basis = read_basis(workspace, manifest.verdict)
    labels = basis.evaluation.labels
    if sorted(labels) != sorted(run.labels):
        return [_check("gates", False, f"labels.json names {run.labels}, judged were {labels}")]
    again = judge_answers(basis, served[:, [run.labels.index(label) for label in labels]], params)
    lost = losses(again.accuracy_gain, again.macro_f1_gain, params.export.int8)
    compared = f" and the outcome against v{again.champion.version}" if again.champion else ""
    kept = f"accuracy {gain_text(again.accuracy_gain)}, macro-F1 {gain_text(again.macro_f1_gain)} against fp32"
    return [
        _check("gates", not again.faults, "; ".join(again.faults) or f"{len(again.rules)} rules{compared} hold"),
        _check("int8 against fp32", not lost, "; ".join(lost) or kept),
    ]


def _outcome_text(judged: ChampionVerdict) -> str:
    bounds = "" if judged.lower is None or judged.upper is None else f" ({judged.lower:+.4f} to {judged.upper:+.4f})"
    return f"{judged.outcome}{bounds}"


def _batches(
    run: ReleaseRun, images: npt.NDArray[np.uint8], expected: FloatMatrix, allowed: float, threads: int
) -> Check:
    """The same images in other batches, the batch sizes side by side."""
    passed, seen, sizes = True, [], (1, 3, max(1, len(images)))
    with ThreadPoolExecutor(worker_threads(threads)) as pool:
        answers = list(pool.map(lambda size: run.answers(images, size), sizes))
    for size, answered in zip(sizes, answers, strict=True):
        difference = float(np.abs(answered - expected).max(initial=0.0))
        flips = int((answered.argmax(axis=1) != expected.argmax(axis=1)).sum())
        passed = passed and flips == 0 and difference <= allowed
        seen.append(f"batch {size}: {flips} flips, {difference:.2g}")
    return _check("batch sizes", passed, f"top-1 flips and largest difference at {', '.join(seen)}")


def _size(release: Path, allowed_mb: float) -> Check:
    size_mb = sum(path.stat().st_size for path in release.rglob("*") if path.is_file()) / 1e6
    text = f"{size_mb:.2f} MB, allowed {allowed_mb:g} (params.yaml: qualify.max_size_mb)"
    return _check("size", size_mb <= allowed_mb, text)


def _check(check: str, passed: bool, detail: str) -> Check:
    return Check(check=check, passed=passed, detail=detail)


if __name__ == "__main__":
    run_stage("qualify", qualify)

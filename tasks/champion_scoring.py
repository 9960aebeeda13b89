"""The pinned releases (data/champion.json) on the test items of now, each as it would serve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.digests import file_sha256
from tasks.errors import ReleaseError, StageInputError, counted
from tasks.metrics import IntVector
from tasks.model_comparison import measured
from tasks.opened_release import golden_faults
from tasks.params import Params
from tasks.preprocess import Preprocess
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.release_run import ReleaseRun
from tasks.reports import PairedComparison, PinnedRelease
from tasks.reports.backbone import BackboneReport
from tasks.reports.comparison import Against
from tasks.reports.manifest import Manifest
from tasks.reports.release_parts import Labels
from tasks.stage import Progress
from tasks.tables import CHAMPION_PREDICTIONS, RELEASE_ITEMS, read_table
from tasks.verdicts import read_champion_pin
from tasks.workspace import Workspace

MEND = "run `graft adapt`, which copies it from the release store"
DECIDE = "`graft promote VERSION --force` decides without a comparison"
LEARNED_FROM = frozenset({"train", "validation"})


@dataclass(frozen=True)
class Challenger:
    """The new model on the test items, which stand sorted by path.

    Attributes:
        names: class names in the order of its outputs.
        labels, predicted: (items,) indices into `names`.
        adapted: sha256 of models/adapted/.
    """

    names: list[str]
    paths: list[str]
    sha256: list[str]
    labels: IntVector
    predicted: IntVector
    adapted: str
    backbone: BackboneReport


@dataclass(frozen=True)
class Compared:
    """A comparison, and what the release calls each test item; None where it was not asked."""

    comparison: PairedComparison
    predicted: list[str] | None = None


def compare_with_pinned(workspace: Workspace, params: Params, ours: Challenger) -> list[Compared]:
    """One entry for each pinned release, the champion first; none where nothing is in production.

    Raises:
        StageInputError: the pin is missing, or a release's copy is missing or damaged.
        DataError: a test file changed since it was validated or no longer decodes.
    """
    pin = read_champion_pin(workspace)
    named: list[tuple[Against, PinnedRelease | None]] = [("champion", pin.champion), ("best", pin.best)]
    return [_compare(workspace, params, ours, against, pinned) for against, pinned in named if pinned]


def champion_predictions(ours: Challenger, compared: Sequence[Compared]) -> pa.Table:
    """What the pinned releases answer, one row for each test item; no row where nothing was asked."""
    answers = {one.comparison.against: one.predicted for one in compared if one.predicted is not None}
    if not answers:
        return CHAMPION_PREDICTIONS.empty_table()
    blank = [None] * len(ours.paths)
    rows = {
        "path": ours.paths,
        "sha256": ours.sha256,
        "label": [ours.names[label] for label in ours.labels],
        "champion": answers.get("champion", blank),
        "best": answers.get("best", blank),
    }
    return pa.table(rows, schema=CHAMPION_PREDICTIONS)


def _compare(
    workspace: Workspace, params: Params, ours: Challenger, against: Against, pinned: PinnedRelease
) -> Compared:
    folder = workspace.pinned_release(pinned.manifest_sha256)
    manifest = _verified(workspace, folder, pinned)
    pair = PairedComparison(against=against, version=pinned.version, manifest_sha256=pinned.manifest_sha256)
    if _is_same_model(folder, manifest, ours, params):
        return Compared(pair.model_copy(update={"unchanged": True}))
    why = _no_fair_test(workspace, pinned, ours)
    if why:
        return Compared(pair.model_copy(update={"incomparable": why}))
    try:
        run = ReleaseRun(folder)
    except ReleaseError as err:
        return Compared(
            pair.model_copy(update={"incomparable": f"v{pinned.version} takes other input: {err}; {DECIDE}"})
        )
    names = [params.data.label_aliases.get(label, label) for label in run.labels]
    why = _other_answers(run, names, pinned, ours)
    if why:
        return Compared(pair.model_copy(update={"incomparable": why}))
    answered = [names[place] for place in _top_classes(workspace, params, run, ours)]
    theirs = np.array([ours.names.index(name) for name in answered], dtype=np.int64)
    return Compared(measured(pair, ours.labels, ours.predicted, theirs, len(ours.names), params.evaluate), answered)


def _verified(workspace: Workspace, folder: Path, pinned: PinnedRelease) -> Manifest:
    """The manifest of a pinned release's copy, once every byte of it is as the pin says.

    Raises:
        StageInputError: the copy, or the table of its items, is missing or damaged.
    """
    what, items = f"the copy of v{pinned.version}", workspace.pinned_items(pinned.manifest_sha256)
    if not folder.is_dir():
        raise StageInputError(f"{what}, {workspace.relative(folder)}, is missing; {MEND}")
    try:
        manifest = verify_release(folder, beside=(QUALIFICATION,))
    except ReleaseError as err:
        raise StageInputError(f"{what} cannot be compared with: {err}; {MEND}") from err
    if manifest_sha256(folder) != pinned.manifest_sha256:
        raise StageInputError(f"{what}, {workspace.relative(folder)}, holds another release; {MEND}")
    if pinned.items_sha256 is not None and (not items.is_file() or file_sha256(items) != pinned.items_sha256):
        raise StageInputError(f"{what}: {workspace.relative(items)} is missing or damaged; {MEND}")
    return manifest


def _is_same_model(folder: Path, manifest: Manifest, ours: Challenger, params: Params) -> bool:
    """Whether the release holds the model that is evaluated: equal network, head, preprocessing and class names.

    The same model in another precision is asked for is another one. Where int8 was asked for and fp32 was released,
    asking for int8 again gives the same.
    """
    asked = manifest.quantization.requested if manifest.quantization else manifest.precision
    if asked != params.export.precision:
        return False
    made_of = manifest.digests.adapted, manifest.digests.backbone_graph
    if made_of != (ours.adapted, ours.backbone.graph_sha256):
        return False
    try:
        preprocess = Preprocess.model_validate_json((folder / "preprocess.json").read_bytes())
        return preprocess == ours.backbone.preprocess and Labels.read(folder / "labels.json").labels == ours.names
    except (ValueError, StageInputError):
        return False


def _no_fair_test(workspace: Workspace, pinned: PinnedRelease, ours: Challenger) -> str:
    """Why these test items cannot judge a release; empty where they can.

    Raises:
        StageInputError: the table of its items is not readable.
    """
    version = f"v{pinned.version}"
    if not ours.paths:
        return "there are no test items; add labelled items, or raise split.test_share"
    if pinned.items_sha256 is None:
        return f"what {version} learned from is not on record, so no test item is sure to be new to it; {DECIDE}"
    rows = read_table(workspace.pinned_items(pinned.manifest_sha256), RELEASE_ITEMS)
    pairs = zip(rows["sha256"].to_pylist(), rows["side"].to_pylist(), strict=True)
    known = {content.hex() for content, side in pairs if side in LEARNED_FROM}
    seen = [path for path, content in zip(ours.paths, ours.sha256, strict=True) if content in known]
    if not seen:
        return ""
    return (
        f"the test set changed: {version} learned from {counted(len(seen), 'item')} of it, such as {seen[0]}; set the "
        f"section split of params.yaml back to what it was for {version}, or {DECIDE}"
    )


def _other_answers(run: ReleaseRun, names: Sequence[str], pinned: PinnedRelease, ours: Challenger) -> str:
    """Why a release's answers are not to be held against ours; empty where they are.

    Args:
        names: what its outputs are called today.
    """
    version = f"v{pinned.version}"
    lacking, gone = sorted(set(ours.names) - set(names)), sorted(set(names) - set(ours.names))
    if lacking or gone:
        parts = [f"{version} does not know {_listed(lacking)}"] * bool(lacking)
        parts += [f"{version} knows {_listed(gone)}, which the data have no longer"] * bool(gone)
        alias = "where a class only got another name, say so in params.yaml (data.label_aliases: {old: new})"
        return f"the classes changed: {' and '.join(parts)}; {alias}; otherwise {DECIDE}"
    faults = golden_faults(run)
    if faults:
        return f"{version} no longer answers here as it did when it was released: {faults[0]}; {DECIDE}"
    return ""


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(map(repr, names[:most]))}{more}"


def _top_classes(workspace: Workspace, params: Params, run: ReleaseRun, ours: Challenger) -> list[int]:
    """The output that a release gives the highest probability, for each test item, as a server would find it."""
    root, progress = workspace.data_root(params.data.path), Progress("evaluate", len(ours.paths))
    files, threads = [root / path for path in ours.paths], params.limits.of("evaluate").threads
    answers = run.probabilities(files, ours.sha256, params.embed.batch_size, threads, progress.advance)
    return [int(place) for place in answers.argmax(axis=1)]

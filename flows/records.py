"""What the registry remembers: versions, and every change of what is in production."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from tasks.params.champion import Outcome
from tasks.reports.document import Record
from tasks.reports.estimate import Estimate

PROD = "prod"
"""The one stage that servers follow."""
SHADOW = "shadow"
"""What servers let answer beside it, for comparison only; no stage, and nobody's to promote."""

Action = Literal["promote", "rollback"]


class VersionRecord(Record):
    """A published release; one line of versions.jsonl on refs/graft/state. A digest is registered once.

    Attributes:
        name: of the model (export.name).
        commit: of the run branch, whose tree holds dvc.lock, params.yaml, metrics and verdicts.
        in_place: the data were read in place, so that no other machine can reproduce the release.
        outcome: of the comparison with `champion`, the manifest sha256 of what was in production then.
        promotable: the verdict allowed promotion.
        why: what the run was started with, such as a schedule's name or a person's reason.
        at: UTC, ISO 8601.
    """

    version: int
    name: str
    manifest_sha256: str
    model_sha256: str
    data_digest: str
    params_sha256: str
    run_id: str
    branch: str | None
    commit: str | None
    in_place: bool
    accuracy: Estimate
    macro_f1: Estimate
    test_items: int
    outcome: Outcome
    promotable: bool
    champion: str | None
    graft_version: str
    by: str
    why: str
    at: str


class StageChange(Record):
    """One line of history.jsonl on refs/graft/state: from `at` on, `stage` is this version.

    Attributes:
        number: from 1 on without gaps; the pointer in the store names the last one that it shows.
        previous: version before; null for the first.
        forced: the verdict did not allow it, and a person did it all the same; stays so for ever.
    """

    number: int
    stage: str
    action: Action
    version: int
    manifest_sha256: str
    previous: int | None
    previous_sha256: str | None
    forced: bool
    actor: str
    reason: str
    at: str


class ShadowChange(Record):
    """One line of shadows.jsonl on refs/graft/state: from `at` on, this version is in the shadow of production.

    Attributes:
        number: from 1 on.
        version, manifest_sha256: null: there is no shadow any more.
    """

    number: int
    version: int | None
    manifest_sha256: str | None
    actor: str
    reason: str
    at: str


class TestSetUse(Record):
    """One line of test_uses.jsonl on refs/graft/state: a decision that a test set makes for the first time.

    Attributes:
        model: sha256 of models/adapted/.
        champion: manifest sha256 of the release that the model is judged against; null: nothing is in production.
    """

    __test__ = False

    test_set: str
    model: str
    champion: str | None = None
    run_id: str
    at: str

    @property
    def decision(self) -> tuple[str, str, str | None]:
        """What makes it one use: made again, it is the same."""
        return self.test_set, self.model, self.champion


def now_text() -> str:
    """UTC now as records hold it.

    >>> len(now_text())
    20
    """
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"

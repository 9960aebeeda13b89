"""The corridor beside a champion: the use is entered before any figure; a verdict that does not compare fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flows import corridor
from flows.corridor import CorridorRun
from tasks.errors import StageFailed
from tasks.params import parse_params
from tasks.reports import ChampionPin, ChampionVerdict, JudgedDigests, PinnedRelease, Verdict
from tasks.reports.champion import TestUse
from tasks.workspace import Workspace

CHAMPION = PinnedRelease(version=3, manifest_sha256="c" * 64)


@pytest.fixture
def run(tmp_path: Path) -> CorridorRun:
    ChampionPin(champion=CHAMPION).write(Workspace(tmp_path).champion_pin)
    return CorridorRun(Workspace(tmp_path), parse_params({}), "run", threading.Event())


def test_the_use_of_the_test_set_is_entered_before_evaluate_shows_anything(
    run: CorridorRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def stage(_: CorridorRun, name: str) -> None:
        seen.append(name)
        if name == "evaluate":
            raise KeyboardInterrupt

    def enter(workspace: Workspace, run_id: str) -> TestUse:
        seen.append("use")
        return TestUse()

    monkeypatch.setattr(CorridorRun, "_stage", stage)
    monkeypatch.setattr(corridor, "record_use", enter)
    with pytest.raises(KeyboardInterrupt):
        run._stages()
    assert seen[-3:] == ["adapt", "use", "evaluate"]


def verdict(champion: ChampionVerdict | None) -> Verdict:
    digests = JudgedDigests(**dict.fromkeys(JudgedDigests.model_fields, "0"))
    return Verdict(passed=True, rules=[], reasons=[], digests=digests, champion=champion)


@pytest.mark.parametrize(
    "judged",
    [
        None,
        ChampionVerdict(outcome="first", promotable=True),
        ChampionVerdict(outcome="better", promotable=True, champion="d" * 64),
    ],
    ids=["no word", "as the first", "against another"],
)
def test_a_verdict_that_does_not_compare_with_production_fails_the_run(
    run: CorridorRun, judged: ChampionVerdict | None
) -> None:
    with pytest.raises(StageFailed, match=r"v3 is in production, and the verdict .* of an earlier Graft"):
        run._check_compared(verdict(judged))


def test_a_verdict_about_production_or_without_any_passes(run: CorridorRun) -> None:
    against = {"promotable": True, "champion": CHAMPION.manifest_sha256}
    for outcome in ("better", "worse", "unchanged"):
        run._check_compared(verdict(ChampionVerdict.model_validate({"outcome": outcome, **against})))
    ChampionPin().write(run.workspace.champion_pin)
    run._check_compared(verdict(None))
    run._check_compared(verdict(ChampionVerdict(outcome="first", promotable=True)))

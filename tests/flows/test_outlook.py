"""What `graft plan` says of each stage, of publish and of the room that a run would need."""

from __future__ import annotations

import json
import sys

import pytest
from toy_workspace import Toy

from flows import cli, limits, outlook, plan
from flows.dvc_commands import locked_stages
from flows.outlook import RELEASE_STAGES, Outlook, Step, look_ahead, plan_steps, publish_step
from flows.plan import plan_here
from flows.result import RunResult, State
from tasks.params import Params, parse_params
from tasks.params.champion import Outcome
from tasks.reports import ChampionPin, ChampionVerdict, JudgedDigests, PinnedRelease, Verdict
from tasks.workspace import STAGES, Workspace


def reasons(monkeypatch: pytest.MonkeyPatch, toy: Toy, known: set[str], *found: str) -> list[str]:
    """What is said of validate, of which DVC says `found`."""
    monkeypatch.setattr(outlook, "dvc_status", lambda _: {"validate": [*found]})
    monkeypatch.setattr(outlook, "locked_stages", lambda _: known)
    return plan_steps(toy.workspace)[0].reasons


def test_a_stage_without_a_result_is_told_in_four_words(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reasons(monkeypatch, toy, set(), "tasks/a.py modified", "params.yaml data.columns new")
    assert told == ["no earlier result here"]


def test_changed_code_is_counted_and_data_and_params_are_named(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ("data/raw modified", "tasks/a.py modified", "tasks/b.py new", "params.yaml split modified")
    told = reasons(monkeypatch, toy, {"validate"}, *found)
    assert told == ["2 files of tasks/ changed", "data/raw modified", "params.yaml split modified"]


def test_one_changed_file_of_code_is_named(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reasons(monkeypatch, toy, {"validate"}, "tasks/a.py modified", "data/raw modified")
    assert told == ["tasks/a.py modified", "data/raw modified"]


def test_another_champion_is_told_in_words(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reasons(monkeypatch, toy, {"validate"}, "data/champion.json modified", "tasks/a.py modified")
    assert told == ["tasks/a.py modified", "what it is compared with changed (data/champion.json)"]


def test_dvc_lock_names_the_stages_that_have_a_result(finished: Toy) -> None:
    assert locked_stages(finished.workspace) == {"one"}
    (finished.root / "dvc.lock").write_text("{")
    assert locked_stages(finished.workspace) == set()
    (finished.root / "dvc.lock").unlink()
    assert locked_stages(finished.workspace) == set()


def test_publish_follows_what_qualifies() -> None:
    idle = [Step(stage, []) for stage in STAGES]
    running = [*idle[:-1], Step("qualify", ["params.yaml qualify modified"])]
    assert publish_step(Outlook(running, None)).reasons == ["if qualify passes another release"]
    assert "store does not hold" in publish_step(Outlook(idle, None)).reasons[0]
    assert publish_step(Outlook(idle, RunResult(run_id="1", state="released"))).reasons == []


@pytest.mark.parametrize(
    ("under_the_old_pin", "pinned"),
    [("released", ["judged with"]), ("refused", ["judged with", "wanted"]), (None, ["judged with", "wanted"])],
)
def test_only_a_release_that_stands_keeps_the_pin_it_was_judged_with(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, under_the_old_pin: State | None, pinned: list[str]
) -> None:
    pins = {"judged with": ChampionPin(), "wanted": ChampionPin(champion=PinnedRelease(version=1, manifest_sha256="1"))}
    written: list[str] = []

    def write(_workspace: Workspace, _params: Params, pin: ChampionPin) -> None:
        written.extend(name for name, known in pins.items() if known == pin)

    def finished(*_: object) -> RunResult | None:
        state = under_the_old_pin if written == ["judged with"] else None
        return RunResult(run_id="1", state=state) if state else None

    monkeypatch.setattr(outlook, "standing_pin", lambda *_: pins["judged with"])
    monkeypatch.setattr(outlook, "write_inputs", write)
    monkeypatch.setattr(outlook, "plan_steps", lambda _: [Step(stage, []) for stage in STAGES])
    monkeypatch.setattr(outlook, "finished_result", finished)
    ahead = look_ahead(toy.workspace, Params(), "1", pins["wanted"])
    assert written == pinned
    assert (ahead.standing is not None) == (under_the_old_pin == "released")


@pytest.mark.parametrize(("outcome", "due"), [("unchanged", set()), ("better", {"export", "qualify"})])
def test_nothing_is_to_be_exported_of_the_model_in_production(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, due: set[str]
) -> None:
    judged = JudgedDigests(
        **dict.fromkeys(("data", "adapted", "splits", "predictions", "evaluation", "gate_params"), "0")
    )
    champion = ChampionVerdict(outcome=outcome, promotable=False, champion="1", version=1)
    Verdict(passed=True, rules=[], reasons=[], digests=judged, champion=champion).write(toy.workspace.verdict)
    stale = [Step(stage, ["reports/gate.json modified"] if stage in RELEASE_STAGES else []) for stage in STAGES]
    monkeypatch.setattr(outlook, "write_inputs", lambda *_: None)
    monkeypatch.setattr(outlook, "plan_steps", lambda _: stale)
    monkeypatch.setattr(outlook, "finished_result", lambda *_: None)
    ahead = look_ahead(toy.workspace, Params(), "1", ChampionPin())
    assert {step.stage for step in ahead.steps if step.reasons} == due


@pytest.fixture
def short(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace that asks for more disk than there is, and of which embed would run."""
    monkeypatch.setattr(limits, "free_bytes", lambda _: 2 * 10**9)
    params = parse_params({"limits": {"free_disk_gb": 99999}})
    monkeypatch.setattr(plan, "edited_params", lambda *_: plan_edits(params, toy.workspace))
    steps = [Step("validate", []), Step("embed", ["data/raw modified"])]
    monkeypatch.setattr(plan, "_outlook", lambda *_: Outlook(steps, None))
    return toy.workspace


def plan_edits(params: Params, workspace: Workspace) -> object:
    from flows.params_file import EditedParams

    return EditedParams(workspace.params, params, "", "")


def test_a_plan_names_what_a_run_would_be_short_of(short: Workspace) -> None:
    planned = plan_here(short, [])
    assert [step.stage for step in planned.steps] == ["validate", "embed", "publish"]
    (line,) = planned.short
    assert "embed, publish: 2 GB of disk are free" in line
    assert "limits.free_disk_gb wants 99999; free 99997 GB" in line


def test_shortfalls_come_after_the_steps_on_stderr(
    short: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "wanted_edits", lambda *_: (short, []))
    for extra in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["graft", "plan", *extra])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        shown = capfd.readouterr()
        assert "wants 99999" in shown.err
        assert "wants" not in shown.out
    assert [step["stage"] for step in json.loads(shown.out)] == ["validate", "embed", "publish"]

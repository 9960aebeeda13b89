"""Deployments as a user has them: `make server`, then runs by form, by cron and by event, in worktrees of their own.

One server for the whole file; the slow tests start runs on it. tests/flows/test_deployment_entries.py needs no server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from scoring_scene import make_photos
from server_desk import ServerDesk, make_server_desk, waited

from tasks.workspace import STAGES

ADAPT = "deployed-adapt"
ZOMBIES = "graft: runs that died without a word"
QUEUE_OF = {
    "on-demand": "on-demand",
    "scheduled": "unattended",
    "on-event": "unattended",
    "promote": "registry",
    "rollback": "registry",
    "score": "scoring",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerDesk]:
    made = make_server_desk(tmp_path_factory.mktemp("server").resolve())
    try:
        made.start()
        yield made
    finally:
        made.stop()
        assert made.processes() == []


@pytest.fixture(scope="module")
def released(server: ServerDesk) -> dict[str, Any]:
    """The first run of the form; other tests of the file stand on its release."""
    status, run = server.begin(f"{ADAPT}/on-demand", why="the first release")
    assert status == 201, run
    state = server.ended(run["id"])
    assert state["name"] == "Released", (state, server.log("worker"))
    return run


def entries(server: ServerDesk) -> dict[str, dict[str, Any]]:
    text = (server.desk.root / "prefect.yaml").read_text()
    return {entry["name"]: entry for entry in YAML(typ="safe").load(text)["deployments"]}


def test_one_command_applies_everything_and_a_second_start_says_that_it_runs(server: ServerDesk) -> None:
    """Entries with tags and schedules, queues with limits, the watch for dead runs, runs made ahead, a judged form."""
    entries_are_applied(server)
    queues_have_their_limits(server)
    dead_runs_are_watched_for(server)
    bad_values_are_refused(server)
    assert "a server and its worker run already" in server.start()
    the_schedule_gets_runs_ahead(server)


def entries_are_applied(server: ServerDesk) -> None:
    found = {one["name"]: one for one in server.ask("POST", "/deployments/filter", {})[1]}
    assert set(found) == set(entries(server))
    for name, entry in entries(server).items():
        deployment = found[name]
        assert deployment["tags"] == entry["tags"]
        assert (deployment["work_pool_name"], deployment["work_queue_name"]) == ("graft", QUEUE_OF[name])
        assert deployment["enforce_parameter_schema"] is True
        assert [each["schedule"]["cron"] for each in deployment["schedules"]] == [
            each["cron"] for each in entry.get("schedules", [])
        ]


def queues_have_their_limits(server: ServerDesk) -> None:
    queues = {one["name"]: one for one in server.ask("POST", "/work_pools/graft/queues/filter", {})[1]}
    assert {name: queues[name]["concurrency_limit"] for name in set(QUEUE_OF.values())} == {
        "registry": None,
        "on-demand": 3,
        "unattended": 1,
        "scoring": 1,
    }
    assert queues["registry"]["priority"] < min(queues["on-demand"]["priority"], queues["unattended"]["priority"])
    assert server.ask("GET", "/work_pools/graft")[1]["concurrency_limit"] is None


def the_schedule_gets_runs_ahead(server: ServerDesk) -> None:
    """SQLAlchemy 2.1 keeps Prefect's scheduler from ever making one, and only the server's log says so."""
    deployment = server.deployment(f"{ADAPT}/scheduled")["id"]

    def look() -> list[dict[str, Any]] | None:
        wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
        return server.flow_runs(**wanted) or None

    runs = waited(look, 90, lambda: server.log("server"))
    first = datetime.fromisoformat(runs[0]["expected_start_time"])
    assert (first.hour, first.minute) == (2, 0)
    assert first <= datetime.now(UTC) + timedelta(days=1)
    assert runs[0]["parameters"]["why"] == "the nightly schedule"


def dead_runs_are_watched_for(server: ServerDesk) -> None:
    (automation,) = server.ask("POST", "/automations/filter", {"automations": {"name": {"any_": [ZOMBIES]}}})[1]
    trigger = automation["trigger"]
    assert automation["enabled"]
    assert trigger["posture"] == "Proactive"
    assert trigger["within"] >= 3 * 30
    assert {"prefect.flow-run.Released", "prefect.flow-run.Refused"} <= set(trigger["expect"])
    assert automation["actions"][0]["state"] == "CRASHED"


def bad_values_are_refused(server: ServerDesk) -> None:
    bad = {"gate": {"accuracy": {"minimum": 1.5}}}
    status, answer = server.begin(f"{ADAPT}/on-demand", why="to see", settings=bad)
    assert status == 409
    assert "settings.gate.accuracy.minimum" in answer["detail"]
    assert "1.5 is greater than the maximum of 1" in answer["detail"]
    status, answer = server.begin(f"{ADAPT}/on-demand", why="to see", settings={"promotion": {"approval": False}})
    assert (status, "'promotion' was unexpected" in answer["detail"]) == (409, True)


@pytest.mark.slow
def test_a_rollback_never_waits_for_adaptations(server: ServerDesk) -> None:
    """The queue of adaptations is full: with no place at all, as with three that run for hours."""
    queue = "/work_pools/graft/queues/on-demand"
    assert server.ask("PATCH", queue, {"concurrency_limit": 0})[0] == 204
    try:
        waiting = server.begin(f"{ADAPT}/on-demand", why="to wait")[1]["id"]
        state = server.ended(server.begin("rollback/rollback", reason="it was wrong")[1]["id"], 120)
        assert (state["type"], "production" in state["message"]) == ("FAILED", True)
        refused = server.begin("promote/promote", version="v9", reason="to see")[1]["id"]
        assert "no version" in server.ended(refused, 120)["message"]
        assert server.flow_run(waiting)["state"]["type"] == "SCHEDULED"
        server.ask("DELETE", f"/flow_runs/{waiting}")
    finally:
        assert server.ask("PATCH", queue, {"concurrency_limit": 3})[0] == 204
    time.sleep(3)  # the last lines are sent when the process ends
    assert not [line for line in server.log_lines(refused) if "Traceback" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"commit": "nowhere"}, "commit 'nowhere' is unknown"),
        ({"settings": {"data": {"label_aliases": {"a": "b", "b": "c"}}}}, "a -> b -> c is a chain"),
        ({"settings": {"data": {"path": "/nowhere"}}}, "/nowhere"),
    ],
)
def test_what_only_the_run_can_see_ends_it_as_failed_with_our_message(
    server: ServerDesk, parameters: dict[str, Any], message: str
) -> None:
    status, run = server.begin(f"{ADAPT}/on-demand", why="to see", **parameters)
    assert status == 201
    state = server.ended(run["id"], 120)
    assert (state["type"], state["name"]) == ("FAILED", "Failed")
    assert message in state["message"]
    time.sleep(3)  # the last lines are sent when the process ends
    assert not [line for line in server.log_lines(run["id"]) if "Traceback" in line]


@pytest.mark.slow
def test_a_run_of_the_form_is_released_with_its_artifacts_and_leaves_the_checkout_alone(
    server: ServerDesk, released: dict[str, Any]
) -> None:
    assert {"metrics", "confusion-matrix", "verdict", "version"} <= set(server.artifacts(released["id"]))
    assert server.git("status", "--porcelain") == ""
    assert server.git("rev-parse", "--abbrev-ref", "HEAD") == "master"
    assert not (server.desk.root / "dvc.lock").exists()
    assert [folder for folder in (server.desk.root / ".graft" / "worktrees").iterdir() if folder.is_dir()] == []
    (branch,) = server.git("for-each-ref", "--format=%(refname:short)", "refs/heads/graft/run").splitlines()
    assert branch.endswith(released["id"][:8])


@pytest.mark.slow
def test_a_folder_is_scored_by_a_version_with_what_is_seen_on_its_page(
    server: ServerDesk, released: dict[str, Any], tmp_path: Path
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "scores.parquet"
    make_photos(photos, 6)
    (photos / "bad.jpg").write_text("no picture")
    parameters = {"source": str(photos), "output": str(output)}
    status, run = server.begin("score/score", **parameters, version="v1")
    assert status == 201, run
    state = server.ended(run["id"], 120)
    assert (state["type"], state["name"]) == ("COMPLETED", "Completed"), (state, server.log("worker"))
    assert f"{output}: " in state["message"]
    assert {"score-progress", "score-errors"} <= set(server.artifacts(run["id"]))
    table = pq.ParquetFile(output)
    assert table.metadata.metadata[b"graft_version"] == b"v1"
    assert table.metadata.num_rows == 7
    assert server.git("status", "--porcelain") == ""
    status, _ = server.begin("score/score", **parameters, threads=-1)
    assert status == 409, "the form is judged by the server"
    unknown = server.begin("score/score", **parameters, version="v7")[1]["id"]
    assert "no version v7" in server.ended(unknown, 120)["message"]


@pytest.mark.slow
def test_a_setting_of_the_form_decides_and_the_rest_is_the_commits(
    server: ServerDesk, released: dict[str, Any]
) -> None:
    settings = {"gate": {"min_test_items": 5000}, "split": None}
    status, run = server.begin(f"{ADAPT}/on-demand", why="too strict", settings=settings)
    assert status == 201
    state = server.ended(run["id"])
    assert (state["type"], state["name"]) == ("FAILED", "Refused")
    assert "5000" in state["message"]
    assert "verdict" in server.artifacts(run["id"])
    assert server.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_an_event_starts_a_run(server: ServerDesk, released: dict[str, Any]) -> None:
    event = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "graft.data.changed",
        "resource": {"prefect.resource.id": "graft.data.pictures"},
        "id": "0f4c1d2e-0000-4000-8000-1234567890ab",
    }
    # A trigger is known to the server's own loop some seconds after it was applied.
    status, answer = server.ask("POST", "/events", [event])
    assert status == 204, answer
    deployment = server.deployment(f"{ADAPT}/on-event")["id"]

    def look() -> list[dict[str, Any]] | None:
        return server.flow_runs(flow_runs={"deployment_id": {"any_": [deployment]}}) or None

    (run,) = waited(look, 60, lambda: server.log("server"))
    assert run["parameters"]["why"] == "the event graft.data.changed"
    assert server.ended(run["id"])["name"] == "Released"


@pytest.mark.slow
def test_a_cron_entry_fires(server: ServerDesk, released: dict[str, Any]) -> None:
    when = datetime.now(UTC) + timedelta(seconds=80)
    file = server.desk.root / "prefect.yaml"
    before = file.read_text()
    file.write_text(before.replace('cron: "0 2 * * *"', f'cron: "{when.minute} {when.hour} * * *"'))
    assert file.read_text() != before
    try:
        apply_again(server)
    finally:
        file.write_text(before)
    deployment = server.deployment(f"{ADAPT}/scheduled")["id"]

    def look() -> dict[str, Any] | None:
        begun = {"flow_runs": {"deployment_id": {"any_": [deployment]}, "start_time": {"is_null_": False}}}
        return next(iter(server.flow_runs(**begun)), None)

    run = waited(look, 240, lambda: server.log("server"))
    assert run["auto_scheduled"] is True
    assert server.ended(run["id"])["name"] == "Released"


def apply_again(server: ServerDesk) -> None:
    """As a team does to its own server, after prefect.yaml was changed."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.deployments"],
        cwd=server.desk.root,
        env=server.desk.environment(PREFECT_API_URL=f"{server.url}/api"),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_cancelling_ends_the_stage_and_leaves_no_worktree(server: ServerDesk, released: dict[str, Any]) -> None:
    """The sample is much larger than the pictures: its first stages take long enough to be met."""
    settings = {"data": {"path": "data/sample"}}
    status, run = server.begin(f"{ADAPT}/on-demand", why="to be cancelled", settings=settings)
    assert status == 201

    waited(lambda: stages(server), 120, lambda: server.log("worker"))
    server.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert server.ended(run["id"], 90)["type"] == "CANCELLED"
    waited(lambda: True if stages(server) is None else None, 20)
    worktrees = server.desk.root / ".graft" / "worktrees"
    waited(lambda: True if not [each for each in worktrees.iterdir() if each.is_dir()] else None, 20)
    assert server.git("status", "--porcelain") == ""
    (kept,) = (server.desk.root / ".graft" / "runs").glob(f"*-{run['id'][:8]}.json")
    result = json.loads(kept.read_text())
    assert (result["state"], result["release"]) == ("interrupted", None)
    assert result["stopped_in"] in ("preparation", *STAGES)
    assert "run interrupted: " in kept.with_suffix(".log.jsonl").read_text()


@pytest.mark.slow
def test_a_person_is_asked_before_promotion_and_asked_again_after_a_bad_answer(
    server: ServerDesk, released: dict[str, Any]
) -> None:
    server.commit_on_a_branch("asking", {"promotion": {"automatic": True, "approval": True, "approval_hours": 1}})
    settings = {"split": {"seed": 3}, "export": {"licence": "CC0-1.0 or later"}}
    status, run = server.begin(f"{ADAPT}/on-demand", why="a better one", commit="asking", settings=settings)
    assert status == 201
    run_id = run["id"]

    def paused() -> dict[str, Any] | None:
        state = server.flow_run(run_id)["state"]
        assert state["type"] not in ("FAILED", "CRASHED", "COMPLETED"), state
        return state if state["type"] == "PAUSED" else None

    def resume(**answer: Any) -> dict[str, Any]:
        return dict(server.ask("POST", f"/flow_runs/{run_id}/resume", {"run_input": answer})[1])

    first = waited(paused, 400, lambda: server.log("worker"))
    assert "approval" in server.artifacts(run_id)
    refused = resume(approve="perhaps", name="Ada", reason="looks good")
    assert refused["status"] == "REJECT"
    assert paused() is not None
    assert resume(approve=True, name="  ", reason="looks good")["status"] == "ACCEPT"
    waited(lambda: ((state := paused()) and state["id"] != first["id"]) or None, 60)
    assert resume(approve=True, name="Ada", reason="looks good")["status"] == "ACCEPT"
    assert server.ended(run_id, 120)["name"] == "Released"
    (change,) = json.loads(server.desk.graft("history", "--json").stdout)["changes"]
    assert (change["actor"], change["reason"], change["forced"]) == ("Ada", "looks good", False)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["server", "worker"])
def test_after_a_crash_of_either_both_are_started_anew_with_the_same_history(
    server: ServerDesk, released: dict[str, Any], part: str
) -> None:
    note = json.loads((server.desk.root / ".graft" / "server" / "server.json").read_text())
    os.kill(note[f"{part}_pid"], signal.SIGKILL)
    assert "a server and a worker run" in server.start()
    now = json.loads((server.desk.root / ".graft" / "server" / "server.json").read_text())
    assert now["server_pid"] != note["server_pid"]
    assert now["worker_pid"] != note["worker_pid"]
    assert server.flow_run(released["id"])["state"]["name"] == "Released"


@pytest.mark.slow
def test_a_run_that_a_stop_ends_is_crashed_and_no_process_is_left(server: ServerDesk, released: dict[str, Any]) -> None:
    settings = {"data": {"path": "data/sample"}}
    status, run = server.begin(f"{ADAPT}/on-demand", why="to be stopped", settings=settings)
    assert status == 201
    waited(lambda: stages(server), 120, lambda: server.log("worker"))
    assert server.stop().startswith("ended (")
    assert server.processes() == []
    server.start()
    assert server.flow_run(run["id"])["state"]["type"] == "CRASHED"
    status, run = server.begin(f"{ADAPT}/on-demand", why="after it")
    assert status == 201
    assert server.ended(run["id"])["name"] == "Released"
    assert [each for each in (server.desk.root / ".graft" / "worktrees").iterdir() if each.is_dir()] == []


def stages(server: ServerDesk) -> list[str] | None:
    """Command lines of the stages that work now; None where none does."""
    lines = []
    for process in server.processes():
        with suppress(psutil.Error):  # gone meanwhile
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if " -m tasks." in line] or None

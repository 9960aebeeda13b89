"""From the first version to the second: published, promoted, found unchanged, compared, published again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

from tasks.reports import EvaluationReport, Verdict
from tasks.reports.champion import ChampionPin, TestUse

DEAD_SERVER = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
OTHER_MODEL = ("--set", "adapt.method.head=ridge")


def git(desk: Desk, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=desk.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def is_somebodys(desk: Desk) -> Desk:
    """Have a checkout that somebody committed, as publishing wants it."""
    git(desk, "config", "user.name", "Ada")
    git(desk, "config", "user.email", "ada@example.org")
    git(desk, "add", "--all")
    git(desk, "commit", "--quiet", "--message", "Start")
    return desk


@pytest.fixture(scope="module")
def published_template(released_template: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk whose first release is v1, in production."""
    desk = is_somebodys(released_template.copy(tmp_path_factory.mktemp("published").resolve()))
    code, result, stderr = desk.adapt("--publish", "--why", "the first")
    assert code == 0, stderr
    assert (result["version"], result["outcome"], result["promoted"]) == (1, "first", False)
    assert "promotion.automatic is false; `graft promote v1" in result["not_promoted"]
    assert "Running stage" not in stderr, "what stands is published, not computed again"
    promoted = desk.graft("promote", "v1", "--reason", "the first", **DEAD_SERVER)
    assert promoted.returncode == 0, promoted.stderr
    assert "the event graft.release.promoted could not be sent" in promoted.stderr
    return desk


@pytest.fixture
def published(published_template: Desk, tmp_path: Path) -> Desk:
    return published_template.copy(tmp_path.resolve())


def events(desk: Desk) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, resource, payload) of Graft's events that the embedded server has kept."""
    with sqlite3.connect(desk.home / "prefect" / "prefect.db") as database:
        rows = database.execute(
            "select event, resource_id, payload from events where event like 'graft.%' order by occurred"
        )
        return [(event, resource, json.loads(payload)) for event, resource, payload in rows]


def test_from_the_first_version_to_the_second(published: Desk) -> None:
    standing = ChampionPin.read(published.workspace.champion_pin)
    code, result, stderr = published.adapt("--publish", **DEAD_SERVER)
    assert (code, result["unchanged"], result["version"]) == (0, True, 1), stderr
    assert ChampionPin.read(published.workspace.champion_pin) == standing == ChampionPin()
    plan = json.loads(published.graft("plan", "--json").stdout)
    assert not any(step["runs"] for step in plan)

    code, result, stderr = published.adapt("--publish", "--why", "another head", *OTHER_MODEL)

    assert (code, result["state"], result["version"]) == (0, "released", 2), stderr
    assert (result["champion"]["version"], result["promoted"]) == (1, False)
    (comparison,) = EvaluationReport.read(published.workspace.evaluation).comparisons
    assert (comparison.against, comparison.version) == ("champion", 1)
    assert comparison.counts is not None
    assert comparison.counts.items == result["test_items"]
    assert comparison.gain is not None
    assert result["champion"]["gain"] == comparison.gain.value
    verdict = Verdict.read(published.workspace.verdict).champion
    assert verdict is not None
    assert (verdict.outcome, verdict.use) == (result["outcome"], 2)
    assert TestUse.read(published.workspace.test_use).use == 2
    assert "against v1, which is in production" in stderr
    branch = git(published, "rev-parse", result["branch"])
    assert branch == result["commit"]
    assert git(published, "show", f"{branch}:published/gate.json") == published.workspace.verdict.read_text().strip()
    assert git(published, "diff", "--name-only", "HEAD").splitlines() == ["dvc.lock", "params.yaml"]
    told = [(event, resource, payload["version"]) for event, resource, payload in events(published)]
    assert told == [("graft.release.published", "graft.model.small", version) for version in (1, 2)]
    again = published.adapt("--publish", **DEAD_SERVER)
    assert (again[0], again[1]["unchanged"], again[1]["version"]) == (0, True, 2)


def test_the_model_in_production_is_neither_exported_nor_published_again(published: Desk) -> None:
    before = published.results()

    code, result, stderr = published.adapt("--publish", "--set", "gate.accuracy.minimum=0.7")

    assert (code, result["state"], result["unchanged"], result["outcome"]) == (0, "released", True, "unchanged"), stderr
    assert result["version"] == 1
    assert (published.root / result["release"]).is_dir()
    assert not {"export", "qualify", "publish"} & set(result["seconds"])
    after = published.results()
    assert {name for name in before if before[name] != after[name]} == {"reports/gate.json"}
    assert "this is the model of v1, which is in production" in stderr
    assert len(json.loads(published.graft("history", "--json").stdout)["changes"]) == 1
    code, result, stderr = published.adapt(**DEAD_SERVER)
    assert (code, result["unchanged"], result["version"]) == (0, True, 1), stderr
    assert not any(step["runs"] for step in json.loads(published.graft("plan", "--json").stdout))


def test_a_run_that_may_promotes_what_it_publishes_where_the_verdict_allows_it(released: Desk) -> None:
    is_somebodys(released)

    code, result, stderr = released.adapt("--publish", "--set", "promotion.automatic=true")

    assert (code, result["version"], result["promoted"], result["not_promoted"]) == (0, 1, True, None), stderr
    assert "v1 is in production now" in stderr
    assert [event for event, _, _ in events(released)] == ["graft.release.published", "graft.release.promoted"]
    code, result, stderr = released.adapt("--publish", **DEAD_SERVER)
    assert (code, result["unchanged"], result["version"]) == (0, True, 1), stderr


@pytest.mark.slow
def test_production_that_moves_while_a_run_works_refuses_its_verdict(published: Desk, tmp_path: Path) -> None:
    code, result, stderr = published.adapt("--publish", *OTHER_MODEL)
    assert (code, result["version"]) == (0, 2), stderr
    log = tmp_path / "run.log"
    run = published.start(
        log, "adapt", "--publish", "--json", "--set", "adapt.method.strengths=5", printed=tmp_path / "out"
    )
    deadline = time.monotonic() + 300
    while "will be compared with v1" not in log.read_text():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)

    moved = published.graft("promote", "v2", "--force", "--reason", "meanwhile")

    assert moved.returncode == 0, moved.stderr
    assert run.wait(300) == 1
    result = json.loads((tmp_path / "out").read_text())
    assert (result["state"], result["stopped_in"], result["version"], result["release"]) == (
        "failed",
        "publish",
        None,
        None,
    )
    assert "production changed from v1 to v2 while this run worked" in result["reasons"][0]
    assert "Traceback" not in log.read_text()
    assert [event for event, _, _ in events(published)] == ["graft.release.published"] * 2
    assert git(published, "tag", "--list", "small@*").splitlines() == ["small@v1.0.0", "small@v2.0.0"]
    assert len(published.releases()) == 3, "two releases and the pointer"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [("gone", "does not hold; copy its folder"), ("rotten", "v1 cannot be compared with")],
)
def test_a_champion_that_is_not_whole_ends_a_run_before_anything_is_computed(
    published: Desk, spoil: str, complaint: str
) -> None:
    release = next(path for path in published.releases() if path.is_dir())
    if spoil == "gone":
        release.rename(published.root / "elsewhere")
    else:
        (release / "model.onnx").write_bytes(b"rot")

    code, result, stderr = published.adapt(*OTHER_MODEL)

    assert (code, result["state"]) == (1, "failed"), stderr
    assert complaint in result["reasons"][0]
    assert result["seconds"] == {}
    assert "Traceback" not in stderr


def test_publishing_without_an_identity_is_found_before_anything_is_computed(released: Desk, tmp_path: Path) -> None:
    git(is_somebodys(released), "config", "--unset", "user.email")
    nobody = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    done = released.graft("adapt", "--publish", *OTHER_MODEL, **DEAD_SERVER, **nobody)

    assert done.returncode == 1
    assert "git config user.email" in done.stderr
    assert git(released, "status", "--porcelain", "--untracked-files=no") == ""

"""Two real versions: shown, compared, promoted, rolled back, and what was live when."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
from desk import Desk
from small_workspace import add_pictures

from flows.prod_pointer import read_prod

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Registry:
    """A desk with v1 in production and v2, of more pictures and another head, published beside it."""

    desk: Desk
    runs: tuple[dict[str, Any], dict[str, Any]]

    def json(self, *arguments: str) -> Any:
        done = self.desk.graft(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def live(self) -> int | None:
        shown = read_prod(self.desk.root / "releases")
        return shown.version if shown else None


def git(desk: Desk, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=desk.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def registry_template(released_template: Desk, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    desk = released_template.copy(tmp_path_factory.mktemp("registry").resolve())
    git(desk, "config", "user.name", "Ada")
    git(desk, "config", "user.email", "ada@example.org")
    git(desk, "add", "--all")
    git(desk, "commit", "--quiet", "--message", "Start")
    code, first, stderr = desk.adapt("--publish", "--why", "the first")
    assert (code, first["version"]) == (0, 1), stderr
    assert desk.graft("promote", "v1", "--reason", "it is the first").returncode == 0
    add_pictures(desk.root / "data" / "raw", 12, first_seed=500)
    code, second, stderr = desk.adapt("--publish", "--why", "more pictures", "--set", "adapt.method.head=ridge")
    assert (code, second["version"]) == (0, 2), stderr
    return Registry(desk, (first, second))


@pytest.fixture
def registry(registry_template: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(registry_template.desk.copy(tmp_path_factory.mktemp("copy").resolve()), registry_template.runs)


def test_show_tells_of_a_real_run_what_it_said_itself(registry: Registry) -> None:
    for version, run in enumerate(registry.runs, start=1):
        shown = registry.json("show", f"v{version}")
        assert shown["missing"] == []
        assert (shown["commit"], shown["branch"], shown["run_id"]) == (run["commit"], run["branch"], run["run_id"])
        assert shown["release"] == run["release"]
        assert shown["data_digest"] == run["data_digest"]
        assert shown["accuracy"]["value"] == run["accuracy"]
        assert shown["test_items"] == run["test_items"]
        assert (shown["by"], shown["why"]) == ("Ada", ("the first", "more pictures")[version - 1])
        assert shown["outcome"] == run["outcome"]
        assert shown["params"]["adapt.method.head"] == ("logistic", "ridge")[version - 1]
        assert shown["labels"] == ["ember", "ocean"]
        text = registry.desk.graft("show", f"v{version}").stdout
        assert max(map(len, text.splitlines())) <= 100
    assert registry.json("show", "v2")["champion_version"] == 1


def test_diff_tells_what_made_the_second_version_another_one(registry: Registry) -> None:
    found = registry.json("diff", "v1", "v2")
    assert found["missing"] == []
    assert set(found["params"]) == {"adapt.method.head"}
    assert found["items"]["added"] > 0
    assert (found["items"]["removed"], found["items"]["moved"], found["items"]["test_removed"]) == (0, 0, 0)
    assert found["data_digest"] is not None
    assert {"code", "lock", "backbone_weights", "backbone_graph"}.isdisjoint(found["digests"])
    assert {"params", "adapted"} <= set(found["digests"])
    assert (found["classes_added"], found["classes_removed"]) == ([], [])
    back = registry.json("diff", "v2", "v1")
    assert back["items"]["removed"] == found["items"]["added"]


def test_production_moves_on_and_back_and_the_way_is_known(registry: Registry) -> None:
    moved = registry.json("promote", "v2", "--reason", "try it", "--force")
    assert (moved["moved"], registry.live()) == (True, 2)
    back = registry.json("rollback", "--reason", "it was worse in the field")
    assert (back["change"]["version"], back["change"]["action"], registry.live()) == (1, "rollback", 1)
    told = registry.json("history")
    assert [(one["version"], one["action"], one["forced"]) for one in told["changes"]] == [
        (1, "promote", False),
        (2, "promote", moved["change"]["forced"]),
        (1, "rollback", False),
    ]
    assert registry.json("history", "--at", back["change"]["at"])["live"]["number"] == 3
    assert registry.json("history", "--at", "2020-01-01")["live"] is None
    tags = git(registry.desk, "tag", "--list", "*#prod#*").splitlines()
    assert len(tags) == 3


def test_an_earlier_release_that_rotted_is_not_gone_back_to(registry: Registry) -> None:
    registry.json("promote", "v2", "--reason", "try it", "--force")
    first = registry.desk.root / registry.runs[0]["release"]
    (first / "model.onnx").write_bytes(b"rot")
    done = registry.desk.graft("rollback", "--reason", "back")
    assert done.returncode == 1
    assert "v1 is not gone back to" in done.stderr
    assert "model.onnx was altered or truncated" in done.stderr
    assert "no other release that was in production before holds" in done.stderr
    assert registry.live() == 2


def test_a_release_that_gc_took_is_told_of_from_git(registry: Registry) -> None:
    shutil.rmtree(registry.desk.root / registry.runs[1]["release"])
    shown = registry.json("show", "v2")
    assert shown["missing"] == ["its release is no longer in the store releases"]
    assert shown["verdict"]["champion"]["outcome"] == registry.runs[1]["outcome"]
    assert registry.json("diff", "v1", "v2")["digests"] is not None
    refused = registry.desk.graft("promote", "v2", "--reason", "x", "--force")
    assert refused.returncode == 1
    assert "is not in the store" in refused.stderr

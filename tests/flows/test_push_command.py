"""`graft push --json`: one object on stdout, whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from publishing_scene import Machine, git, make_machine, make_remote, no_identity

from flows.state import StateRef


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    no_identity(monkeypatch, tmp_path)
    return make_machine(tmp_path.resolve() / "checkout")


def push(root: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-P", "-m", "flows.cli", "push", "--json"]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=root, env={**os.environ, **path}, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) == {"pushed", "not_pushed", "done"}
    return done.returncode, answer


def test_push_says_what_it_did_and_that_there_is_no_remote(machine: Machine, tmp_path: Path) -> None:
    code, answer = push(machine.root)
    assert (code, answer["pushed"]) == (0, None)
    assert "neither git nor DVC has a remote" in answer["not_pushed"]
    machine.release("one")
    machine.publish("20261121T010000-aaaaaaaa")
    remote = make_remote(tmp_path.resolve() / "remote.git", machine)
    code, answer = push(machine.root)
    assert (code, answer["pushed"], answer["not_pushed"]) == (0, True, None)
    assert f"graft/run/20261121T010000-aaaaaaaa to origin ({remote})" in answer["done"]


def test_before_any_version_nothing_is_pushed_though_there_is_a_state(machine: Machine, tmp_path: Path) -> None:
    remote = make_remote(tmp_path.resolve() / "remote.git", machine)
    StateRef(machine.root).write({"splits.parquet": b"made up"}, "Begin", None)
    code, answer = push(machine.root)
    assert (code, answer["pushed"], answer["done"]) == (0, None, [])
    assert answer["not_pushed"] == "no version is published yet (`graft adapt --publish`)"
    assert "graft" not in git(remote, "for-each-ref")


@pytest.mark.parametrize(
    ("fault", "said"),
    [("params.yaml", "params.yaml"), ("registry", "versions.jsonl"), ("folder", "not inside a Graft workspace")],
)
def test_a_failure_is_an_answer_too(machine: Machine, tmp_path: Path, fault: str, said: str) -> None:
    if fault == "params.yaml":
        (machine.root / "params.yaml").write_text("publish: {attempts: none}\n")
    elif fault == "registry":
        StateRef(machine.root).write({"versions.jsonl": b"{\n"}, "Spoil it", None)
        make_remote(tmp_path.resolve() / "remote.git", machine)
    code, answer = push(tmp_path if fault == "folder" else machine.root)
    assert code == 1
    assert answer["pushed"] is False
    assert said in answer["not_pushed"]

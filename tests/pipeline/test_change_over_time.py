"""Classes are renamed, items forgotten, params migrated: each from the command line to the next release."""

from __future__ import annotations

import json

import pytest
from desk import Desk
from small_workspace import CLASSES, add_pictures
from traces import traces

from tasks.digests import file_sha256

ITEM = "ember/004.png"


def test_params_of_the_version_before_are_migrated_on_the_users_word(released: Desk) -> None:
    params = released.workspace.params
    today = params.read_text()
    params.write_text(today.replace("schema_version: 2", "schema_version: 1"))

    code, result, _ = released.adapt()
    assert (code, result["state"]) == (1, "failed")
    assert "run `graft migrate`" in result["reasons"][0]

    shown = released.graft("migrate", "--dry-run")
    assert (shown.returncode, "+schema_version: 2" in shown.stdout) == (0, True), shown.stderr
    done = released.graft("migrate")
    assert (done.returncode, params.read_text()) == (0, today), done.stderr
    assert "nothing to do" in released.graft("migrate").stdout


@pytest.mark.slow
def test_a_renamed_class_keeps_its_place_in_the_next_release(released: Desk) -> None:
    alias = f"data.label_aliases={{{CLASSES[0]}: zinc}}"
    code, result, stderr = released.adapt("--set", alias)
    assert code == 0, stderr
    labels = json.loads((released.root / result["release"] / "labels.json").read_text())["labels"]
    assert labels == ["zinc", CLASSES[1]], "the renamed class keeps its output index, wherever its name sorts"


@pytest.mark.slow
def test_a_forgotten_item_leaves_nothing_and_does_not_come_back(released: Desk) -> None:
    raw = released.workspace.raw
    sought = [ITEM.encode(), (raw / ITEM).read_bytes(), file_sha256(raw / ITEM).encode()]
    again = released.root.parent / "again"
    released.dvc("add", "--quiet", "data/raw")
    released.graft("data", "forget", ITEM, "--reason", "asked", "--dry-run")
    assert traces(released.root, sought), "the search must find what is there"
    add_pictures(again, 4, first_seed=400)
    (again / ITEM).write_bytes((raw / ITEM).read_bytes())

    refused = released.graft("data", "forget", ITEM, "--reason", "asked")
    assert (refused.returncode, "add --yes" in refused.stderr) == (1, True)
    done = released.graft("data", "forget", f"data/raw/{ITEM}", "--reason", "asked", "--yes")
    assert done.returncode == 0, done.stderr
    (release,) = released.releases()
    assert f"releases/{release.name} (" in done.stdout
    assert traces(released.root, sought) == traces(released.home / "cache", sought) == []

    added = released.graft("data", "add", str(again))
    assert "4 new files" in added.stderr
    assert "1 file left out, forgotten before" in added.stderr
    code, _, stderr = released.adapt()
    assert code == 0, stderr
    assert traces(released.root, sought) == traces(released.home / "cache", sought) == []
    assert released.adapt()[1]["unchanged"] is True

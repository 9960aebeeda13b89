"""Changes of production that two machines made apart: what was judged against a champion that is gone does not hold."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene

from flows.journal import SUPERSEDED, Journal
from flows.merged_history import Followed, followed
from flows.prod_pointer import read_prod
from flows.pushing import fetch_state, push_pending
from flows.records import Action, StageChange
from flows.settled_pointer import settle_here
from flows.state import REF
from flows.versions import versions

START = "v1"


def chain(*steps: str, first: int = 2, at: str = "2026-11-21T10:00:00Z") -> list[StageChange]:
    """Changes after v1: `v2` promotes it, `v2!` by force, `<v1` rolls back to it."""
    before, changes = START, []
    for number, step in enumerate(steps, start=first):
        name = step.strip("<!")
        action: Action = "rollback" if step.startswith("<") else "promote"
        changes.append(
            StageChange(
                number=number,
                stage="prod",
                action=action,
                version=int(name[1:]),
                manifest_sha256=name,
                previous=int(before[1:]),
                previous_sha256=before,
                forced=step.endswith("!"),
                actor="Ann",
                reason="a test",
                at=at,
            )
        )
        before = name
    return changes


def merged(theirs: list[str], ours: list[str]) -> Followed:
    begun = chain(START, first=1)[0].model_copy(update={"previous": None, "previous_sha256": None})
    there = [begun, *chain(*theirs, at="2026-11-21T12:00:00Z")]
    result = followed(there, chain(*ours), {f"v{number}": number for number in range(1, 9)})
    whole = [*there, *result.changes]
    assert [one.number for one in whole] == list(range(1, len(whole) + 1))
    for before, after in pairwise(whole):
        assert (after.previous_sha256, after.previous) == (before.manifest_sha256, before.version)
        assert after.manifest_sha256 != before.manifest_sha256
        assert after.at >= before.at
    return result


@pytest.mark.parametrize(
    ("theirs", "ours", "kept", "lost"),
    [
        (["v3"], ["v2"], [], ["v2"]),
        (["v3"], ["v2", "v4"], [], ["v2", "v4"]),
        (["v3"], ["v2!"], ["v2"], []),
        (["v3"], ["v2", "v4!"], ["v4"], ["v2"]),
        (["v3"], ["v2", "v4!", "v5"], ["v4", "v5"], ["v2"]),
        (["v3", "<v1"], ["v2"], ["v2"], []),
        (["v2"], ["v2", "v4"], ["v4"], []),
        (["v2"], ["v2!"], [], []),
        (["v3"], ["v2", "<v1"], [], ["v2", "v1"]),
        (["v3"], ["v2", "<v1", "v4"], [], ["v2", "v1", "v4"]),
        (["v2", "v3"], ["v2", "<v1"], [], ["v2", "v1"]),
        (["v3"], ["<v8"], ["v8"], []),
    ],
)
def test_of_promotions_made_apart_the_one_that_was_judged_against_what_is_live_holds(
    theirs: list[str], ours: list[str], kept: list[str], lost: list[str]
) -> None:
    result = merged(theirs, ours)
    assert [one.manifest_sha256 for one in result.changes] == kept
    assert len(result.lines) == len(lost)
    assert {one.manifest_sha256 for one in result.superseded} >= set(lost)


def test_what_lost_is_told_with_who_was_first() -> None:
    (line,) = merged(["v3"], ["v2"]).lines
    assert line == (
        "v2 is not in production: v3 had taken over on another machine (by Ann), and v2 was not judged against it; "
        "`graft adapt --publish` judges again"
    )
    assert merged(["v3"], ["v2", "<v1"]).lines[1].startswith("the rollback to v1 (by Ann) is void: v3 had taken over")


def two_machines(folder: Path) -> tuple[Scene, Scene]:
    """Ann's and Ben's checkouts, which push to and fetch from one bare repository, `remote.git`."""
    remote = folder / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    ann, ben = (make_scene(folder.resolve() / name) for name in ("ann", "ben"))
    for scene in (ann, ben):
        subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=scene.root, check=True)
    return ann, ben


def shown(scene: Scene) -> tuple[int, str]:
    prod = read_prod(scene.store)
    assert prod is not None
    return prod.number, prod.manifest_sha256


def test_the_later_of_two_promotions_made_apart_is_undone_where_it_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann, ben = two_machines(tmp_path)
    first = ann.publish(1)
    ann.promote("v1")
    assert push_pending(ann.workspace, ann.params).pushed
    fetch_state(ben.workspace, ben.params)
    ben.publish(1)
    assert settle_here(ben.root, ben.store) == ["followed the registry: v1 (change 1, by Ann) is in production now"]
    theirs, ours = ann.publish(2), ben.publish(3)
    ann.promote("v2")
    assert ours.champion == first.manifest_sha256
    ben.promote("v2")
    for scene in (ann, ben):
        assert push_pending(scene.workspace, scene.params).pushed
    said = capsys.readouterr().err
    assert "v3 is not in production: v2 had taken over on another machine (by Ann)" in said
    assert "v2 (change 2, by Ann) is in production, and its release is not in" in said
    assert [one.manifest_sha256 for one in ben.history()] == [first.manifest_sha256, theirs.manifest_sha256]
    assert [one.version for one in versions(ben.root)] == [1, 2, 3]
    (gone,) = Journal(ben.root, SUPERSEDED, StageChange).read()
    assert (gone.number, gone.manifest_sha256) == (2, ours.manifest_sha256)
    assert shown(ben) == (2, ours.manifest_sha256)
    (absent,) = settle_here(ben.root, ben.store)
    assert "v2 (change 2, by Ann) is in production, and its release is not in" in absent
    ben.publish(2)
    assert push_pending(ben.workspace, ben.params).pushed
    assert "followed the registry: v2 (change 2, by Ann) is in production now" in capsys.readouterr().err
    assert shown(ben) == (2, theirs.manifest_sha256)
    fetch_state(ann.workspace, ann.params)
    assert settle_here(ann.root, ann.store) == []
    assert ann.history() == ben.history()


def test_a_release_of_another_machines_that_does_not_hold_here_is_not_followed(tmp_path: Path) -> None:
    ann, ben = two_machines(tmp_path)
    first = ann.publish(1)
    ann.promote("v1")
    push_pending(ann.workspace, ann.params)
    fetch_state(ben.workspace, ben.params)
    ben.publish(1)
    (ben.store / first.manifest_sha256 / "model.onnx").write_bytes(b"other")
    (line,) = settle_here(ben.root, ben.store)
    assert "v1 (change 1, by Ann) is in production, and its release here does not hold: " in line
    assert read_prod(ben.store) is None


def test_a_checkout_that_shares_the_store_asks_the_remote_before_it_refuses(tmp_path: Path) -> None:
    ann, ben = two_machines(tmp_path)
    ben.workspace.params.write_text(f"schema_version: 2\npublish: {{store: {ann.store}}}\n")
    for seed in (1, 2):
        ann.publish(seed)
        ann.promote(f"v{seed}")
    with pytest.raises(Exception, match="which this checkout's history does not know"):
        ben.rollback()
    push_pending(ann.workspace, ann.params)
    assert ben.rollback().version == 1
    assert shown(ann)[0] == 3
    push_pending(ben.workspace, ben.params)
    assert ann.rollback("v2").number == 4
    assert subprocess.run(["git", "rev-parse", REF], cwd=tmp_path / "remote.git", capture_output=True).returncode == 0

"""`graft show` and `graft diff`: everything about a version, and plain words where something is out of reach."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from registry_scene import Scene, estimate, evaluation, make_scene, make_servable

from flows.promotion import holds_against_best, outdated_verdict
from flows.records import VersionRecord
from flows.release_items import items_bytes, items_path
from flows.state import StateRef
from flows.version_diff import VersionDiff, diff_of
from flows.version_diff_text import diff_text
from flows.version_text import show_text
from flows.version_view import VersionView, view_of
from flows.versions import find_version, versions
from tasks.errors import NotPromotable
from tasks.params import load_params
from tasks.reports import PairedComparison, PairedCounts, Verdict, write_bytes
from tasks.reports.comparison import Against
from tasks.reports.manifest import Manifest
from tasks.workspace import Workspace

PARAMS = b"schema_version: 2\ndata: {path: data/raw}\nadapt: {method: {name: linear_probe, head: %s}}\n"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def view(scene: Scene, text: str) -> VersionView:
    known = versions(scene.root)
    return view_of(scene.workspace, scene.params, find_version(scene.root, text), known, scene.history())


def diff(scene: Scene, old: str, new: str) -> VersionDiff:
    return diff_of(scene.workspace, view(scene, old), view(scene, new))


def compared(against: Against, only_challenger: int, only_champion: int) -> PairedComparison:
    counts = PairedCounts(both=3880, only_challenger=only_challenger, only_champion=only_champion, neither=100)
    return PairedComparison(against=against, version=1, manifest_sha256="a" * 64, counts=counts)


def with_commit(scene: Scene, seed: int, params: bytes, *comparisons: PairedComparison, **more: Any) -> VersionRecord:
    """A version whose run's commit is here, as `publication` makes it."""
    release = make_servable(scene.folder / f"draft-{seed}", seed, more.get("labels", ("ember", "ocean")))
    manifest = Manifest.read(release / "manifest.json")
    commit = scene.commit(
        {
            "params.yaml": params,
            "published/manifest.json": (release / "manifest.json").read_bytes(),
            "published/evaluation.json": evaluation(*comparisons),
            "published/gate.json": manifest.verdict.to_json().encode(),
        }
    )
    return scene.publish(seed, commit=commit, branch="graft/run/one", **more)


def remember_items(scene: Scene, version: VersionRecord, sides: dict[str, str]) -> None:
    contents = [hashlib.sha256(name.encode()).hexdigest() for name in sides]
    table = pa.table({"sha256": contents, "side": list(sides.values())})
    state = StateRef(scene.root)
    state.write({items_path(version.manifest_sha256): items_bytes(table)}, "Items", state.head())


def test_show_tells_where_a_version_comes_from_and_when_it_was_live(scene: Scene) -> None:
    one = with_commit(scene, 1, PARAMS % b"ridge", why="nightly")
    scene.promote("v1", "the first")
    scene.publish(2, outcome="worse", promotable=False)
    scene.promote("v2", "a demo", force=True)
    shown = view(scene, "v1")
    assert (shown.release, shown.commit, shown.branch) == (f"releases/{one.manifest_sha256}", one.commit, one.branch)
    assert shown.params is not None
    assert shown.params["adapt.method.head"] == "ridge"
    assert shown.params["split.seed"] is not None
    assert not [name for name in shown.params if name.startswith(("publish.", "promotion.", "data.path", "limits."))]
    first, second = scene.history()
    assert [(span.since, span.until) for span in shown.in_production] == [(first.at, second.at)]
    assert (shown.labels, shown.missing, shown.pushed) == (["ember", "ocean"], [], None)
    assert shown.reproducible_elsewhere
    text = show_text(shown)
    for part in (
        "v1  made-up@v1.0.0",
        "adapt.method.head: ridge",
        "by Ann: nightly",
        one.data_digest,
        str(one.commit),
    ):
        assert part in text
    forced = show_text(view(scene, "v2"))
    assert "by force (Ann, " in forced
    assert "worse against v1; not promotable" in forced
    assert "to now" in forced


def test_a_release_that_is_gone_is_told_from_its_runs_commit(scene: Scene) -> None:
    one = with_commit(scene, 1, PARAMS % b"ridge")
    shutil.rmtree(scene.store / one.manifest_sha256)
    shown = view(scene, "v1")
    assert shown.release is None
    assert shown.missing == ["its release is no longer in the store releases"]
    assert shown.verdict is not None
    assert shown.digests is not None
    assert shown.labels == ["ember", "ocean"]
    assert "(not in the store)" in show_text(shown)


def test_what_is_out_of_reach_is_said_and_how_to_get_it(scene: Scene) -> None:
    one = scene.publish(1, commit="f" * 40, branch="graft/run/elsewhere", in_place=True)
    shutil.rmtree(scene.store / one.manifest_sha256)
    shown = view(scene, "v1")
    assert (shown.params, shown.verdict, shown.labels, shown.reproducible_elsewhere) == (None, None, None, False)
    text = " ".join(show_text(shown).split())
    assert "no longer in the store releases" in text
    assert "verdict, digests and classes cannot be told" in text
    assert "`git fetch origin graft/run/elsewhere` brings it" in text
    assert "the data were read in place" in text
    assert diff(scene, "v1", "v1").params is None


def test_params_that_this_graft_does_not_read_any_more_are_shown_as_they_stand(scene: Scene) -> None:
    with_commit(scene, 1, b"schema_version: 9\nadapt: {newer: 1}\n")
    assert view(scene, "v1").params == {"schema_version": 9, "adapt.newer": 1}


def test_an_interval_is_shown_with_its_level(scene: Scene) -> None:
    with_commit(scene, 1, PARAMS % b"ridge")
    with_commit(scene, 2, b"schema_version: 2\nevaluate: {confidence: 0.995}\n")
    scene.publish(3)
    assert "0.9000  (95% CI 0.8500 to 0.9400), 100 test items" in show_text(view(scene, "v1"))
    assert "0.8800  (99.5% CI 0.8300 to 0.9200)" in show_text(view(scene, "v2"))
    assert "0.8800  (interval of a level not known here, 0.8300 to 0.9200)" in show_text(view(scene, "v3"))


@pytest.mark.parametrize("params", [b"a: [", b"\xff\xfe", b"- 1\n"])
def test_params_that_cannot_be_read_are_none(scene: Scene, params: bytes) -> None:
    with_commit(scene, 1, params)
    shown = view(scene, "v1")
    assert shown.params is None
    assert [line for line in shown.missing if "cannot be read: its params cannot be told" in line]


def test_every_line_fits_a_hundred_columns(scene: Scene) -> None:
    many = tuple(f"class number {number}" for number in range(40))
    with_commit(scene, 1, PARAMS % b"ridge", labels=many, why="a long reason " * 20)
    scene.promote("v1", "an even longer reason " * 20)
    with_commit(scene, 2, PARAMS % b"logistic", labels=many[:3])
    for text in (show_text(view(scene, "v1")), diff_text(diff(scene, "v1", "v2"))):
        assert max(map(len, text.splitlines())) <= 100


def test_diff_tells_params_items_classes_sources_and_metrics(scene: Scene) -> None:
    one = with_commit(scene, 1, PARAMS % b"ridge")
    two = with_commit(
        scene, 2, PARAMS % b"logistic", labels=("ember", "sky"), accuracy=estimate(0.93), data_digest="c" * 64
    )
    remember_items(scene, one, {"a": "train", "b": "train", "c": "test", "d": "test"})
    remember_items(scene, two, {"a": "train", "b": "validation", "c": "test", "e": "test", "f": "train"})
    found = diff(scene, "v1", "v2")
    assert found.params is not None
    assert {name: (change.old, change.new) for name, change in found.params.items()} == {
        "adapt.method.head": ("ridge", "logistic")
    }
    assert found.items is not None
    assert found.items.model_dump() == {
        "old": 4,
        "new": 5,
        "added": 2,
        "removed": 1,
        "moved": 1,
        "test_added": 1,
        "test_removed": 1,
    }
    assert (found.classes_added, found.classes_removed) == (["sky"], ["ocean"])
    assert found.digests is not None
    assert found.digests["code"].model_dump() == {"old": "code-1", "new": "code-2"}
    assert found.metrics["accuracy"].difference == pytest.approx(0.03)
    assert (found.data_digest is not None, found.missing) == (True, [])
    text = diff_text(found)
    parts = (
        "accuracy      0.9000 -> 0.9300  (+0.0300, on other test items)",
        "adapt.method.head: ridge -> logistic",
        "4 -> 5: 2 added, 1 removed; 1 on another side of the split",
        "test items: 1 added, 1 removed",
        "+sky, -ocean",
        "dddddddddddd -> cccccccccccc",
    )
    assert [part for part in parts if part not in text and part not in " ".join(text.split())] == []


def test_a_version_does_not_differ_from_itself(scene: Scene) -> None:
    one = with_commit(scene, 1, PARAMS % b"ridge")
    remember_items(scene, one, {"a": "train", "c": "test"})
    found = diff(scene, "v1", "v1")
    assert (found.params, found.digests, found.data_digest, found.graft_version) == ({}, {}, None, None)
    assert (found.classes_added, found.classes_removed, found.same_champion) == ([], [], True)
    text = diff_text(found)
    assert "2 -> 2: 0 added, 0 removed; the same test items" in text
    assert text.count("the same") == 6


def test_diff_tells_settings_that_are_no_part_of_the_result_apart_and_no_secret(scene: Scene) -> None:
    publish = b"publish: {git_remote: 'https://ada:t0psecret@host/x.git'}\n"
    one = with_commit(scene, 1, b"schema_version: 2\n")
    two = with_commit(scene, 2, b"schema_version: 2\nsample: {labels_per_class: 7}\n" + publish)
    for version in (one, two):
        remember_items(scene, version, {"a": "train", "c": "test"})
    found = diff(scene, "v1", "v2")
    assert (found.params, sorted(found.settings or {})) == ({}, ["publish.git_remote", "sample.labels_per_class"])
    text = diff_text(found)
    assert "sample.labels_per_class: 5 -> 7" in text
    assert "settings do not make the result by themselves" in text
    assert "t0psecret" not in text + found.to_json() + view(scene, "v2").to_json()
    assert "on other test items" not in text
    assert "settings" not in diff_text(diff(scene, "v1", "v1"))


def test_show_tells_how_another_machine_comes_by_the_data(scene: Scene) -> None:
    with_commit(scene, 1, b"schema_version: 2\n")
    with_commit(scene, 2, PARAMS % b"ridge")
    assert "reproducible: `graft adapt` writes the embedded sample" in show_text(view(scene, "v1"))
    assert "reproducible: the data are under DVC or in git" in show_text(view(scene, "v2"))


SHOW_KEYS = (
    "schema_version version name manifest_sha256 model_sha256 release accuracy macro_f1 test_items outcome promotable "
    "champion champion_version data_digest params_sha256 params settings digests precision not_int8 labels verdict "
    "run_id branch commit graft_version reproducible_elsewhere pushed by why at in_production promotions missing"
)
DIFF_KEYS = (
    "schema_version old new metrics params settings data_digest digests graft_version classes_added classes_removed "
    "items same_champion missing"
)


def test_programs_find_the_same_keys_in_json(scene: Scene) -> None:
    with_commit(scene, 1, PARAMS % b"ridge")
    assert list(json.loads(view(scene, "v1").to_json())) == SHOW_KEYS.split()
    assert list(json.loads(diff(scene, "v1", "v1").to_json())) == DIFF_KEYS.split()


@pytest.mark.parametrize(("lost", "holds"), [(8, True), (150, False)])
def test_an_equivalent_version_is_judged_again_as_gate_would_with_its_runs_own_rule(
    scene: Scene, lost: int, holds: bool
) -> None:
    comparisons = compared("champion", 12, 8), compared("best", 12, lost)
    version = with_commit(scene, 1, PARAMS % b"ridge", *comparisons, outcome="equivalent", promotable=False)
    assert holds_against_best(scene.root, version) is holds


def with_rule(scene: Scene, rule: str) -> None:
    scene.workspace.params.write_text(f"schema_version: 2\ngate: {{champion: {rule}}}\n")


STRICT, LOOSE = "{alpha: 0.001}", "{alpha: 0.2, margin: 0.05, test_set_uses: 1}"


@pytest.mark.parametrize(
    ("then", "now", "may"),
    [(LOOSE, STRICT, False), (LOOSE, LOOSE, True), (STRICT, LOOSE, True), (LOOSE, "{refuse: []}", True)],
)
def test_a_version_that_was_judged_by_another_rule_is_judged_by_todays_too(
    scene: Scene, then: str, now: str, may: bool
) -> None:
    scene.publish(1)
    scene.promote("v1")
    params = f"schema_version: 2\ngate: {{champion: {then}}}\n".encode()
    version = with_commit(scene, 2, params, compared("champion", 40, 15))
    with_rule(scene, now)
    fault = outdated_verdict(scene.workspace, scene.params, version)
    if may:
        assert fault is None
        assert not scene.promote("v2").forced
        return
    assert fault is not None
    assert fault.startswith(
        "v2 was judged by another gate.champion than params.yaml has now, and by this one it is not"
    )
    assert "accuracy gained +0.006 over v1" in fault
    assert fault.endswith("--force promotes it all the same, and is marked for ever")
    with pytest.raises(NotPromotable, match="v2 was judged by another gate"):
        scene.promote("v2")
    assert scene.promote("v2", force=True).forced


def test_a_run_with_a_rule_of_its_own_is_judged_by_the_checkouts(scene: Scene, tmp_path: Path) -> None:
    scene.publish(1)
    scene.promote("v1")
    version = with_commit(
        scene, 2, f"schema_version: 2\ngate: {{champion: {LOOSE}}}\n".encode(), compared("champion", 40, 15)
    )
    with_rule(scene, STRICT)
    tree = scene.root / ".graft" / "worktrees" / "run"
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", "Start"], cwd=scene.root, check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree)], cwd=scene.root, check=True)
    write_bytes(tree / ".graft" / "home", f"{scene.root}\n".encode())
    (tree / "params.yaml").write_text(f"schema_version: 2\ngate: {{champion: {LOOSE}}}\n")
    run = Workspace(tree)
    assert run.home == scene.root
    assert "v2 was judged by another" in str(outdated_verdict(run, load_params(run.params), version))


def test_the_verdict_in_a_view_is_the_one_that_export_put_into_the_release(scene: Scene) -> None:
    scene.publish(1)
    shown = view(scene, "v1")
    assert isinstance(shown.verdict, Verdict)
    assert shown.verdict.rules[0].reason in show_text(shown)

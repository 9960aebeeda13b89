"""Which releases a run is compared with: what `prod` names, the best that ever was, and whole copies of both."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from registry_scene import Scene, estimate, evaluation, make_scene

from flows.champion_pin import (
    ProductionMoved,
    champion_now,
    check_champion,
    fetch_pinned,
    standing_pin,
    wanted_pin,
)
from flows.inputs import memory_path
from flows.prod_pointer import write_prod
from flows.records import VersionRecord
from flows.release_items import items_bytes, items_path
from flows.state import StateRef
from tasks.digests import bytes_sha256, file_sha256
from tasks.errors import ReleaseError
from tasks.release import QUALIFICATION, verify_release
from tasks.reports import PairedComparison, PairedCounts, write_bytes
from tasks.reports.champion import ChampionPin
from tasks.tables import SPLIT_MEMORY, SPLITS, table_bytes

TEST, TRAIN = "7" * 64, "a" * 64


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = make_scene(tmp_path.resolve())
    remember(scene, {TEST: "test", TRAIN: "train"})
    return scene


def remember(scene: Scene, sides: dict[str, str]) -> None:
    """Let the split memory of these params know the side of each content."""
    rows = [{"sha256": content, "label": "ember", "label_index": 0, "side": side} for content, side in sides.items()]
    write_state(scene, memory_path(scene.params), table_bytes(pa.Table.from_pylist(rows, SPLIT_MEMORY)))


def write_state(scene: Scene, path: str, data: bytes) -> None:
    state = StateRef(scene.root)
    state.write({path: data}, "Write", state.head())


def publish(
    scene: Scene, seed: int, accuracy: float = 0.9, sides: dict[str, str] | None = None, commit: str | None = None
) -> VersionRecord:
    """A version whose release had each content on that side."""
    version = scene.publish(seed, accuracy=estimate(accuracy), commit=commit)
    rows = [
        {"path": content, "sha256": content, "side": side}
        for content, side in (sides or {TEST: "test", TRAIN: "train"}).items()
    ]
    write_state(scene, items_path(version.manifest_sha256), items_bytes(pa.Table.from_pylist(rows, SPLITS)))
    return version


def in_production(scene: Scene, *accuracies: float) -> list[VersionRecord]:
    """Versions of these accuracies, promoted one after the other."""
    versions = []
    for seed, accuracy in enumerate(accuracies, start=1):
        versions.append(publish(scene, seed, accuracy))
        scene.promote(f"v{seed}")
    return versions


def pin_of(scene: Scene) -> tuple[int | None, int | None]:
    """(champion, best) by version."""
    pin = wanted_pin(scene.workspace, scene.params)
    return pin.champion.version if pin.champion else None, pin.best.version if pin.best else None


def test_nothing_is_pinned_before_the_first_promotion(scene: Scene) -> None:
    publish(scene, 1)
    assert wanted_pin(scene.workspace, scene.params) == ChampionPin()


def test_the_champion_is_what_prod_names_by_the_content_of_all_that_is_compared(scene: Scene) -> None:
    (version,) = in_production(scene, 0.9)
    champion = wanted_pin(scene.workspace, scene.params).champion
    assert champion is not None
    items = StateRef(scene.root).read(items_path(version.manifest_sha256)) or b""
    assert (champion.version, champion.manifest_sha256) == (1, version.manifest_sha256)
    assert champion.items_sha256 == bytes_sha256(items)


def test_what_a_release_learned_from_may_be_unknown(scene: Scene) -> None:
    version = scene.publish(1)
    scene.promote("v1")
    pin = wanted_pin(scene.workspace, scene.params)
    assert pin.champion
    assert pin.champion.items_sha256 is None
    fetch_pinned(scene.workspace, scene.params, pin)
    assert not scene.workspace.pinned_items(version.manifest_sha256).exists()


def test_the_best_is_the_most_accurate_that_ever_was_promoted(scene: Scene) -> None:
    in_production(scene, 0.91, 0.95, 0.93)
    publish(scene, 4, accuracy=0.99)
    assert pin_of(scene) == (3, 2)
    scene.rollback("v2")
    assert pin_of(scene) == (2, None)


def test_of_equal_versions_the_champion_needs_no_other_beside_it(scene: Scene) -> None:
    in_production(scene, 0.93, 0.93)
    assert pin_of(scene) == (2, None)


@pytest.mark.parametrize(
    ("sides", "best"),
    [
        ({TEST: "test", TRAIN: "train"}, 1),
        ({TEST: "train", TRAIN: "test"}, None),
        ({TEST: "validation"}, None),
        ({TRAIN: "train"}, None),
        ({TEST: "test", "c" * 64: "train"}, 1),
    ],
)
def test_a_version_of_another_split_is_not_the_best_on_this_one(
    scene: Scene, sides: dict[str, str], best: int | None
) -> None:
    publish(scene, 1, 0.95, sides)
    scene.promote("v1")
    publish(scene, 2, 0.9)
    scene.promote("v2")
    assert pin_of(scene) == (2, best)


def test_a_best_that_gc_took_from_the_store_is_passed_over(scene: Scene) -> None:
    first, second, _ = in_production(scene, 0.92, 0.95, 0.9)
    shutil.rmtree(scene.store / second.manifest_sha256)
    assert pin_of(scene) == (3, first.version)


def test_copies_are_whole_and_stay_until_others_are_named(scene: Scene) -> None:
    in_production(scene, 0.95, 0.9)
    pin = wanted_pin(scene.workspace, scene.params)
    for _ in range(2):
        fetch_pinned(scene.workspace, scene.params, pin)
    assert pin.champion
    assert pin.best
    for release in (pin.champion, pin.best):
        copy = scene.workspace.pinned_release(release.manifest_sha256)
        verify_release(copy, beside=(QUALIFICATION,))
        assert file_sha256(scene.workspace.pinned_items(release.manifest_sha256)) == release.items_sha256
    before = (scene.workspace.pinned_release(pin.champion.manifest_sha256) / "model.onnx").stat()
    (scene.workspace.pinned_release("") / ".incoming-half").mkdir()
    fetch_pinned(scene.workspace, scene.params, ChampionPin(champion=pin.champion))
    names = {path.name for path in scene.workspace.pinned_release("").iterdir()}
    assert names == {pin.champion.manifest_sha256, f"{pin.champion.manifest_sha256}.items.parquet"}
    after = (scene.workspace.pinned_release(pin.champion.manifest_sha256) / "model.onnx").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    fetch_pinned(scene.workspace, scene.params, ChampionPin())
    assert list(scene.workspace.pinned_release("").iterdir()) == []


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_spoilt_copy_is_made_anew(scene: Scene, file: str) -> None:
    (version,) = in_production(scene, 0.9)
    pin = wanted_pin(scene.workspace, scene.params)
    fetch_pinned(scene.workspace, scene.params, pin)
    copy = scene.workspace.pinned_release(version.manifest_sha256)
    (copy / file).write_bytes(b"spoilt")
    scene.workspace.pinned_items(version.manifest_sha256).write_bytes(b"spoilt")
    fetch_pinned(scene.workspace, scene.params, pin)
    verify_release(copy, beside=(QUALIFICATION,))
    assert pin.champion
    assert file_sha256(scene.workspace.pinned_items(version.manifest_sha256)) == pin.champion.items_sha256


def test_a_champion_that_the_store_lacks_ends_the_run_with_the_mend(scene: Scene) -> None:
    (version,) = in_production(scene, 0.9)
    shutil.rmtree(scene.store / version.manifest_sha256)
    with pytest.raises(ReleaseError, match=r"production is v1 .* does not hold; copy its folder .*graft rollback"):
        wanted_pin(scene.workspace, scene.params)


def test_a_champion_that_is_damaged_in_the_store_is_not_copied(scene: Scene) -> None:
    (version,) = in_production(scene, 0.9)
    pin = wanted_pin(scene.workspace, scene.params)
    (scene.store / version.manifest_sha256 / "model.onnx").write_bytes(b"rot")
    with pytest.raises(ReleaseError, match=r"v1 cannot be compared with: .*model\.onnx was altered.*nothing was comp"):
        fetch_pinned(scene.workspace, scene.params, pin)
    left = {path.name for path in scene.workspace.pinned_release("").iterdir()}
    assert version.manifest_sha256 not in left
    assert not [name for name in left if name.startswith(".")]


def test_a_full_disk_is_named_and_leaves_no_half_copy(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    in_production(scene, 0.9)
    pin = wanted_pin(scene.workspace, scene.params)

    def full(_: Path, target: Path, ignore: object) -> None:
        target.mkdir(parents=True)
        (target / "manifest.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(ReleaseError, match=r"No space left on device\); free the disk"):
        fetch_pinned(scene.workspace, scene.params, pin)
    left = [path.name for path in scene.workspace.pinned_release("").iterdir()]
    assert left == [f"{pin.champion.manifest_sha256}.items.parquet" if pin.champion else ""]


def test_a_verdict_about_another_champion_publishes_nothing(scene: Scene) -> None:
    ChampionPin().write(scene.workspace.champion_pin)
    check_champion(scene.workspace, scene.params)
    in_production(scene, 0.9)
    with pytest.raises(ProductionMoved, match=r"changed from nothing to v1 while this run worked.*run again"):
        check_champion(scene.workspace, scene.params)
    wanted_pin(scene.workspace, scene.params).write(scene.workspace.champion_pin)
    check_champion(scene.workspace, scene.params)
    publish(scene, 2, 0.95)
    scene.promote("v2")
    with pytest.raises(ProductionMoved, match="changed from v1 to v2"):
        check_champion(scene.workspace, scene.params)


def test_a_release_that_was_just_promoted_keeps_the_pin_it_was_judged_with(scene: Scene) -> None:
    version = publish(scene, 1)
    shutil.copytree(scene.store / version.manifest_sha256, scene.workspace.release)
    judged = ChampionPin()
    judged.write(scene.workspace.champion_pin)
    scene.promote("v1")
    wanted = wanted_pin(scene.workspace, scene.params)
    assert standing_pin(scene.workspace, wanted) == judged
    publish(scene, 2)
    scene.promote("v2")
    wanted = wanted_pin(scene.workspace, scene.params)
    assert standing_pin(scene.workspace, wanted) == wanted


def test_what_a_plan_pinned_meanwhile_does_not_cost_the_promoted_release_its_verdict(scene: Scene) -> None:
    (champion,) = in_production(scene, 0.9)
    judged = wanted_pin(scene.workspace, scene.params)
    own = publish(scene, 2, 0.95)
    shutil.copytree(scene.store / own.manifest_sha256, scene.workspace.release)
    counts = PairedCounts(both=80, only_challenger=15, only_champion=1, neither=4)
    compared = PairedComparison(against="champion", version=1, manifest_sha256=champion.manifest_sha256, counts=counts)
    write_bytes(scene.workspace.evaluation, evaluation(compared))
    scene.promote("v2")
    wanted = wanted_pin(scene.workspace, scene.params)
    wanted.write(scene.workspace.champion_pin)
    assert judged.champion
    assert standing_pin(scene.workspace, wanted) == judged
    scene.workspace.evaluation.unlink()
    assert standing_pin(scene.workspace, wanted) == wanted


def test_an_interrupted_promotion_is_completed_before_a_run_pins_anything(scene: Scene) -> None:
    in_production(scene, 0.9, 0.95)
    write_prod(scene.store, scene.history()[0])
    told: list[str] = []
    pin = champion_now(scene.workspace, scene.params, told.append)
    assert pin.champion
    assert pin.champion.version == 2
    assert any("completed an interrupted change" in line for line in told)


def test_a_machine_whose_store_lacks_production_publishes_nothing_as_if_it_were_the_first(scene: Scene) -> None:
    (version,) = in_production(scene, 0.9)
    (scene.store / "prod").unlink()
    shutil.rmtree(scene.store / version.manifest_sha256)
    assert champion_now(scene.workspace, scene.params, lambda _: None) == ChampionPin()
    with pytest.raises(ReleaseError, match=r"production is v1 .* set publish\.store to the store that holds it"):
        champion_now(scene.workspace, scene.params, lambda _: None, publishes=True)


def test_the_rule_holds_on_a_memory_of_many_items(scene: Scene) -> None:
    contents = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(500)]
    remember(scene, {content: "test" if place % 5 == 0 else "train" for place, content in enumerate(contents)})
    sides = {content: "test" if place % 5 == 0 else "train" for place, content in enumerate(contents)}
    publish(scene, 1, 0.95, sides)
    scene.promote("v1")
    publish(scene, 2, 0.97, {**sides, contents[0]: "train"})
    scene.promote("v2")
    publish(scene, 3, 0.9, sides)
    scene.promote("v3")
    assert pin_of(scene) == (3, 1)


def test_a_pin_names_the_version_that_beat_the_champion_on_its_items_whatever_their_accuracies(scene: Scene) -> None:
    (first,) = in_production(scene, 0.9)
    pair = PairedComparison(against="champion", version=1, manifest_sha256=first.manifest_sha256, gain=estimate(-0.008))
    commit = scene.commit({"published/evaluation.json": evaluation(pair)})
    publish(scene, 2, 0.95, commit=commit)
    scene.promote("v2")
    assert pin_of(scene) == (2, 1)
    shutil.rmtree(scene.store / first.manifest_sha256)
    assert pin_of(scene) == (2, None)

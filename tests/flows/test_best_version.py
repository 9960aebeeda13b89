"""Which promoted version is the best: by what it gained on the same items, whatever the test set of its day was."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_scene import Scene, estimate, evaluation, make_scene

from flows.best_version import most_accurate
from flows.records import VersionRecord
from tasks.reports import PairedComparison
from tasks.reports.comparison import Against

Gains = dict[str, float | None]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def compared(against: Against, version: VersionRecord, gain: float | None) -> PairedComparison:
    pair = PairedComparison(against=against, version=version.version, manifest_sha256=version.manifest_sha256)
    if gain is None:
        return pair.model_copy(update={"incomparable": "the classes changed"})
    return pair.model_copy(update={"gain": estimate(gain)})


def promoted(
    scene: Scene, seed: int, accuracy: float, *comparisons: PairedComparison, force: bool = False
) -> VersionRecord:
    """A version in production, whose run compared it so; without a comparison its run's commit is not here."""
    commit = scene.commit({"published/evaluation.json": evaluation(*comparisons)}) if comparisons else None
    version = scene.publish(seed, accuracy=estimate(accuracy), commit=commit)
    scene.promote(f"v{seed}", force=force)
    return version


def best(scene: Scene, *gone: VersionRecord) -> int | None:
    """Number of the best version; some serve no more."""
    lost = {version.version for version in gone}
    found = most_accurate(
        scene.root, scene.history()[-1].manifest_sha256, serves=lambda version: version.version not in lost
    )
    return found and found.version


def test_a_line_of_small_losses_on_data_that_grow_more_easy_keeps_its_first_version_as_the_best(scene: Scene) -> None:
    first = before = promoted(scene, 1, 0.90)
    for seed, accuracy in enumerate((0.91, 0.92, 0.93, 0.94), start=2):
        pairs = [compared("champion", before, -0.008)]
        if before is not first:
            pairs.append(compared("best", first, -0.008 * (seed - 1)))
        before = promoted(scene, seed, accuracy, *pairs)
        assert best(scene) == 1


def test_a_line_of_gains_on_data_that_grow_harder_is_the_best_itself(scene: Scene) -> None:
    before = promoted(scene, 1, 0.95)
    for seed, accuracy in enumerate((0.93, 0.91), start=2):
        before = promoted(scene, seed, accuracy, compared("champion", before, 0.004))
        assert best(scene) == seed


def test_what_beat_the_champion_by_most_is_the_best(scene: Scene) -> None:
    one = promoted(scene, 1, 0.90)
    two = promoted(scene, 2, 0.90, compared("champion", one, -0.004))
    promoted(scene, 3, 0.99, compared("champion", two, -0.006), compared("best", one, -0.002))
    assert best(scene) == 2
    assert best(scene, two) == 1
    assert best(scene, one, two) == 3


def test_the_very_model_of_the_best_is_no_loss(scene: Scene) -> None:
    one = promoted(scene, 1, 0.95)
    pair = compared("champion", one, 0.0).model_copy(update={"gain": None, "unchanged": True})
    promoted(scene, 2, 0.90, pair)
    assert best(scene) == 2


def test_what_was_compared_with_nothing_is_ranked_by_accuracy(scene: Scene) -> None:
    one, two = promoted(scene, 1, 0.92), promoted(scene, 2, 0.95)
    promoted(scene, 3, 0.93, compared("champion", two, None))
    assert best(scene) == 2
    assert best(scene, two) == 3
    promoted(scene, 4, 0.91)
    assert (best(scene), best(scene, two), best(scene, one, two)) == (2, 3, 3)


def test_what_was_rolled_back_is_the_best_where_it_gained_on_the_same_items(scene: Scene) -> None:
    one = promoted(scene, 1, 0.95)
    promoted(scene, 2, 0.90, compared("champion", one, 0.002))
    scene.rollback("v1")
    assert best(scene) == 2
    promoted(scene, 3, 0.99, compared("champion", one, -0.005), compared("best", one, -0.005))
    scene.rollback("v1")
    assert best(scene) == 2


def test_a_version_that_was_never_promoted_is_not_the_best(scene: Scene) -> None:
    promoted(scene, 1, 0.90)
    scene.publish(2, accuracy=estimate(0.99))
    assert best(scene) == 1

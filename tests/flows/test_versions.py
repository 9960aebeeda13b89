"""The registry: numbers without gaps, one version for one release, names that people use."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene, record

from flows.journal import VERSIONS
from flows.state import StateRef
from flows.versions import find_version, register, versions
from tasks.errors import StageInputError, UserError

DIGESTS = [f"{number:x}" * 64 for number in range(1, 16)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def registered(root: Path, digest: str) -> tuple[int, str]:
    made = register(root, lambda number: record(number, digest))
    return made.version, made.manifest_sha256


def test_versions_are_numbered_from_one_on_in_the_order_of_their_registration(scene: Scene) -> None:
    assert [registered(scene.root, digest)[0] for digest in DIGESTS[:3]] == [1, 2, 3]
    assert [(one.version, one.manifest_sha256) for one in versions(scene.root)] == list(enumerate(DIGESTS[:3], start=1))


def test_the_same_release_is_the_same_version_however_often_it_is_published(scene: Scene) -> None:
    first = register(scene.root, lambda number: record(number, DIGESTS[0], why="first"))
    registered(scene.root, DIGESTS[1])
    again = register(scene.root, lambda number: record(number, DIGESTS[0], why="again"))
    assert again == first
    assert [one.why for one in versions(scene.root)] == ["first", "a test"]


def test_processes_that_register_at_once_get_numbers_without_gaps_and_no_release_twice(scene: Scene) -> None:
    wanted = [DIGESTS[number % 6] for number in range(12)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        got = pool.starmap(registered, [(scene.root, digest) for digest in wanted])
    known = versions(scene.root)
    assert [one.version for one in known] == [1, 2, 3, 4, 5, 6]
    assert {one.manifest_sha256 for one in known} == set(wanted)
    assert set(got) == {(one.version, one.manifest_sha256) for one in known}


@pytest.mark.parametrize("text", ["v2", "V2", "2", " v2 ", "v2.0.0", "2.0.0", "made-up@v2.0.0", "2222", "2" * 64])
def test_a_version_is_found_by_any_of_its_names(scene: Scene, text: str) -> None:
    for digest in DIGESTS[:3]:
        registered(scene.root, digest)
    assert find_version(scene.root, text).version == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v9", r"no version v9; the nearest is v3 \(333333333333\); 3 versions: v1 to v3"),
        ("0", r"no version v0; the nearest is v1"),
        ("v2.1.0", r"'v2.1.0' names no version: give v3, 3, v3.0.0 or how"),
        ("latest", r"'latest' names no version"),
        ("", r"'' names no version"),
        ("abcd", r"'abcd' names no version"),
        ("333", r"no version v333; the nearest is v3"),
        ("99999999999999999999", r"names no version"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(scene: Scene, text: str, message: str) -> None:
    for digest in DIGESTS[:3]:
        registered(scene.root, digest)
    with pytest.raises(UserError, match=message):
        find_version(scene.root, text)


def test_a_beginning_of_two_digests_names_both(scene: Scene) -> None:
    for digest in ("abcd" + "0" * 60, "abcd" + "1" * 60):
        registered(scene.root, digest)
    with pytest.raises(UserError, match=r"abcd begins the digests of v1 \(abcd00000000\) and v2 \(abcd11111111\)"):
        find_version(scene.root, "abcd")
    assert find_version(scene.root, "ABCD1").version == 2


def test_an_empty_registry_says_how_to_fill_it(scene: Scene) -> None:
    with pytest.raises(UserError, match="no version is published yet; `graft adapt --publish`"):
        find_version(scene.root, "v1")


def test_a_line_that_is_no_version_is_named_with_its_file(scene: Scene) -> None:
    StateRef(scene.root).write({VERSIONS: b'{"version": 1}\n'}, "By hand", None)
    with pytest.raises(StageInputError, match=r"versions\.jsonl holds a line that is no VersionRecord"):
        versions(scene.root)

"""Which contents a release knew: recorded by side, listed for those who ask, unknown where nothing was recorded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from flows.release_items import Use, items_bytes, items_path, use_lines, uses_of
from flows.state import StateRef
from tasks.tables import RELEASE_ITEMS, SPLITS, parse_table

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
ONE, TWO, OLD = ("1" * 64, "2" * 64, "0" * 64)


def splits(*rows: tuple[str, str]) -> pa.Table:
    """(content, side) as a splits.parquet."""
    return pa.Table.from_pylist(
        [{"path": str(n), "sha256": s, "side": side} for n, (s, side) in enumerate(rows)], SPLITS
    )


@pytest.fixture
def state(tmp_path: Path) -> StateRef:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    state = StateRef(tmp_path)
    state.write(
        {
            items_path(ONE): items_bytes(splits((A, "train"), (B, "test"), (C, "validation"))),
            items_path(TWO): items_bytes(splits((A, "test"), (D, "left_out"))),
        },
        "Record",
        None,
    )
    return state


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for digest in (ONE, OLD):
        (tmp_path / "releases" / digest).mkdir(parents=True)
        (tmp_path / "releases" / digest / "manifest.json").write_text("{}")
    (tmp_path / "releases" / ".incoming-1").mkdir()
    return tmp_path / "releases"


def test_every_content_is_recorded_once_with_its_strictest_side() -> None:
    data = items_bytes(splits((B, "train"), (A, "train"), (A, "test"), (C, "validation"), (D, "left_out")))
    rows = parse_table(data, RELEASE_ITEMS, "items").to_pylist()
    assert [(row["sha256"].hex(), row["side"]) for row in rows] == [(A, "test"), (B, "train"), (C, "validation")]
    assert data == items_bytes(splits((C, "validation"), (A, "test"), (B, "train"), (A, "train")))


def test_a_million_items_cost_little_more_than_their_digests() -> None:
    contents = [(f"{number:064x}", "train") for number in range(2000)]
    assert len(items_bytes(splits(*contents))) < 2000 * 40


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([A], [Use(OLD, True, None), Use(ONE, True, ["train"]), Use(TWO, False, ["test"])]),
        ([B], [Use(OLD, True, None), Use(ONE, True, ["test"])]),
        ([B, C], [Use(OLD, True, None), Use(ONE, True, ["test", "validation"])]),
        ([D], [Use(OLD, True, None)]),
    ],
)
def test_the_releases_that_knew_a_content(
    state: StateRef, store: Path, contents: list[str], expected: list[Use]
) -> None:
    assert uses_of(state, store, contents) == expected


def test_without_a_store_and_a_state_there_is_none(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert uses_of(StateRef(tmp_path), tmp_path / "none", [A]) == []
    assert use_lines([], "releases") == ["no release was trained or tested on it"]


def test_trained_ones_are_listed_first_then_tested_then_unknown() -> None:
    uses = [Use(OLD, True, None), Use(ONE, True, ["test"]), Use(TWO, False, ["test", "train"])]
    assert use_lines(uses, "releases") == [
        "releases trained on it:",
        f"  releases/{TWO} (no longer there) (test, train)",
        "releases tested on it:",
        f"  releases/{ONE} (test)",
        "unknown for releases published by an earlier Graft:",
        f"  releases/{OLD}",
    ]

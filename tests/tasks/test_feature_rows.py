"""Features are read by rows, whatever their precision, and never as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.errors import StageInputError
from tasks.feature_rows import check_index, open_features, open_item_features
from tasks.tables import EMBEDDING_INDEX, write_table
from tasks.workspace import Workspace


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_rows_come_in_the_order_asked_for_as_single_precision(tmp_path: Path, dtype: type[np.floating]) -> None:
    values = np.random.default_rng(0).normal(size=(500, 7)).astype(dtype)
    np.save(tmp_path / "features.npy", values)
    asked = np.random.default_rng(1).permutation(500)[:200]
    with open_features(tmp_path / "features.npy") as rows:
        assert (len(rows), rows.width) == (500, 7)
        chosen = rows.choose(asked)
        assert np.array_equal(rows[asked], values[asked].astype(np.float32))
        assert np.array_equal(chosen[10:30], values[asked[10:30]].astype(np.float32))
        assert rows[np.empty(0, dtype=np.int64)].shape == (0, 7)
        assert rows[asked].dtype == np.float32


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones(5, dtype=np.float32), "expected rows of floating-point"),
        (np.ones((5, 2), dtype=np.int64), "expected rows of floating-point"),
        (np.asfortranarray(np.ones((5, 2), dtype=np.float32)), "expected rows of floating-point"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "features.npy", values)
    with pytest.raises(ValueError, match=reason), open_features(tmp_path / "features.npy"):
        pass


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "features.npy"
    np.save(file, np.ones((5, 2), dtype=np.float32))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ValueError, match="3 bytes are missing at its end"), open_features(file):
        pass


def test_a_value_that_is_no_number_is_refused_where_it_is_read(tmp_path: Path) -> None:
    values = np.ones((50, 2), dtype=np.float16)
    values[40, 1] = np.nan
    np.save(tmp_path / "features.npy", values)
    with open_features(tmp_path / "features.npy") as rows:
        assert rows[np.arange(40)].sum() == 80
        with pytest.raises(ValueError, match=r"infinite or not a number \(rows 40 to 40\)"):
            rows[np.array([3, 40])]


def index_of(count: int) -> pa.Table:
    return pa.table({"path": [f"{row}.png" for row in range(count)], "sha256": ["0" * 64] * count}, EMBEDDING_INDEX)


@pytest.fixture
def embedded(tmp_path: Path) -> Workspace:
    """Embeddings of five items."""
    workspace = Workspace(tmp_path)
    write_table(index_of(5), workspace.embedding_index)
    np.save(workspace.features, np.arange(10, dtype=np.float32).reshape(5, 2))
    return workspace


def test_embeddings_have_a_row_for_each_row_of_their_index(embedded: Workspace) -> None:
    with open_item_features(embedded) as features:
        assert features[np.array([4, 0])].tolist() == [[8.0, 9.0], [0.0, 1.0]]
    write_table(index_of(6), embedded.embedding_index)
    complaint = (
        r"features\.npy has the shape \(5, 2\), expected 6 rows, as many as .*; run `graft adapt` \(stage embed\)"
    )
    with pytest.raises(StageInputError, match=complaint), open_item_features(embedded):
        pass


def test_a_value_that_is_no_number_ends_a_stage_with_the_file_unless_it_is_left_to_the_reader(
    embedded: Workspace,
) -> None:
    values = np.load(embedded.features)
    values[3, 1] = np.inf
    np.save(embedded.features, values)
    with open_item_features(embedded, finite=False) as features:
        np.testing.assert_array_equal(features.choose(np.array([3]))[:], values[3:4])
    complaint = r"features\.npy cannot be read \(.* not a number \(rows 0 to 4\)\); run `graft adapt` \(stage embed\)"
    with pytest.raises(StageInputError, match=complaint), open_item_features(embedded) as features:
        features[:]


def test_a_fault_of_the_stage_itself_is_not_laid_upon_the_features(embedded: Workspace) -> None:
    with pytest.raises(ValueError, match="of the stage"), open_item_features(embedded):
        raise ValueError("of the stage")


def test_an_index_of_other_items_or_of_another_order_is_refused_with_both_files(embedded: Workspace) -> None:
    items = index_of(5).append_column("label", pa.array(["bee"] * 5))
    check_index(embedded, items, embedded.items, "embed")
    for other in (items.slice(1), items.take([1, 0, 2, 3, 4])):
        with pytest.raises(StageInputError, match=r"index\.parquet lists other items than .*items\.parquet; .*embed"):
            check_index(embedded, other, embedded.items, "embed")

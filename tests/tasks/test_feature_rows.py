"""Features are read by rows, whatever their precision, and never as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.feature_rows import open_features


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

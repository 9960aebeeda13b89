"""What whitening takes away and leaves; what it is for is tested with the near-duplicates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks.whitening import chance_cosine, whiten


def unrelated(count: int, width: int = 128) -> npt.NDArray[np.float32]:
    """Features with the large common part of pooled ReLUs."""
    return (10 + np.random.default_rng(0).normal(size=(count, width))).astype(np.float32)


def test_whitening_takes_away_what_all_items_share() -> None:
    features = unrelated(200)
    raw = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (raw @ raw.T).min() > 0.95
    vectors = whiten(features, np.arange(200))
    assert np.abs(vectors @ vectors.T - np.eye(200)).max() < 0.6


@pytest.mark.parametrize(("count", "width"), [(40, 300), (300, 40)])
def test_whitened_rows_are_units_for_wide_and_for_tall_features(count: int, width: int) -> None:
    vectors = whiten(unrelated(count, width), np.arange(count))
    assert vectors.shape == (count, min(count // 2, width))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def chance_level(count: int) -> float:
    return chance_cosine(whiten(unrelated(count), np.arange(count)))


def test_few_items_tell_no_chance_level() -> None:
    assert chance_level(99) == -1
    assert chance_level(100) > -1

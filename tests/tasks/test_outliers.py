"""Outliers by the distance to the nearest neighbours."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import tasks.outliers as module
from tasks.outliers import NEIGHBOURS, far_out, neighbour_distances


def crowd(items: int, strangers: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    alike = generator.normal(size=(items, 16)) * 0.2 + 1.0
    return np.vstack([alike, generator.normal(size=(strangers, 16))])


def test_distances_agree_with_scikit_learn() -> None:
    features = crowd(300, 5)
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(features)
    expected = search.kneighbors(features)[0][:, 1:].mean(axis=1)

    np.testing.assert_allclose(neighbour_distances(features), expected, atol=1e-5)


def test_strangers_are_far_out_and_most_others_are_not() -> None:
    found = far_out(neighbour_distances(crowd(300, 5)))

    assert found[300:].all()
    assert found[:300].mean() < 0.05


def test_blocks_and_a_sampled_reference_find_the_same_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 37)
    features = crowd(500, 5)
    whole = neighbour_distances(features)
    monkeypatch.setattr(module, "MAX_REFERENCE", 200)

    assert set(np.argsort(-neighbour_distances(features))[:5]) == set(np.argsort(-whole)[:5]) == set(range(500, 505))


@pytest.mark.parametrize("items", [1, 2, 5])
def test_a_handful_of_items_has_distances_too(items: int) -> None:
    found = neighbour_distances(crowd(items, 0))

    assert found.shape == (items,)
    assert np.isfinite(found).all()
    assert not far_out(found)[found == found.min()].any()


def test_rows_of_zeros_are_no_error() -> None:
    assert np.isfinite(neighbour_distances(np.zeros((20, 4)))).all()

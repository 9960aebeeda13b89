"""The search in cells finds what comparing all with all finds, and crowds of equal images do not swell it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks import neighbour_cells
from tasks.components import connected_components
from tasks.neighbour_cells import MOST_LINKS, ClosePairs, close_pairs
from tasks.params import NearDuplicateParams

PARAMS = NearDuplicateParams()
Hashes = npt.NDArray[np.uint64]
Vectors = npt.NDArray[np.float32]


def units(values: npt.NDArray[np.floating]) -> Vectors:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def planted(count: int, copies: int, seed: int = 0) -> tuple[Hashes, Vectors]:
    """Unrelated items, the last of them near-duplicates of the first, at all distances from equal to too far."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    vectors = rng.normal(size=(count, 64))
    noise = rng.uniform(0, 1.2, (copies, 1)) * rng.normal(size=(copies, 64))
    vectors[-copies:] = vectors[:copies] + noise
    flipped = [sum(1 << int(bit) for bit in rng.choice(64, int(rng.integers(0, 24)), False)) for _ in range(copies)]
    hashes[-copies:] = hashes[:copies] ^ np.array(flipped, dtype=np.uint64)
    return hashes, units(vectors)


def found_in_cells(hashes: Hashes, vectors: Vectors, seed: int = 1) -> ClosePairs:
    order = np.random.default_rng(seed).permutation(len(hashes))
    return close_pairs(hashes, vectors.astype(np.float16), order, PARAMS)


def pairs_by_all(hashes: Hashes, vectors: Vectors) -> set[tuple[int, int]]:
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= PARAMS.max_hamming
    return {(int(a), int(b)) for a, b in np.argwhere(near & (vectors @ vectors.T >= PARAMS.min_cosine)) if a < b}


@pytest.mark.parametrize("cell_items", [20, 100, 10_000])
def test_cells_find_what_comparing_all_with_all_finds(monkeypatch: pytest.MonkeyPatch, cell_items: int) -> None:
    monkeypatch.setattr(neighbour_cells, "CELL_ITEMS", cell_items)
    hashes, vectors = planted(2000, 400)
    expected = pairs_by_all(hashes, vectors)
    found = found_in_cells(hashes, vectors)
    pairs = {(int(a), int(b)) for a, b in found.pairs}

    assert 150 < len(expected) < 400
    assert len(pairs & expected) >= 0.98 * len(expected)
    assert len(pairs - expected) <= 1, "half precision may decide a tie at the threshold otherwise"
    assert len(pairs) == len(found.pairs), "no pair comes twice"
    exact = (vectors[found.pairs[:, 0]] * vectors[found.pairs[:, 1]]).sum(axis=1)
    assert np.abs(found.cosine - exact).max() < 1e-3
    assert np.array_equal(found.hamming, np.bitwise_count(hashes[found.pairs[:, 0]] ^ hashes[found.pairs[:, 1]]))


def test_a_crowd_of_equal_images_is_one_chain_of_few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour_cells, "CELL_ITEMS", 100)
    monkeypatch.setattr(neighbour_cells, "LARGEST_CELL", 128)
    monkeypatch.setattr(neighbour_cells, "_SCORES", 128 * 16)
    hashes, vectors = planted(3000, 1)
    crowd = np.sort(np.random.default_rng(2).permutation(2900)[:1500])
    hashes[crowd], vectors[crowd] = 0, vectors[crowd[0]]

    found = found_in_cells(hashes, vectors)

    roots = connected_components(3000, found.pairs)
    assert set(roots[crowd]) == {crowd[0]}
    assert len(found.pairs) <= (MOST_LINKS + 1) * len(hashes)


def test_items_that_do_not_vary_link_nothing() -> None:
    zeros = np.zeros((50, 8), dtype=np.float32)
    assert len(found_in_cells(np.zeros(50, dtype=np.uint64), zeros).pairs) == 0

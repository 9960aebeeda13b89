import io
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks import near_duplicates
from tasks.chains import NearDuplicates, spanning_pairs
from tasks.components import connected_components
from tasks.feature_rows import open_features
from tasks.near_duplicates import distinct_items, find_near_duplicates
from tasks.params import BackboneParams, NearDuplicateParams
from tasks.perceptual_hash import perceptual_hash
from tasks.preprocess import decode_rgb
from tasks.whitening import chance_cosine, whiten

PARAMS = NearDuplicateParams()
Hashes = npt.NDArray[np.uint64]
Features = npt.NDArray[np.float32]


def unrelated(count: int, seed: int = 0, width: int = 128) -> tuple[Hashes, Features]:
    """Items that neither measure links: random bits, and features with the large common part of pooled ReLUs."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    return hashes, (10 + rng.normal(size=(count, width))).astype(np.float32)


def flip(value: np.uint64, bits: int) -> np.uint64:
    return value ^ np.uint64((1 << bits) - 1)


def pairs_of(found: NearDuplicates) -> set[tuple[int, int]]:
    return {(int(first), int(second)) for first, second in found.pairs}


def chained_sizes(found: NearDuplicates, count: int) -> Counter[int]:
    return Counter(connected_components(count, found.pairs).tolist())


def test_a_pair_is_linked_only_if_hash_and_embedding_agree() -> None:
    hashes, features = unrelated(60)
    hashes[1], features[1] = flip(hashes[0], 3), features[0] + 0.05
    hashes[3] = hashes[2]
    features[5] = features[4]

    found = find_near_duplicates(hashes, features, ["a"] * 60, PARAMS)

    assert pairs_of(found) == {(0, 1)}
    assert found.hamming.tolist() == [3]
    assert found.cosine[0] > 0.9


def test_the_hamming_threshold_is_inclusive() -> None:
    hashes, features = unrelated(40)
    features[[1, 3]] = features[[0, 2]]
    hashes[1], hashes[3] = flip(hashes[0], 18), flip(hashes[2], 19)
    assert pairs_of(find_near_duplicates(hashes, features, ["a"] * 40, PARAMS)) == {(0, 1)}


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_features_that_do_not_vary_link_nothing(count: int) -> None:
    same = np.ones((count, 8), dtype=np.float32)
    found = find_near_duplicates(np.zeros(count, dtype=np.uint64), same, ["a"] * count, PARAMS)
    assert pairs_of(found) == set()


def test_blocks_find_the_same_pairs_as_one_comparison_of_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, features = unrelated(90)
    hashes[50:80], features[50:80] = hashes[:30] ^ np.uint64(5), features[:30]
    whole = find_near_duplicates(hashes, features, ["a"] * 90, PARAMS)
    for name, size in (("_ROWS", 7), ("_COLUMNS", 11), ("_PAIRS", 3)):
        monkeypatch.setattr(near_duplicates, name, size)

    in_blocks = find_near_duplicates(hashes, features, ["a"] * 90, PARAMS)

    assert pairs_of(whole) == {(item, item + 50) for item in range(30)} == pairs_of(in_blocks)


def test_the_order_of_the_items_does_not_matter() -> None:
    hashes, features = unrelated(80)
    hashes[40:60], features[40:60] = hashes[:20] ^ np.uint64(9), features[:20]
    order = np.random.default_rng(1).permutation(80)
    straight = pairs_of(find_near_duplicates(hashes, features, ["a"] * 80, PARAMS))
    mixed = pairs_of(find_near_duplicates(hashes[order], features[order], ["a"] * 80, PARAMS))
    assert {tuple(sorted((int(order[first]), int(order[second])))) for first, second in mixed} == straight


def a_walk(count: int, length: int, seed: int) -> tuple[Hashes, Features]:
    """Unrelated items, the first `length` of them a film in which each frame resembles the one before."""
    hashes, features = unrelated(count, seed)
    rng = np.random.default_rng(seed + 1)
    for frame in range(1, length):
        hashes[frame] = hashes[frame - 1] ^ np.uint64(1 << int(rng.integers(64)))
        features[frame] = features[frame - 1] + rng.normal(scale=rng.uniform(0, 0.25), size=features.shape[1])
    return hashes, features


def test_a_chain_over_five_per_cent_of_its_class_is_cut_by_tightening_it_alone() -> None:
    hashes, features = a_walk(200, 30, seed=3)
    hashes[150], features[150] = flip(hashes[151], 10), features[151] + 0.05

    found = find_near_duplicates(hashes, features, ["a"] * 200, PARAMS)
    (chain,) = found.tightened

    assert (chain.first, chain.items, chain.cap) == (0, 30, 10)
    assert max(chained_sizes(found, 200).values()) <= 10
    assert (150, 151) in pairs_of(found), "another group keeps the params' thresholds"
    film = found.pairs[:, 0] < 30
    assert film.any()
    assert found.hamming[film].max() <= chain.max_hamming < PARAMS.max_hamming
    assert found.cosine[film].min() >= chain.min_cosine > PARAMS.min_cosine


def test_two_images_may_always_be_one_however_small_the_class() -> None:
    hashes, features = unrelated(60)
    hashes[1], features[1] = hashes[0], features[0]
    hashes[11:13], features[11:13] = hashes[10], features[10] + np.array([[0.02], [0.1]], dtype=np.float32)
    labels = ["a"] * 10 + ["b"] * 50

    found = find_near_duplicates(hashes, features, labels, PARAMS.model_copy(update={"max_group_share": 0.0}))

    assert pairs_of(found) == {(0, 1), (10, 11)}


def test_a_chain_over_several_classes_is_held_to_the_smallest() -> None:
    hashes, features = unrelated(200)
    hashes[:4], features[:4] = hashes[0], features[0] + np.arange(4, dtype=np.float32)[:, None] * 0.01
    one_class = find_near_duplicates(hashes, features, ["a"] * 200, PARAMS)
    two_classes = find_near_duplicates(hashes, features, ["a"] * 3 + ["b"] * 50 + ["a"] * 147, PARAMS)

    assert one_class.tightened == []
    assert chained_sizes(one_class, 200)[0] == 4
    assert [(chain.items, chain.cap) for chain in two_classes.tightened] == [(4, 2)]
    assert chained_sizes(two_classes, 200)[0] == 3, "what is left is of class a alone, where 7 may stand together"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.lists(st.sampled_from("abc"), min_size=60, max_size=60))
def test_no_chained_group_is_ever_over_its_cap(seed: int, length: int, labels: list[str]) -> None:
    hashes, features = a_walk(60, length, seed)
    found = find_near_duplicates(hashes, features, labels, PARAMS)
    sizes = Counter(labels)
    roots = connected_components(60, found.pairs)
    for root, size in Counter(roots.tolist()).items():
        smallest = min(sizes[labels[item]] for item in np.flatnonzero(roots == root))
        assert size <= max(2, int(0.05 * smallest))


def test_a_clique_is_reported_with_one_pair_less_than_its_items() -> None:
    hashes, features = unrelated(200)
    hashes[:6], features[:6] = hashes[0], features[0] + np.arange(6, dtype=np.float32)[:, None] * 0.01
    found = find_near_duplicates(hashes, features, ["a"] * 200, PARAMS)
    assert len(found.pairs) == 15
    assert len(spanning_pairs(found)) == 5


def chance_level(features: npt.NDArray[np.floating]) -> float:
    return chance_cosine(whiten(features, np.arange(len(features))))


def test_more_is_asked_of_data_whose_neighbours_are_close_by_chance() -> None:
    rng = np.random.default_rng(0)
    poor = np.tanh(rng.normal(size=(500, 4)) @ rng.normal(size=(4, 64)))
    hashes, rich = unrelated(500)
    assert chance_level(rich) < PARAMS.min_cosine < chance_level(poor) <= 0.9
    assert find_near_duplicates(hashes, rich, ["a"] * 500, PARAMS).min_cosine == PARAMS.min_cosine
    assert find_near_duplicates(hashes, poor, ["a"] * 500, PARAMS).min_cosine == chance_level(poor)


def test_versions_of_an_image_are_not_typical_of_a_data_set() -> None:
    hashes, _ = unrelated(120)
    versions = np.concatenate([hashes, [flip(hashes[7], 4), flip(hashes[8], 5)]])
    assert distinct_items(versions).tolist() == [*range(120), 121]
    assert distinct_items(np.zeros(300, dtype=np.uint64)).tolist() == list(range(300))


def test_data_in_which_every_image_comes_eight_times_are_still_linked() -> None:
    hashes, features = unrelated(120)
    noise = np.random.default_rng(5).normal(scale=0.2, size=(960, features.shape[1]))
    eightfold = (np.tile(features, (8, 1)) + noise).astype(np.float32)
    versions = np.tile(hashes, 8) ^ np.repeat(np.arange(8, dtype=np.uint64), 120)
    found = find_near_duplicates(versions, eightfold, ["a"] * 960, PARAMS)
    assert len(found.pairs) == 120 * 28


def many_with_copies(count: int, copies: int) -> tuple[Hashes, Features]:
    hashes, features = unrelated(count)
    features[-copies:] = features[:copies] + np.random.default_rng(5).normal(scale=0.2, size=(copies, 128))
    hashes[-copies:] = hashes[:copies] ^ np.uint64(0b1011)
    return hashes, features


def test_more_items_than_are_compared_with_each_other_find_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, features = many_with_copies(1500, 100)
    whole = find_near_duplicates(hashes, features, ["a"] * 1500, PARAMS)
    monkeypatch.setattr(near_duplicates, "EXHAUSTIVE_ITEMS", 500)

    sampled = find_near_duplicates(hashes, features, ["a"] * 1500, PARAMS, np.random.default_rng(3).permutation(1500))

    assert pairs_of(whole) == {(item, 1400 + item) for item in range(100)} == pairs_of(sampled)
    assert whole.min_cosine == sampled.min_cosine == PARAMS.min_cosine
    assert np.abs(whole.cosine - sampled.cosine).max() < 0.1, "another sample, another whitening, the same copies"


def test_the_chance_level_of_a_sample_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    vectors = whiten(np.tanh(rng.normal(size=(4000, 12)) @ rng.normal(size=(12, 64))), np.arange(4000))
    whole, sample = chance_cosine(vectors), chance_cosine(vectors[::8], 4000)
    assert chance_cosine(vectors[::8]) < min(whole, sample) - 0.05
    assert abs(whole - sample) < 0.05


def test_memory_does_not_grow_with_the_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hashes, features = many_with_copies(4000, 50)
    np.save(tmp_path / "features.npy", np.tile(features, (1, 10)).astype(np.float16))
    monkeypatch.setattr(near_duplicates, "EXHAUSTIVE_ITEMS", 400)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 256)
    tracemalloc.start()
    with open_features(tmp_path / "features.npy") as rows:
        found = find_near_duplicates(hashes, rows, np.zeros(4000), PARAMS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs_of(found)) >= 49
    assert peak < 4000 * 1280 * 8, "not even one copy in double precision"


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode_rgb(file.getvalue())


def planted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A re-encode, a resize or a 5% crop."""
    width, height = image.size
    kind = int(rng.integers(3))
    if kind == 0:
        return as_jpeg(image, int(rng.integers(40, 91)))
    if kind == 1:
        scale = rng.uniform(0.5, 0.9)
        return as_jpeg(image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC), 85)
    left, top = int(rng.integers(0, width // 20 + 1)), int(rng.integers(0, height // 20 + 1))
    return as_jpeg(image.crop((left, top, left + round(width * 0.95), top + round(height * 0.95))), 85)


class Measures:
    """Both measures of whole packs, with a real backbone through ONNX Runtime."""

    def __init__(self, name: str, weights: Path, cache: Path) -> None:
        from tasks.backbones.graph import cached_backbone
        from tasks.onnx_session import open_session

        params = BackboneParams.model_validate({"name": name, "weights": str(weights)})
        report, graph = cached_backbone(params, cache, cache)
        self.preprocess, self.session = report.preprocess, open_session(graph)

    def of(self, images: list[Image.Image]) -> tuple[Hashes, Features]:
        hashes = np.array([perceptual_hash(image) for image in images], dtype=np.uint64)
        rows = []
        for start in range(0, len(images), 16):
            batch = np.stack([self.preprocess.fit(image) for image in images[start : start + 16]])
            rows.append(self.session.run(["embedding"], {"image": batch})[0])
        return hashes, np.concatenate(rows)


@pytest.fixture(scope="module", params=["mobilenet_v2-fc41a747", "squeezenet1_0-b81cf1c7"])
def measures(request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Measures:
    weights = real_data / "weights" / f"{request.param}.pth"
    if not weights.exists():
        pytest.skip(f"{weights.name} is not among the real packs")
    return Measures(request.param.split("-")[0], weights, tmp_path_factory.mktemp("cache"))


def pack(real_data: Path, pattern: str) -> list[Path]:
    return sorted(path for path in (real_data / "data").glob(pattern) if path.suffix in (".jpg", ".png"))


@pytest.mark.slow
def test_dogs_cats_has_its_one_pair_and_planted_copies_are_found(measures: Measures, real_data: Path) -> None:
    files = pack(real_data, "dogs_cats/*/*")
    images = [decode_rgb(path.read_bytes()) for path in files]
    hashes, features = measures.of(images)
    labels = [path.parent.name for path in files]
    one_pair = {tuple(files.index(real_data / "data/dogs_cats/dog" / name) for name in ("dog.180.jpg", "dog.74.jpg"))}
    assert pairs_of(find_near_duplicates(hashes, features, labels, PARAMS)) == one_pair

    rng = np.random.default_rng(7)
    originals = rng.permutation(len(files))[:200]
    copies = measures.of([planted(images[original], rng) for original in originals])
    found = find_near_duplicates(
        np.concatenate([hashes, copies[0]]),
        np.concatenate([features, copies[1]]),
        labels + [labels[original] for original in originals],
        PARAMS,
    )
    family = [*range(len(files)), *originals.tolist()]
    linked = pairs_of(found)

    assert sum((original, len(files) + copy) in linked for copy, original in enumerate(originals.tolist())) >= 190
    assert {(family[a], family[b]) for a, b in linked if family[a] != family[b]} <= one_pair | {
        (second, first) for first, second in one_pair
    }


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["sign_digits/*/*", "pacs_shift/sketch/*/*"])
def test_packs_of_lookalikes_put_at_most_one_per_cent_of_items_in_groups(
    measures: Measures, real_data: Path, pattern: str
) -> None:
    files = pack(real_data, pattern)
    hashes, features = measures.of([decode_rgb(path.read_bytes()) for path in files])
    found = find_near_duplicates(hashes, features, [path.parent.name for path in files], PARAMS)
    assert len(files) > 500
    assert len(np.unique(found.pairs)) <= 0.01 * len(files)

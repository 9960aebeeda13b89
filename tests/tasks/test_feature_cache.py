"""Feature rows by content: found again, never mixed, thrown away where damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tasks.backbones.feature_cache import FeatureCache, cache_folder, forget_rows, rows_key, shard_rows
from tasks.digests import bytes_sha256
from tasks.preprocess import Preprocess

WIDTH = 4
PREPROCESS = Preprocess(resize=8, crop=8, mean=(0, 0, 0), std=(1, 1, 1))


def names(*texts: str) -> list[str]:
    return [bytes_sha256(text.encode()) for text in texts]


def rows_of(*values: float) -> np.ndarray:
    return np.repeat(np.array(values, dtype=np.float32)[:, None], WIDTH, axis=1)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features", WIDTH)


def found(cache: FeatureCache, items: list[str]) -> tuple[list[float], list[bool]]:
    rows = np.zeros((len(items), WIDTH), dtype=np.float32)
    known = cache.read_into(rows, items)
    return rows[:, 0].tolist(), known.tolist()


def test_an_empty_cache_knows_nothing(cache: FeatureCache) -> None:
    assert found(cache, names("a")) == ([0.0], [False])


def test_rows_are_found_by_content_across_shards_in_any_order_and_more_than_once(cache: FeatureCache) -> None:
    cache.append(names("a", "b"), rows_of(1, 2))
    cache.append(names("c"), rows_of(3))
    assert found(cache, names("c", "x", "a", "c")) == ([3.0, 0.0, 1.0, 3.0], [True, False, True, True])


def test_rows_come_back_bit_for_bit(cache: FeatureCache) -> None:
    rows = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    cache.append(names("a", "b", "c"), rows)
    again = np.zeros_like(rows)
    cache.read_into(again, names("a", "b", "c"))
    assert again.tobytes() == rows.tobytes()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_damaged_shard_is_thrown_away_with_a_word_and_the_others_stay(
    cache: FeatureCache, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.append(names("a"), rows_of(1))
    (shard,) = cache.folder.iterdir()
    cache.append(names("b"), rows_of(2))
    data = shard.read_bytes()
    broken = {"flipped": data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "truncated": data[:-9], "emptied": b""}
    shard.write_bytes(broken[damage])
    assert found(cache, names("a", "b")) == ([0.0, 2.0], [False, True])
    assert not shard.exists()
    assert "is damaged; its rows are computed anew" in capsys.readouterr().err
    cache.append(names("a"), rows_of(1))
    assert found(cache, names("a", "b")) == ([1.0, 2.0], [True, True])


def test_a_shard_that_another_run_throws_away_meanwhile_is_no_error(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.append(names("a"), rows_of(1))
    (shard,) = cache.folder.iterdir()
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [shard, shard.with_name("rows-gone.npz")])
    assert found(cache, names("a")) == ([1.0], [True])


def test_a_draft_that_a_killed_run_left_is_not_read(cache: FeatureCache) -> None:
    cache.append(names("a"), rows_of(1))
    (shard,) = cache.folder.iterdir()
    (cache.folder / f".{shard.name}.1-1.tmp").write_bytes(shard.read_bytes()[:50])
    assert found(cache, names("a")) == ([1.0], [True])


def test_threads_may_keep_the_same_rows_at_once(cache: FeatureCache) -> None:
    threads = [threading.Thread(target=cache.append, args=(names("a"), rows_of(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(cache.folder.iterdir())) == 1
    assert found(cache, names("a")) == ([1.0], [True])


def test_the_key_names_graph_preprocessing_and_engine() -> None:
    key = rows_key("graph", PREPROCESS, "engine")
    others = [
        rows_key("graph2", PREPROCESS, "engine"),
        rows_key("graph", PREPROCESS.model_copy(update={"crop": 7}), "engine"),
        rows_key("graph", PREPROCESS.model_copy(update={"interpolation": "bicubic"}), "engine"),
        rows_key("graph", PREPROCESS, "engine2"),
    ]
    assert rows_key("graph", PREPROCESS, "engine") == key
    assert len({key, *others}) == 5
    assert cache_folder(Path("cache"), key) == Path("cache/features") / key


def test_an_interrupted_run_loses_about_a_megabyte_of_features() -> None:
    assert shard_rows(1024) * 1024 * 4 == 1 << 20
    assert shard_rows(10**9) == 64


def test_forgotten_rows_leave_every_shard_of_every_key_and_the_others_stay_bit_for_bit(tmp_path: Path) -> None:
    caches = [FeatureCache(cache_folder(tmp_path, key), WIDTH) for key in ("one", "two")]
    for cache in caches:
        cache.append(names("a", "b"), rows_of(1, 2))
        cache.append(names("b"), rows_of(3))
        cache.append(names("c"), rows_of(4))
    untouched = {path.name for path in caches[0].folder.iterdir()}
    assert forget_rows(tmp_path, names("b")) == 4
    for cache in caches:
        assert found(cache, names("a", "b", "c")) == ([1.0, 0.0, 4.0], [True, False, True])
        kept = {path.name for path in cache.folder.iterdir()}
        assert len(kept) == 2
        assert len(kept & untouched) == 1, "a shard without the row is not written again"
        assert not any(bytes.fromhex(names("b")[0]) in path.read_bytes() for path in cache.folder.iterdir())
    assert forget_rows(tmp_path, names("b")) == 0


def test_interrupted_between_the_new_shard_and_the_old_one_the_next_call_finds_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(cache_folder(tmp_path, "one"), WIDTH)
    cache.append(names("a", "b"), rows_of(1, 2))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        forget_rows(tmp_path, names("b"))
    monkeypatch.undo()
    assert found(cache, names("a", "b")) == ([1.0, 2.0], [True, True])
    assert forget_rows(tmp_path, names("b")) == 1
    assert found(cache, names("a", "b")) == ([1.0, 0.0], [True, False])


def test_without_a_cache_there_is_nothing_to_forget(tmp_path: Path) -> None:
    assert forget_rows(tmp_path / "none", names("a")) == 0

"""What lies in caches and stores is damaged behind Graft's back: it is named, never served, and the bytes come back."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from desk import Desk

pytestmark = pytest.mark.slow


def alter(file: Path) -> None:
    """One bit in the middle; a file that is read-only stays so."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(mode)


def cache_object(desk: Desk, out: str) -> Path:
    md5 = hashlib.md5((desk.root / out).read_bytes()).hexdigest()
    return desk.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


@pytest.mark.parametrize("damage", ["altered", "missing"])
@pytest.mark.parametrize(
    ("folder", "file"), [("models/adapted", "head.safetensors"), ("data/embeddings", "features.npy")]
)
def test_an_object_of_dvcs_cache_is_made_anew(
    released: Desk, released_template: Desk, damage: str, folder: str, file: str
) -> None:
    kept = cache_object(released, f"{folder}/{file}")
    if damage == "altered":
        alter(kept)
    else:
        kept.unlink()
    shutil.rmtree(released.root / folder)

    code, result, stderr = released.adapt()

    assert (code, result["state"]) == (0, "released"), stderr
    assert (f"DVC's copy of {folder}/{file} was altered on disk" in stderr) == (damage == "altered")
    assert released.results() == released_template.results()
    assert [path.name for path in released.releases()] == [path.name for path in released_template.releases()]


def test_a_damaged_shard_and_a_damaged_graph_are_computed_anew(released: Desk, released_template: Desk) -> None:
    (shard,) = (released.home / "cache" / "features").glob("*/rows-*.npz")
    (graph,) = (released.home / "cache" / "backbones").rglob("*.onnx")
    alter(shard)
    alter(graph)
    for folder in ("data/embeddings", "models/backbone", ".dvc/cache"):
        shutil.rmtree(released.root / folder)

    code, result, stderr = released.adapt()

    assert (code, result["state"]) == (0, "released"), stderr
    assert "is damaged" in stderr
    assert released.results() == released_template.results()


def test_a_damaged_release_in_the_store_is_named_and_copied_anew_once_it_is_moved_away(
    released: Desk, released_template: Desk
) -> None:
    (stored,) = released.releases()
    alter(stored / "model.onnx")

    code, result, stderr = released.adapt("--force-flow")

    assert (code, result["state"]) == (1, "failed"), stderr
    assert any("model.onnx was altered" in reason and f"move {stored} away" in reason for reason in result["reasons"])
    shutil.move(stored, released.home / "away")
    code, result, stderr = released.adapt()
    assert (code, result["state"]) == (0, "released"), stderr
    assert [path.name for path in released.releases()] == [stored.name]
    assert (stored / "model.onnx").read_bytes() == (released_template.releases()[0] / "model.onnx").read_bytes()

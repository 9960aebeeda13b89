"""`graft data forget` after trainings: images, activations, weights and searches that knew an item."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from small_workspace import RUN, copy_workspace
from traces import traces

from flows.forget import forget_here
from flows.gc import collect_garbage
from flows.inputs import write_inputs
from tasks.digests import file_sha256
from tasks.errors import WorkspaceError
from tasks.params import load_params
from tasks.params.training import FineTuneParams
from tasks.preprocess import Preprocess
from tasks.reports.document import write_bytes
from tasks.tables import SPLITS, read_table
from tasks.training.image_store import ImageStore
from tasks.workspace import Workspace

ITEM = "ember/004.png"
TRAINING = FineTuneParams(epochs=1, folds=2, blocks=1, batch_size=8, views=2, precision="fp32")


@pytest.fixture
def workspace(finished_template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("GRAFT_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return copy_workspace(finished_template, tmp_path.resolve() / "workspace")


def forget(workspace: Workspace, item: str = ITEM, dry_run: bool = False) -> str:
    said: list[str] = []

    def agree(summary: str) -> bool:
        said.append(summary)
        return True

    forget_here(workspace, [item], "asked by the owner", "Ada", agree, said.append, dry_run)
    return "\n".join(said)


def kept_images(folder: Path, *contents: str) -> bytes:
    """Add random images to a store, in a file of their own; returns the pixels of the first."""
    preprocess = Preprocess(resize=32, crop=32, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bilinear")
    store, first = ImageStore.under(folder, preprocess), b""
    for content in contents:
        image = np.random.default_rng(int(content[:8], 16)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        store.put(content, image)
        first = first or image.tobytes()
    store.flush()
    return first


def activations(folder: Path, *contents: str) -> Path:
    write_bytes(folder / "items.json", json.dumps(contents).encode())
    write_bytes(folder / "000000-x.f32", b"values")
    return folder


def test_images_and_activations_of_the_item_go_and_those_of_others_stay(workspace: Workspace) -> None:
    content, other = file_sha256(workspace.raw / ITEM), file_sha256(workspace.raw / "ocean" / "005.png")
    pixels = kept_images(workspace.cache / "images", content, "1" * 64)
    kept_images(workspace.cache / "images", other)
    mine = activations(workspace.cache / "activations" / "mine", content, other)
    others = activations(workspace.cache / "activations" / "others", other)
    forget(workspace)
    assert traces(workspace.root, [pixels, content.encode()]) == []
    assert len(list((workspace.cache / "images").glob("*/*.bin"))) == 1
    assert (mine.exists(), others.exists()) == (False, True)


def test_every_training_and_search_goes_and_the_summary_says_so(workspace: Workspace) -> None:
    assert "every training" not in forget(workspace, dry_run=True)
    write_bytes(workspace.checkpoints / "key" / "outcome.pt", b"weights")
    write_bytes(workspace.private / "tune" / "digest.db", b"trials")
    write_bytes(workspace.private / "tune" / "digest" / "settings" / "key" / "state.pt", b"weights")
    for name in ("tune.json", "tune.html"):
        write_bytes(workspace.reports / name, b"trials")
    assert "the state of every training and search" in forget(workspace, dry_run=True)
    assert traces(workspace.root, [b"weights"]) != []
    forget(workspace)
    assert not workspace.checkpoints.exists()
    assert not (workspace.private / "tune").exists()
    assert list(workspace.reports.glob("tune.*")) == []


def test_what_a_killed_writer_left_in_the_cache_goes_too(workspace: Workspace) -> None:
    draft = workspace.cache / "images" / "key" / ".images-x.bin.999999-1.tmp"
    mine = draft.with_name(f".images-y.bin.{os.getpid()}-1.tmp")
    for file in (draft, mine):
        write_bytes(file, b"pixels")
    forget(workspace)
    assert (draft.exists(), mine.exists()) == (False, True), "a living process may still finish its own"


def test_a_folder_that_cannot_be_deleted_is_named_and_the_next_call_completes_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(workspace.checkpoints / "key" / "outcome.pt", b"weights")

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("flows.forget_trainings.shutil.rmtree", refused)
        with pytest.raises(WorkspaceError, match=r"checkpoints, which holds what trainings learned.*Permission denied"):
            forget(workspace)
    assert workspace.forgetting.is_file()
    assert "completing the forgetting of 1 item" in forget(workspace)
    assert not workspace.checkpoints.exists()


@pytest.mark.slow
def test_after_a_real_training_nothing_of_a_learned_item_is_left(workspace: Workspace) -> None:
    rows = read_table(workspace.splits, SPLITS)
    item = next(
        path for path, side in zip(rows["path"].to_pylist(), rows["side"].to_pylist(), strict=True) if side == "train"
    )
    params = load_params(workspace.params)
    params = params.model_copy(update={"adapt": params.adapt.model_copy(update={"method": TRAINING})})
    for stage in ("adapt", "evaluate", "gate"):
        RUN[stage](workspace, params)
    content = file_sha256(workspace.raw / item)
    sought = [item.encode(), content.encode(), bytes.fromhex(content), *_learned(workspace, content)]
    for place in ("cache/images", "cache/activations"):
        assert traces(workspace.private / place, sought), "the search must find what is there"
    trainings = {path.name for path in workspace.checkpoints.iterdir()}
    assert trainings
    collection = collect_garbage(workspace, dry_run=True)
    assert {"decoded images", "kept activations", "checkpoint"} <= {piece.kind for piece in collection.kept}
    assert collection.removed == [], "the next training would find all of it again"

    forget(workspace, item)
    assert traces(workspace.root, sought) == []
    assert not workspace.checkpoints.exists()

    write_inputs(workspace, params)
    for stage in ("validate", "embed", "split", "review", "adapt"):
        RUN[stage](workspace, params)
    assert traces(workspace.root, sought) == []
    assert not trainings & {path.name for path in workspace.checkpoints.iterdir()}


def _learned(workspace: Workspace, content: str) -> list[bytes]:
    """Pixels and unvaried activations of an item, as training keeps them."""
    (images,) = (workspace.cache / "images").iterdir()
    pixels = ImageStore(images).get(content)
    assert pixels is not None
    (folder,) = (workspace.cache / "activations").iterdir()
    items = json.loads((folder / "items.json").read_bytes())
    values = b"".join(file.read_bytes() for file in sorted(folder.glob("*.f32")))
    each = len(values) // len(items)
    variants = 1 + TRAINING.views
    start = items.index(content) * each
    return [pixels.tobytes(), values[start : start + each // variants]]

"""Stage embed: what is computed and what is not, what is refused, and that features depend on content alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_workspace import add_pictures, picture, run_stages

from tasks import embed as stage
from tasks.backbones import engine as engine_module
from tasks.backbones.session import run_over_files
from tasks.digests import file_sha256, folder_sha256
from tasks.embed import embed, features_of
from tasks.errors import DataError, StageInputError
from tasks.onnx_session import open_session
from tasks.params import EmbedParams, LimitsParams, Params, load_params
from tasks.reports.backbone import BackboneReport
from tasks.reports.engine import Engine
from tasks.reports.pins import WeightsPin
from tasks.tables import EMBEDDING_INDEX, read_table
from tasks.workspace import Workspace


class CountingSession:
    """An ONNX Runtime session that counts the images that go through it, and may break down after some."""

    def __init__(self, graph: Path, counts: list[int], breaks_after: float) -> None:
        self.session, self.counts, self.breaks_after = open_session(graph), counts, breaks_after

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        if sum(self.counts) >= self.breaks_after:
            raise KeyboardInterrupt
        self.counts.append(len(inputs["image"]))
        return list(self.session.run(outputs, inputs))


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Starts counting: the batch sizes of every forward pass from now on."""

    def start(breaks_after: float = float("inf")) -> list[int]:
        counts: list[int] = []
        monkeypatch.setattr(stage, "open_session", lambda graph: CountingSession(graph, counts, breaks_after))
        return counts

    return start


def features(workspace: Workspace) -> dict[str, bytes]:
    """The feature row of every item, as bytes, by the content's sha256."""
    rows, index = np.load(workspace.features), read_table(workspace.embedding_index, EMBEDDING_INDEX)
    return {name: row.tobytes() for name, row in zip(index["sha256"].to_pylist(), rows, strict=True)}


def params_of(workspace: Workspace, batch_size: int, threads: int) -> Params:
    params = load_params(workspace.params)
    limits = LimitsParams(threads=threads)
    return params.model_copy(update={"embed": EmbedParams(batch_size=batch_size), "limits": limits})


def shards(workspace: Workspace) -> list[Path]:
    return sorted((workspace.cache / "features").rglob("rows-*.npz"))


def test_every_item_has_a_row_of_its_own_in_the_order_of_the_index(finished: Workspace) -> None:
    rows, index = np.load(finished.features), read_table(finished.embedding_index, EMBEDDING_INDEX)
    assert rows.shape == (40, 512)
    assert rows.dtype == np.float32
    assert index["path"].to_pylist() == sorted(index["path"].to_pylist())
    assert len(features(finished)) == 40
    report = BackboneReport.read(finished.backbone / "backbone.json")
    session = open_session(finished.backbone / "model.onnx")
    place = 17
    file = finished.root / "data" / "raw" / index["path"][place].as_py()
    image = report.preprocess.prepare(file.read_bytes())
    np.testing.assert_array_equal(session.run(["embedding"], {"image": image[None]})[0][0], rows[place])


def test_nothing_new_costs_nothing_and_gives_the_same_bytes(
    finished: Workspace, count: Callable[..., list[int]]
) -> None:
    before, counts = folder_sha256(finished.embeddings), count()
    run_stages(finished, "embed")
    assert counts == []
    assert folder_sha256(finished.embeddings) == before


def test_ten_new_pictures_cost_exactly_ten_forward_passes(finished: Workspace, count: Callable[..., list[int]]) -> None:
    before, counts = features(finished), count()
    add_pictures(finished.root / "data" / "raw", 10, first_seed=100)
    run_stages(finished, "validate", "embed")
    assert sum(counts) == 10
    after = features(finished)
    assert len(after) == 50
    assert {name: after[name] for name in before} == before


def test_renamed_and_copied_files_cost_nothing(finished: Workspace, count: Callable[..., list[int]]) -> None:
    counts, folder = count(), finished.root / "data" / "raw" / "ember"
    first, second = sorted(folder.iterdir())[:2]
    first.rename(folder / "renamed.png")
    (folder / "copy.png").write_bytes(second.read_bytes())
    run_stages(finished, "validate", "embed")
    assert counts == []
    assert read_table(finished.embedding_index, EMBEDDING_INDEX).num_rows == 41


def test_equal_content_in_several_files_is_computed_once(finished: Workspace, count: Callable[..., list[int]]) -> None:
    counts, folder = count(), finished.root / "data" / "raw" / "ocean"
    for name in ("x.png", "y.png", "z.png"):
        picture("ocean", 500).save(folder / name)
    run_stages(finished, "validate", "embed")
    assert counts == [1]


def test_an_upgrade_of_the_engine_computes_everything_anew_and_mixes_nothing(
    finished: Workspace, count: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {path: file_sha256(path) for path in shards(finished)}
    upgraded = engine_module.installed_engine().model_copy(update={"onnxruntime": "99.0"})
    for module in ("tasks.embed", "tasks.backbones.graph"):
        monkeypatch.setattr(f"{module}.installed_engine", lambda: upgraded)
    with pytest.raises(StageInputError, match=r"another environment \(differs in onnxruntime\); run `graft adapt`"):
        run_stages(finished, "embed")
    upgraded.write(finished.engine)
    counts = count()
    run_stages(finished, "embed")
    assert sum(counts) == 40
    assert {path: file_sha256(path) for path in old} == old
    new = [path for path in shards(finished) if path not in old]
    assert new
    assert {path.parent for path in new}.isdisjoint({path.parent for path in old})


def test_a_damaged_shard_is_computed_anew_to_the_same_rows(
    finished: Workspace, count: Callable[..., list[int]]
) -> None:
    before, counts = folder_sha256(finished.embeddings), count()
    (shard,) = shards(finished)
    shard.write_bytes(shard.read_bytes()[:-1])
    run_stages(finished, "embed")
    assert sum(counts) == 40
    assert folder_sha256(finished.embeddings) == before


def test_an_interrupted_run_keeps_its_finished_shards(
    finished: Workspace, count: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = features(finished)
    for shard in shards(finished):
        shard.unlink()
    monkeypatch.setattr(stage, "shard_rows", lambda width: 8)
    count(breaks_after=24)
    with pytest.raises(KeyboardInterrupt):
        embed(finished, params_of(finished, batch_size=8, threads=1))
    kept = len(shards(finished))
    assert kept >= 1
    counts = count()
    run_stages(finished, "embed")
    assert sum(counts) == 40 - 8 * kept
    assert features(finished) == before


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (7, 2), (64, 1), (64, 2)])
def test_features_depend_neither_on_the_batch_size_nor_on_threads(
    finished: Workspace, batch_size: int, threads: int
) -> None:
    before = folder_sha256(finished.embeddings)
    for shard in shards(finished):
        shard.unlink()
    embed(finished, params_of(finished, batch_size=batch_size, threads=threads))
    assert folder_sha256(finished.embeddings) == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda file: picture("ember", 999).save(file), r"changed after the data were validated; run `graft adapt`"),
        (lambda file: file.write_bytes(file.read_bytes()[:-50]), "changed after the data were validated"),
        (lambda file: file.unlink(), r"cannot be read \(No such file or directory\)"),
    ],
)
def test_a_file_that_changed_since_it_was_validated_is_named_and_files_no_row(
    finished: Workspace, change: Callable[[Path], None], complaint: str
) -> None:
    for shard in shards(finished):
        shard.unlink()
    file = finished.root / "data" / "raw" / "ember" / "000.png"
    change(file)
    with pytest.raises(DataError, match=rf"^{file} {complaint}"):
        run_stages(finished, "embed")
    assert shards(finished) == []


def test_what_validate_accepts_under_wider_params_can_be_embedded(tmp_path: Path, finished: Workspace) -> None:
    report = BackboneReport.read(finished.backbone / "backbone.json")
    file = tmp_path / "wide.ppm"
    picture("ember", 1).save(file)
    rows = features_of([file], [file_sha256(file)], report, finished.backbone / "model.onnx", tmp_path, EmbedParams())
    assert rows.shape == (1, 512)


def test_another_environment_than_the_one_dvc_was_told_of_is_refused(finished: Workspace) -> None:
    Engine.read(finished.engine).model_copy(update={"pillow": "1.0", "codecs": {}}).write(finished.engine)
    with pytest.raises(StageInputError, match=r"differs in pillow, codecs\); run `graft adapt`, which writes it anew"):
        run_stages(finished, "embed")


def test_other_weights_than_the_ones_dvc_was_told_of_are_refused(finished: Workspace) -> None:
    WeightsPin(name="other.pth", identity="0" * 64).write(finished.weights_pin)
    with pytest.raises(
        StageInputError, match=r"data/weights\.json names other\.pth \(0{12}\), params\.yaml leads to none"
    ):
        run_stages(finished, "embed")


@pytest.mark.parametrize("name", ["engine.json", "weights.json", "items.parquet"])
def test_a_missing_input_is_named(finished: Workspace, name: str) -> None:
    (finished.root / "data" / name).unlink()
    with pytest.raises(StageInputError, match=rf"{name} cannot be read"):
        run_stages(finished, "embed")


def test_batches_come_in_the_order_of_the_files_and_are_counted(finished: Workspace) -> None:
    report = BackboneReport.read(finished.backbone / "backbone.json")
    files = sorted((finished.root / "data" / "raw").rglob("*.png"))[:11]
    counted: list[int] = []
    batches = run_over_files(
        open_session(finished.backbone / "model.onnx"),
        ["embedding"],
        files,
        [file_sha256(file) for file in files],
        report.preprocess,
        batch_size=2,
        threads=2,
        on_batch=counted.append,
    )
    assert [(part.start, part.stop) for part, _ in batches] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 11)]
    assert counted == [2, 2, 2, 2, 2, 1]

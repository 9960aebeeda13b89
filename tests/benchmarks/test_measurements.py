"""What the measurements are made of, on tiny inputs; nothing here asserts a time."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import bare_embed, corridor, fixed_seconds, flow_overhead, plain_probe, validate_rate
from benchmarks.fresh_workspace import CHECKOUT, Adapted, FreshWorkspace, Setting, fresh_workspace
from tasks.reports.backbone import BackboneReport
from tasks.tables import EMBEDDING_INDEX, read_table
from tasks.workspace import STAGES, Workspace


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def small_pack(folder: Path, photos: int) -> Path:
    for number in range(photos):
        target = folder / ("cat" if number % 2 else "dog")
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{number}.jpg").write_bytes(jpeg(number))
    return folder


def adapted(seconds: float, embed: float) -> Adapted:
    stages = dict.fromkeys(STAGES, seconds) | {"embed": embed}
    return Adapted(stages, wall=2 * seconds, accuracy=0.98, test_items=350, unchanged=False)


def test_the_bare_loop_gives_the_features_of_stage_embed(finished: Workspace) -> None:
    report = BackboneReport.read(finished.backbone / "backbone.json")
    index = read_table(finished.embedding_index, EMBEDDING_INDEX)
    files = [str(finished.raw / path) for path in index["path"].to_pylist()]
    graph, sides = finished.backbone / "model.onnx", (report.preprocess.resize, report.preprocess.crop)
    expected = np.load(finished.features)
    assert np.array_equal(bare_embed.features_of(files, graph, 2, 3, *sides), expected)
    assert np.array_equal(bare_embed.features_of(files, graph, 2, 16, *sides, one_session=True), expected)


def test_the_plain_script_embeds_every_photo_and_is_judged_on_the_test_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from torchvision.models import mobilenet_v2

    pack = small_pack(tmp_path / "pack", 8)
    torch.save(mobilenet_v2().state_dict(), tmp_path / "weights.pth")
    with (tmp_path / "sides.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "side"])
        for number, photo in enumerate(sorted(pack.glob("*/*.jpg"))):
            writer.writerow([photo.relative_to(pack), photo.parent.name, "test" if number % 4 == 0 else "train"])
    command = ["plain_probe", pack, tmp_path / "sides.csv", tmp_path / "weights.pth", "--batch", "3"]
    monkeypatch.setattr("sys.argv", [str(part) for part in command])
    plain_probe.main()
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["test_items"]) == (8, 2)
    assert told["accuracy"] in (0.0, 0.5, 1.0)


def test_a_commented_jpeg_is_another_file_of_the_same_picture() -> None:
    data = jpeg(0)
    one, two = validate_rate.commented(data, "copy 1"), validate_rate.commented(data, "copy 2")
    assert len({data, one, two}) == 3
    pictures = [np.asarray(Image.open(io.BytesIO(file))) for file in (data, one, two)]
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])
    with pytest.raises(ValueError, match="not a JPEG"):
        validate_rate.commented(b"\x89PNG", "copy")


def test_a_pack_is_multiplied_by_class(tmp_path: Path) -> None:
    many = validate_rate.copies_of(small_pack(tmp_path / "pack", 4), tmp_path / "many", 3)
    assert [len(list((many / label).glob("*.jpg"))) for label in ("cat", "dog")] == [6, 6]


def test_photos_that_were_held_back_come_home(tmp_path: Path) -> None:
    pack, photos = small_pack(tmp_path / "pack", 12), tmp_path / "photos"
    flow_overhead.copy_photos(pack, photos)
    moved = flow_overhead.hold_back(photos, tmp_path, 5)
    assert len(list(photos.glob("*/*.jpg"))) == 7
    assert len(moved) == 5
    for away, home in moved:
        away.rename(home)
    assert {file.relative_to(photos) for file in photos.glob("*/*.jpg")} == {
        file.relative_to(pack) for file in pack.glob("*/*.jpg")
    }


def test_the_corridors_table_compares_within_a_round_and_names_the_export() -> None:
    plain = [corridor.PlainRun(10.0, 0.97), corridor.PlainRun(100.0, 0.97)]
    graph = [adapted(0.5, embed=4.0), adapted(5.0, embed=40.0)]
    nothing = [adapted(0.5, embed=10.0), adapted(5.0, embed=46.0)]
    found = corridor.Comparison("dogs_cats", 0, {}, nothing, plain, graph)
    assert found.export_seconds == 6.0
    table = corridor.totals([found])
    others = 0.05 * (len(STAGES) - 1)
    assert f"| {others + 0.4:.2f} |" in table
    assert "dogs_cats: one-time export of the graph | 6.0 |" in table
    assert all(f"| {stage} |" in corridor.per_stage([found]) for stage in STAGES)


def test_the_overheads_tables_are_relative_to_the_bare_stages_and_to_the_first_run() -> None:
    table = flow_overhead.overhead_table({"the stages alone": [10.0], "`graft adapt`": [15.0]}, [1.0])
    assert "| `graft adapt` | 15.0 (15.0 to 15.0) | 1.50 |" in table
    assert "| `graft adapt`, nothing changed | 1.0 (1.0 to 1.0) | 0.10 |" in table
    growth = flow_overhead.Growth(adapted(1.0, embed=8.0), adapted(0.5, embed=1.0))
    assert "| 10 new photos | 1.0 |" in flow_overhead.growth_table([growth])


def test_the_import_table_has_a_row_for_every_library() -> None:
    imports = dict.fromkeys(["pass", *fixed_seconds.LIBRARIES], 0.25)
    assert fixed_seconds.import_table(imports).count("| 0.25 |") == len(fixed_seconds.LIBRARIES) + 1


def test_a_workspaces_caches_lie_below_it_and_its_features_can_be_forgotten(tmp_path: Path) -> None:
    made = FreshWorkspace(tmp_path)
    assert all(str(tmp_path) in made.environment[name] for name in ("GRAFT_CACHE_DIR", "DVC_SITE_CACHE_DIR"))
    for kind in ("features", "backbones"):
        (made.cache / kind / "key").mkdir(parents=True)
    made.forget_features()
    made.keep_graph(tmp_path / "graph")
    assert not (made.cache / "features").exists()
    assert (tmp_path / "graph" / "key").is_dir()


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="a fresh workspace is a clone of a git checkout")
def test_a_fresh_workspace_is_ready_for_its_first_bare_stage(tmp_path: Path) -> None:
    setting = Setting(small_pack(tmp_path / "pack", 12), Path("bundled"), "shufflenet_v2_x0_5")
    with fresh_workspace() as made:
        made.prepare(setting)
        made.stage("validate")
        root = made.root
        assert made.workspace.items.is_file()
        assert made.workspace.engine.is_file()
        assert not (made.cache / "features").exists()
    assert not root.exists()

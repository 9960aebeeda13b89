"""The measurement of batch scoring, on a tiny release; nothing here asserts a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scoring_scene import make_photos, scored, servable

from benchmarks import bare_score, score_rate
from benchmarks.rounds import Finished
from tasks.batch_scoring.scoring import Watch


def finished(*seconds: float) -> list[Finished]:
    return [Finished(each, each, "") for each in seconds]


def test_the_bare_loop_gives_the_probabilities_of_graft(tmp_path: Path) -> None:
    release = servable(tmp_path / "release")
    paths = make_photos(tmp_path / "photos", 7)
    scored(tmp_path / "photos", tmp_path / "scores.parquet", release, Watch())
    files = [str(tmp_path / "photos" / path) for path in paths]
    graph = str(tmp_path / "release" / "model.onnx")
    rows = bare_score.probabilities_of(files, graph, release.opened.preprocess.resize, release.opened.preprocess.crop)
    told = score_rate.agreement(tmp_path / "scores.parquet", rows)
    assert told.startswith("0 top-1 differ")
    assert score_rate.agreement(tmp_path / "scores.parquet", 1 - rows).startswith("DIFFERENT ANSWERS")


def test_both_sides_get_the_same_photos_in_the_same_order(tmp_path: Path) -> None:
    photos = [tmp_path / path for path in make_photos(tmp_path, 3)]
    table, files = score_rate.write_lists(photos, tmp_path, 2, "rows")
    assert table.read_text().splitlines() == ["path", *[photo.relative_to(tmp_path).as_posix() for photo in photos * 2]]
    assert files.read_text().splitlines() == [str(photo) for photo in photos * 2]


def test_the_ratio_is_to_the_bare_setting_with_the_best_median() -> None:
    found = {
        "graft score": finished(10.0, 12.0, 11.0),
        "bare loop, threads, batch 1": finished(1.0, 30.0, 30.0),
        "bare loop, threads, batch 4": finished(9.0, 9.0, 11.0),
    }
    lines = score_rate.rate_table(found, 900).splitlines()
    assert [line for line in lines if "(the best)" in line] == [
        line for line in lines if line.startswith("| bare loop, threads, batch 4")
    ]
    (ours,) = [line for line in lines if line.startswith("| graft score")]
    assert [cell.strip() for cell in ours.split("|")[3:5]] == ["82", "0.90"]


def test_the_bare_script_runs_in_threads_and_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = servable(tmp_path / "release")
    photos = [tmp_path / "photos" / path for path in make_photos(tmp_path / "photos", 5)]
    _, files = score_rate.write_lists(photos, tmp_path, 1, "rows")
    kept = []
    for processes in (False, True):
        score_rate.bare(files, tmp_path / "bare.npy", release.opened.folder, 2, processes)
        kept.append(np.load(tmp_path / "bare.npy"))
    assert kept[0].shape == (5, 3)
    assert np.array_equal(*kept)

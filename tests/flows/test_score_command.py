"""`graft score`: which release answers, what is printed, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from registry_scene import Scene, make_scene
from scoring_scene import make_photos, make_table, rows_of
from small_release import make_release

from flows.score_command import _watch
from flows.score_run import ScoreRequest, score_here, summary
from flows.store import stored_release
from tasks.batch_scoring.scoring import Watch
from tasks.errors import ReleaseError, UserError, WorkspaceError
from tasks.reports.scoring import ScoreFault, ScoreReport, ScoreTally


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = make_scene(tmp_path.resolve())
    make_photos(made.folder / "photos", 3)
    return made


def asked(scene: Scene, **more: object) -> ScoreReport:
    request = {
        "source": scene.folder / "photos",
        "output": scene.folder / "scores.parquet",
        "workspace": scene.root,
        **more,
    }
    return score_here(ScoreRequest(**request), Watch())  # type: ignore[arg-type]


def words(scene: Scene) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = pq.ParquetFile(scene.folder / "scores.parquet").metadata.metadata
    return found


def test_what_is_in_production_answers_unless_another_is_named(scene: Scene) -> None:
    first, second = scene.publish(1), scene.publish(2, promotable=True)
    with pytest.raises(UserError, match=r"nothing is in production in .*releases; put a version there"):
        asked(scene)
    scene.promote("v1")
    report = asked(scene)
    assert (report.version, report.release) == (1, first.manifest_sha256)
    assert words(scene)[b"graft_version"] == b"v1"
    assert asked(scene, version="v2").release == second.manifest_sha256
    assert words(scene)[b"graft_release"].decode() == second.manifest_sha256
    folder = stored_release(scene.store, first.manifest_sha256)
    from_folder = asked(scene, release=folder)
    assert (from_folder.version, from_folder.release) == (None, first.manifest_sha256)


def test_a_release_that_cannot_be_had_is_one_line_with_the_mend(scene: Scene) -> None:
    version = scene.publish(1)
    folder = stored_release(scene.store, version.manifest_sha256)
    with pytest.raises(UserError, match="there is no version v9"):
        asked(scene, version="v9")
    with pytest.raises(UserError, match="give one of them"):
        asked(scene, version="v1", release=folder)
    with pytest.raises(UserError, match="there is no such folder; name one of the release store"):
        asked(scene, release=scene.folder / "none")
    with pytest.raises(ReleaseError, match="is no release"):
        asked(scene, release=scene.folder / "photos")
    (folder / "model.onnx").write_bytes(b"spoilt")
    with pytest.raises(ReleaseError, match="damaged"):
        asked(scene, version="v1")
    shutil.rmtree(folder)
    with pytest.raises(ReleaseError, match="is not in the store"):
        asked(scene, version="v1")
    assert not (scene.folder / "scores.parquet").exists()


def test_a_folder_needs_no_workspace_and_a_version_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(tmp_path / "photos", 1)
    make_release(tmp_path / "release")
    monkeypatch.chdir(tmp_path)
    request = ScoreRequest(Path("photos"), Path("scores.parquet"), Path("release"))
    assert score_here(request, Watch()).tally.scored == 1
    with pytest.raises(WorkspaceError, match="or name a release's folder with --release"):
        score_here(ScoreRequest(Path("photos"), Path("other.parquet")), Watch())


def test_the_settings_of_the_server_count(scene: Scene) -> None:
    scene.publish(1)
    scene.promote("v1")
    (scene.root / "params.yaml").write_text(
        "schema_version: 2\nserve:\n  abstain_below: 1.0\n  limits:\n    max_pixels: 100\n"
    )
    assert asked(scene).tally.failed == 3
    (scene.root / "params.yaml").write_text("schema_version: 2\nserve:\n  abstain_below: 1.0\n")
    tally = asked(scene).tally
    assert (tally.scored, tally.failed) == (3, 0)
    assert tally.abstained == sum(row["probability"] < 1.0 for row in rows_of(scene.folder / "scores.parquet"))


def test_a_signature_is_asked_for_where_servers_ask_for_one(scene: Scene) -> None:
    version = scene.publish(1)
    scene.promote("v1")
    (scene.root / "params.yaml").write_text("schema_version: 2\nserve:\n  verify_key: trusted.pem\n")
    for more in ({}, {"version": "v1"}, {"release": stored_release(scene.store, version.manifest_sha256)}):
        with pytest.raises(ReleaseError, match=r"not signed|trusted\.pem"):
            asked(scene, **more)


def test_a_person_sees_how_many_are_listed_and_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFT_RUN_ID", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    watch = _watch()
    watch.listed(10_000)
    watch.done(4, 10)
    watch.done(10, 10)
    shown = capsys.readouterr().err
    assert "listing   10000" in shown
    assert shown.endswith(f"score     [{'#' * 30}] 10/10\n")


def test_nothing_is_drawn_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    watch = _watch()
    watch.listed(10_000)
    watch.done(10, 10)
    assert capsys.readouterr().err == ""


def test_one_json_object_and_the_exit_code_say_how_it_ended(scene: Scene) -> None:
    scene.publish(1)
    scene.promote("v1")
    (scene.folder / "bad").mkdir()
    (scene.folder / "bad" / "text.jpg").write_text("no picture")
    done = scene.graft("score", str(scene.folder / "photos"), "-o", str(scene.folder / "a.parquet"), "--json")
    assert done.returncode == 0, done.stderr
    assert ScoreReport.model_validate_json(done.stdout).tally.scored == 3
    none = scene.graft("score", str(scene.folder / "bad"), "-o", str(scene.folder / "b.parquet"))
    assert none.returncode == 1, "nothing could be scored"
    assert "1 file: 0 scored, 1 could not be" in none.stdout
    assert "text.jpg: not an image" in none.stdout
    assert rows_of(scene.folder / "b.parquet")[0]["error"]
    wrong = scene.graft("score", str(scene.folder / "photos"), "-o", str(scene.folder / "a.csv"), "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["state"] == "failed"
    assert "a.parquet" in json.loads(wrong.stdout)["reasons"][0]
    assert "Traceback" not in done.stderr + none.stderr + wrong.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_clean_and_the_same_command_goes_on(scene: Scene, number: signal.Signals, code: int) -> None:
    scene.publish(1)
    scene.promote("v1")
    rows = [("photos/a/000.jpg", place) for place in range(60_000)]
    table = make_table(scene.folder / "table.csv", ["path", "label"], rows)
    output = scene.folder / "scores.parquet"
    command = ["score", str(table), "-o", str(output), "--json"]
    running = scene.start(*command)
    deadline = time.monotonic() + 60
    while not list(scene.folder.glob(".scores.parquet.scoring/*/part-*.parquet")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    printed, told = running.communicate(timeout=60)
    assert running.returncode == code
    assert json.loads(printed)["state"] == "interrupted"
    assert told.strip().endswith("interrupted; the same command goes on where it stopped")
    assert "Traceback" not in told
    assert not output.exists()
    assert list(scene.folder.glob(".scores.parquet.scoring/*/part-*.parquet"))


def test_a_summary_names_the_first_files_without_an_answer() -> None:
    faults = [ScoreFault(path=f"{place}.jpg", error="empty file") for place in range(9)]
    tally = ScoreTally(
        items=30, scored=21, failed=9, abstained=2, left_out=4, predicted={"cat": 1, "dog": 20}, faults=faults
    )
    report = ScoreReport(
        state="scored", output="o.parquet", release="a" * 64, version=3, tally=tally, computed=20, seconds=2.0
    )
    assert summary(report).splitlines() == [
        "30 files: 21 scored, 9 could not be; 2 abstained",
        *[f"  {place}.jpg: empty file" for place in range(5)],
        "  and 4 more (column `error`)",
        "4 other files left out: no image by name; a table may name them",
        "predicted: dog 20, cat 1",
        "o.parquet: 30 rows by release v3 (aaaaaaaaaaaa) in 2.0 s (10 a second, 10 taken over from an interrupted run)",
    ]

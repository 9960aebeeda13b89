"""Scoring a folder or table: a row for every file, the same answers as a server's, and what is wrong is listed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scoring_scene import make_photos, make_table, rows_of, scored, servable
from small_release import answer_nan, make_release, photo

from tasks.batch_scoring.answers import NOT_FINITE
from tasks.digests import bytes_sha256
from tasks.errors import DataError, ReleaseError, UserError
from tasks.params.serve import ServeLimits
from tasks.release_run import ReleaseRun
from tasks.servable import Servable, open_servable


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return servable(tmp_path_factory.mktemp("scoring") / "release")


def test_every_image_has_a_row_with_the_answer_that_qualify_would_have(release: Servable, tmp_path: Path) -> None:
    paths = make_photos(tmp_path / "photos", 9)
    report = scored(tmp_path / "photos", tmp_path / "scores.parquet", release)
    rows = rows_of(tmp_path / "scores.parquet")
    assert [row["path"] for row in rows] == paths
    contents = [bytes_sha256((tmp_path / "photos" / path).read_bytes()) for path in paths]
    assert [row["sha256"] for row in rows] == contents
    judged = ReleaseRun(release.opened.folder).probabilities([tmp_path / "photos" / path for path in paths], contents)
    given = np.array([row["probabilities"] for row in rows], dtype=np.float32)
    assert np.abs(given - judged).max() <= 1e-5
    labels = release.opened.labels
    assert [row["predicted"] for row in rows] == [labels[place] for place in judged.argmax(axis=1)]
    assert [row["probability"] for row in rows] == [max(row["probabilities"]) for row in rows]
    assert all(row["error"] is None and row["abstained"] is False for row in rows)
    assert (report.state, report.tally.items, report.tally.scored, report.computed) == ("scored", 9, 9, 9)
    assert sum(report.tally.predicted.values()) == 9


def test_the_output_says_of_itself_which_release_answered(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 1)
    scored(tmp_path / "photos", tmp_path / "scores.parquet", release, version=7)
    words = pq.ParquetFile(tmp_path / "scores.parquet").metadata.metadata
    assert words[b"graft_release"].decode() == release.digest
    assert words[b"graft_version"] == b"v7"
    assert json.loads(words[b"graft_labels"]) == release.opened.labels
    assert words[b"graft_schema_version"] == b"2"


def test_what_cannot_be_read_is_a_row_with_its_reason_and_no_answer(release: Servable, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    make_photos(folder, 2)
    (folder / "cut.jpg").write_bytes(photo(3)[:300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "away").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "latin").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/latin/\xfc.jpg")).write_bytes(photo(4))
    report = scored(folder, tmp_path / "scores.parquet", release)
    rows = {row["path"]: row for row in rows_of(tmp_path / "scores.parquet")}
    errors = {path: row["error"] for path, row in rows.items() if row["error"]}
    assert errors == {
        "away": "a link to a folder; put the real files there (cp -rL follows links)",
        "cut.jpg": errors["cut.jpg"],
        "dangling.jpg": "a dangling link; put the real files there (cp -rL follows links)",
        "empty.png": "empty file",
        "latin/\\xfc.jpg": "its name is not UTF-8; rename it (convmv -f latin1 -t utf8 helps)",
        "pipe.jpg": "a FIFO; remove it",
        "text.jpg": errors["text.jpg"],
    }
    assert "cut short" in errors["cut.jpg"]
    assert "a text file" in errors["text.jpg"]
    for path in errors:
        answer = [rows[path][name] for name in ("predicted", "probability", "probabilities", "abstained")]
        assert answer == [None] * 4
    assert rows["text.jpg"]["sha256"] == bytes_sha256(b"no picture"), "its content was had, and is named"
    assert rows["pipe.jpg"]["sha256"] is None
    assert (report.tally.scored, report.tally.failed) == (2, 7)
    assert [fault.path for fault in report.tally.faults] == sorted(errors)


def test_other_files_and_hidden_ones_are_left_out_and_counted(release: Servable, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    paths = make_photos(folder, 2)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.jpg").write_bytes(photo(5))
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "a.jpg").write_bytes(photo(6))
    report = scored(folder, folder / "scores.parquet", release)
    assert [row["path"] for row in rows_of(folder / "scores.parquet")] == paths
    assert report.tally.left_out == 2, "notes.txt and .hidden.jpg"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_keeps_its_order_its_repeats_and_its_labels(release: Servable, tmp_path: Path, suffix: str) -> None:
    paths = make_photos(tmp_path, 3)
    wanted = [paths[2], paths[0], paths[2], paths[1]]
    rows = [(7, path, f"class {number}" if number else None) for number, path in enumerate(wanted)]
    table = make_table(tmp_path / f"table{suffix}", ["other", "path", "label"], rows)
    report = scored(table, tmp_path / "scores.parquet", release)
    found = rows_of(tmp_path / "scores.parquet")
    assert [row["path"] for row in found] == wanted
    assert [row["label"] for row in found] == [None, "class 1", "class 2", "class 3"]
    assert found[0]["probabilities"] == found[2]["probabilities"]
    assert {row["predicted"] for row in found} <= set(release.opened.labels)
    assert report.tally.scored == 4


def test_a_table_row_that_names_no_file_is_a_row_with_its_reason(release: Servable, tmp_path: Path) -> None:
    (path,) = make_photos(tmp_path, 1)
    names = [path, "gone.jpg", "../secret.jpg", "/etc/passwd", "a\\b.jpg", "", "a"]
    table = make_table(tmp_path / "table.csv", ["path", "other"], [(name, 1) for name in names])
    report = scored(table, tmp_path / "scores.parquet", release)
    rows = rows_of(tmp_path / "scores.parquet")
    assert "label" not in rows[0], "the table has none"
    assert [row["path"] for row in rows] == names
    assert [row["error"] for row in rows] == [
        None,
        "is not there (No such file or directory); mend the path in the table",
        "'../secret.jpg' leaves the data folder",
        "'/etc/passwd' is absolute; write it relative to the data folder",
        "'a\\\\b.jpg' uses backslashes; write forward slashes",
        "no path",
        "is a folder; name the files in it",
    ]
    assert report.tally.failed == 6


def test_embeddings_stand_beside_the_answers_where_asked_for(release: Servable, tmp_path: Path) -> None:
    paths = make_photos(tmp_path / "photos", 3)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no")
    scored(tmp_path / "photos", tmp_path / "scores.parquet", release, embeddings=True)
    rows = {row["path"]: row for row in rows_of(tmp_path / "scores.parquet")}
    image = release.opened.preprocess.prepare((tmp_path / "photos" / paths[0]).read_bytes())
    (embedding,) = release.opened.outputs(image[None], ["embedding"])
    assert np.allclose(rows[paths[0]]["embedding"], embedding[0], atol=1e-6)
    assert rows["bad.jpg"]["embedding"] is None


def test_a_low_highest_probability_is_an_abstention_as_on_the_server(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 8)
    scored(tmp_path / "photos", tmp_path / "plain.parquet", release)
    limit = float(np.median([row["probability"] for row in rows_of(tmp_path / "plain.parquet")]))
    report = scored(tmp_path / "photos", tmp_path / "scores.parquet", release, abstain_below=limit)
    rows = rows_of(tmp_path / "scores.parquet")
    assert [row["abstained"] for row in rows] == [row["probability"] < limit for row in rows]
    assert 0 < report.tally.abstained < 8
    assert all(row["predicted"] for row in rows), "what it would have said is told all the same"


def test_the_limits_are_the_servers(release: Servable, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "big.png").write_bytes(photo(1, 40, 40, "PNG"))
    (folder / "moves.gif").write_bytes(animation())
    (folder / "small.jpg").write_bytes(photo(2, 20, 20))
    limits = ServeLimits(max_pixels=1000, formats=("JPEG", "PNG", "GIF"), frames="single")
    scored(folder, tmp_path / "scores.parquet", release, limits=limits)
    errors = {row["path"]: row["error"] for row in rows_of(tmp_path / "scores.parquet")}
    assert errors["small.jpg"] is None
    assert errors["big.png"] == "40x40 is 1600 pixels, more than the 1000 allowed"
    assert "more than one frame" in errors["moves.gif"]
    scored(folder, tmp_path / "scores.parquet", release, limits=ServeLimits())
    assert {row["error"] for row in rows_of(tmp_path / "scores.parquet")} == {None}, "other limits, other scores"


def animation() -> bytes:
    import io

    from PIL import Image

    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def test_an_answer_that_is_no_number_is_an_error_of_its_row_alone(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "release", 0)
    answer_nan(folder, level=255)
    make_photos(tmp_path / "photos", 3)
    (tmp_path / "photos" / "a" / "white.png").write_bytes(white())
    scored(tmp_path / "photos", tmp_path / "scores.parquet", open_servable(folder))
    errors = {row["path"]: row["error"] for row in rows_of(tmp_path / "scores.parquet")}
    assert {path: error for path, error in errors.items() if error} == {"a/white.png": NOT_FINITE}


def white() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(file, "PNG")
    return file.getvalue()


def test_a_source_that_holds_nothing_is_refused_by_name(release: Servable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    output = tmp_path / "scores.parquet"
    for source, said in [
        (tmp_path / "empty", r"holds no images \(1 other file\)"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty" / "notes.txt", "neither a folder nor a CSV or Parquet table"),
        (make_table(tmp_path / "no_rows.csv", ["path"], []), "has no rows"),
        (make_table(tmp_path / "no_path.csv", ["Path", "x"], [("a.jpg", 1)]), "no column 'path'; did you mean 'Path'"),
        (make_table(tmp_path / "no_path.parquet", ["file"], [("a.jpg",)]), "no column 'path'"),
        (make_table(tmp_path / "two.csv", ["path", "path"], [("a.jpg", "b.jpg")]), "more than one column 'path'"),
    ]:
        with pytest.raises(DataError, match=said):
            scored(source, output, release)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"broken\.parquet is not a readable table"):
        scored(tmp_path / "broken.parquet", output, release)
    (tmp_path / "utf16.csv").write_bytes("path\na.jpg\n".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        scored(tmp_path / "utf16.csv", output, release)
    (tmp_path / "ragged.csv").write_text("path,label\na.jpg,b,c\n")
    with pytest.raises(DataError, match="row 2 has not the header's number of fields"):
        scored(tmp_path / "ragged.csv", output, release)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".scores", "scores"))]


def test_an_output_that_cannot_be_is_refused_before_any_work(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 1)
    (tmp_path / "other.parquet").write_text("somebody's")
    make_table(tmp_path / "table.parquet", ["path"], [("photos/a/000.jpg",)])
    (tmp_path / "folder.parquet").mkdir()
    for name, said in [
        ("scores.csv", "scores hold lists, which CSV cannot; name a Parquet file: .*scores.parquet"),
        ("scores", "name a Parquet file: .*scores.parquet"),
        ("none/scores.parquet", "there is no folder .*none; make it"),
        ("other.parquet", "something else than scores of Graft"),
        ("table.parquet", "something else than scores of Graft"),
        ("folder.parquet", "something else than scores of Graft"),
    ]:
        with pytest.raises(UserError, match=said):
            scored(tmp_path / "photos", tmp_path / name, release)
    assert (tmp_path / "other.parquet").read_text() == "somebody's"


def test_an_output_folder_without_permission_is_refused(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos", 1)
    closed = tmp_path / "closed"
    closed.mkdir()
    allowed = os.access
    # Root may write everywhere, so the system's answer is made up.
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and allowed(path, mode))
    with pytest.raises(UserError, match="closed cannot be written; name another folder, or chmod u\\+wx"):
        scored(tmp_path / "photos", closed / "scores.parquet", release)


def test_embeddings_of_a_release_that_has_none_are_refused(tmp_path: Path) -> None:
    import onnx
    from small_release import seal

    folder = make_release(tmp_path / "release", 0)
    model = onnx.load(folder / "model.onnx")
    (embedding,) = [part for part in model.graph.output if part.name == "embedding"]
    model.graph.output.remove(embedding)
    onnx.save(model, folder / "model.onnx")
    seal(folder)
    make_photos(tmp_path / "photos", 1)
    with pytest.raises(ReleaseError, match="embedding"):
        scored(tmp_path / "photos", tmp_path / "scores.parquet", open_servable(folder), embeddings=True)

"""Interrupted scoring goes on; what is finished stays; nothing is mixed with another release or other inputs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_scene import make_photos, make_table, rows_of, scored, servable
from small_release import photo

from tasks.batch_scoring import output as outputs
from tasks.batch_scoring import parts as written_parts
from tasks.batch_scoring import scoring
from tasks.batch_scoring.parts import clear_working_folder, working_folder
from tasks.batch_scoring.scoring import Watch
from tasks.errors import StageInputError, WorkspaceError, full_disk
from tasks.servable import Servable

REPOSITORY = Path(__file__).resolve().parents[2]
EACH = 8
"""Rows of a part in these tests."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return servable(tmp_path_factory.mktemp("scoring") / "release")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PART_ROWS", EACH)


class Stopped(BaseException):
    """As Ctrl-C is: no Exception."""


def stop_after(rows: int) -> Watch:
    """A watch that interrupts when so many rows have an answer."""

    def done(now: int, total: int) -> None:
        if now >= rows:
            raise Stopped

    return Watch(done=done)


def die(*_: object) -> None:
    raise Stopped


def working(output: Path) -> Path:
    return output.with_name(f".{output.name}.scoring")


def parts(output: Path) -> list[Path]:
    return sorted(working(output).glob("*/part-*.parquet"))


def test_an_interrupted_run_goes_on_and_ends_with_the_same_rows(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 30)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no")
    output = tmp_path / "scores.parquet"
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, release, stop_after(20), embeddings=True)
    assert not output.exists()
    assert len(parts(output)) == 2
    seen: list[tuple[int, int]] = []
    report = scored(
        tmp_path / "photos",
        output,
        release,
        Watch(done=lambda now, total: seen.append((now, total))),
        embeddings=True,
    )
    assert seen[0] == (16, 31), "the bar begins where it stopped"
    assert report.computed == 31 - 2 * EACH
    scored(tmp_path / "photos", tmp_path / "undisturbed.parquet", release, embeddings=True)
    assert rows_of(output) == rows_of(tmp_path / "undisturbed.parquet")
    assert not working(output).exists()


def test_a_finished_output_is_left_as_it_is(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    output = tmp_path / "scores.parquet"
    first = scored(tmp_path / "photos", output, release)
    before = output.stat()
    again = scored(tmp_path / "photos", output, release)
    assert (again.state, again.computed, again.tally) == ("unchanged", 0, first.tally)
    assert (output.stat().st_ino, output.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not working(output).exists()


@pytest.mark.parametrize("change", ["content", "time", "more", "fewer", "embeddings", "abstain", "version"])
def test_whatever_determines_the_rows_makes_them_anew(release: Servable, tmp_path: Path, change: str) -> None:
    paths = make_photos(tmp_path / "photos", 4)
    output, first = tmp_path / "scores.parquet", tmp_path / "photos" / paths[0]
    scored(tmp_path / "photos", output, release)
    if change == "content":
        first.write_bytes(photo(99))
    elif change == "time":
        os.utime(first, ns=(1, 1))
    elif change == "more":
        (tmp_path / "photos" / "new.jpg").write_bytes(photo(98))
    elif change == "fewer":
        first.unlink()
    more = {"embeddings": {"embeddings": True}, "abstain": {"abstain_below": 0.5}, "version": {"version": 2}}
    report = scored(tmp_path / "photos", output, release, **more.get(change, {}))
    assert report.state == "scored"
    assert report.computed == report.tally.items == {"more": 5, "fewer": 3}.get(change, 4)


def test_the_old_output_stands_until_the_new_one_is_whole(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 12)
    output = tmp_path / "scores.parquet"
    scored(tmp_path / "photos", output, release)
    old = output.read_bytes()
    (tmp_path / "photos" / "new.jpg").write_bytes(photo(98))
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, release, stop_after(9))
    assert output.read_bytes() == old


def test_another_release_or_other_inputs_take_nothing_over(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 20)
    output, other = tmp_path / "scores.parquet", servable(tmp_path / "other", seed=1)
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, release, stop_after(17))
    kept = parts(output)
    assert len(kept) == 2
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, other, stop_after(9))
    assert set(kept) < set(parts(output)), "the first release's parts stay for it"
    assert len({part.parent for part in parts(output)}) == 2
    report = scored(tmp_path / "photos", output, release)
    assert report.computed == 4
    scored(tmp_path / "photos", tmp_path / "alone.parquet", release)
    assert rows_of(output) == rows_of(tmp_path / "alone.parquet")
    assert not working(output).exists(), "what others left goes with it"


@pytest.mark.parametrize("damage", [b"", b"PAR1 broken PAR1"])
def test_a_part_that_cannot_be_opened_is_made_anew(release: Servable, tmp_path: Path, damage: bytes) -> None:
    make_photos(tmp_path / "photos", 20)
    output = tmp_path / "scores.parquet"
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, release, stop_after(17))
    parts(output)[0].write_bytes(damage)
    assert scored(tmp_path / "photos", output, release).computed == EACH + 4


def test_a_flipped_bit_in_a_part_is_found_and_the_next_run_mends_it(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 20)
    output = tmp_path / "scores.parquet"
    with pytest.raises(Stopped):
        scored(tmp_path / "photos", output, release, stop_after(17), embeddings=True)
    part = parts(output)[0]
    data = bytearray(part.read_bytes())
    column = pq.ParquetFile(part).metadata.row_group(0).column(4)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 8
    part.write_bytes(data)
    with pytest.raises(StageInputError, match="was damaged and is removed; run the same command again"):
        scored(tmp_path / "photos", output, release, embeddings=True)
    assert not output.exists()
    assert scored(tmp_path / "photos", output, release, embeddings=True).computed == EACH


def test_many_parts_become_few_row_groups(release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.batch_scoring.parts as module

    monkeypatch.setattr(module, "GROUP_ROWS", 16)
    make_photos(tmp_path / "photos", 41)
    scored(tmp_path / "photos", tmp_path / "scores.parquet", release)
    written = pq.ParquetFile(tmp_path / "scores.parquet").metadata
    assert [written.row_group(place).num_rows for place in range(written.num_row_groups)] == [16, 16, 9]


def test_two_runs_of_one_output_do_not_meet(release: Servable, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 1)
    output = tmp_path / "scores.parquet"
    with working_folder(output), pytest.raises(WorkspaceError, match="another `graft score` writes"):
        scored(tmp_path / "photos", output, release)
    assert not working(output).exists()
    assert scored(tmp_path / "photos", output, release).state == "scored"


def test_the_lock_is_held_until_nothing_of_the_run_is_left(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second run could begin in a folder that the first is still removing."""
    make_photos(tmp_path / "photos", 1)
    output, seen = tmp_path / "scores.parquet", []

    def cleared(folder: Path) -> None:
        clear_working_folder(folder)
        with pytest.raises(WorkspaceError), working_folder(output):
            pass
        seen.append([path.name for path in folder.iterdir()])

    monkeypatch.setattr(scoring, "clear_working_folder", cleared)
    scored(tmp_path / "photos", output, release)
    assert seen == [["lock"]]
    assert not working(output).exists()


def test_a_run_that_dies_when_its_output_is_there_leaves_nothing_for_long(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos", 3)
    output = tmp_path / "scores.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "clear_working_folder", die)
        with pytest.raises(Stopped):
            scored(tmp_path / "photos", output, release)
    assert parts(output)
    assert scored(tmp_path / "photos", output, release).state == "unchanged"
    assert not working(output).exists()


def test_a_run_that_dies_while_it_puts_parts_together_computes_nothing_again(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "photos", 20)
    output = tmp_path / "scores.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(outputs, "_with", die)
        with pytest.raises(Stopped):
            scored(tmp_path / "photos", output, release)
    assert not output.exists()
    report = scored(tmp_path / "photos", output, release)
    assert (report.state, report.computed, report.tally.items) == ("scored", 0, 20)


@pytest.mark.parametrize("when", ["a part", "the output"])
def test_a_full_disk_is_named_and_what_was_done_counts(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    make_photos(tmp_path / "photos", 20)
    output, written = tmp_path / "scores.parquet", []

    def full(table: pa.Table, file: Path, **more: Any) -> None:
        written.append(file)
        if when == "a part" and len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        pq.write_table(table, file, **more)

    class FullWriter(pq.ParquetWriter):  # type: ignore[misc]
        def write_table(self, *_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(written_parts, "pq", SimpleNamespace(**{**vars(pq), "write_table": full}))
        if when == "the output":
            patched.setattr(outputs, "pq", SimpleNamespace(**{**vars(pq), "ParquetWriter": FullWriter}))
        with pytest.raises(OSError, match="No space left") as raised:
            scored(tmp_path / "photos", output, release)
    assert "no space left on the disk of" in str(full_disk(raised.value))
    assert not output.exists()
    assert scored(tmp_path / "photos", output, release).computed == {"a part": 12, "the output": 0}[when]
    assert not working(output).exists()


ROWS = 1500
RUN = """
import sys
from pathlib import Path
from scoring_scene import scored
from tasks.batch_scoring import scoring
from tasks.servable import open_servable
scoring.PART_ROWS = 64
report = scored(Path(sys.argv[1]), Path(sys.argv[2]), open_servable(Path(sys.argv[3])))
print(report.computed)
"""


def start(*arguments: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_a_killed_run_loses_at_most_a_part_and_what_it_had_open(tmp_path: Path) -> None:
    """SIGKILL at whatever moment comes after the third part; then the same again."""
    made = servable(tmp_path / "release", convolutions=2)
    paths = make_photos(tmp_path, 16)
    table = make_table(tmp_path / "table.csv", ["path", "label"], [(paths[row % 16], row) for row in range(ROWS)])
    output = tmp_path / "scores.parquet"
    running = start(table, output, tmp_path / "release")
    deadline = time.monotonic() + 60
    while len(parts(output)) < 3:
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert not output.exists()
    whole = len(parts(output))
    again = start(table, output, tmp_path / "release")
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert int(printed) == ROWS - 64 * whole
    assert whole >= 3
    scored(table, tmp_path / "undisturbed.parquet", made)
    assert rows_of(output) == rows_of(tmp_path / "undisturbed.parquet")
    assert [row["label"] for row in rows_of(output)] == [str(row) for row in range(ROWS)]
    assert not working(output).exists()

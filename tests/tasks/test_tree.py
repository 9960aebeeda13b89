"""The walk of the raw folder: what is listed, and everything that is named instead of being opened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from image_files import write

from tasks.errors import DataError
from tasks.tree import check_tree, walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    write(folder / "cat" / "1.png", b"one")
    write(folder / "dog" / "deep" / "2.png", b"three")
    write(folder / "LICENSE", b"")
    return folder


def test_regular_files_are_listed_sorted_with_their_sizes(root: Path) -> None:
    assert [(file.path, file.bytes) for file in walk(root)] == [
        ("LICENSE", 0),
        ("cat/1.png", 3),
        ("dog/deep/2.png", 5),
    ]
    check_tree(root)


def test_every_kind_of_unusable_entry_is_named_in_one_error_with_its_mend(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "cat" / "pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(root / "cat")  # a socket's path may have about 100 bytes only
    listener.bind("talk.png")
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    (root / "cat" / "alias.png").symlink_to("1.png")
    (root / "linked").symlink_to(root / "dog", target_is_directory=True)
    os.close(os.open(os.fsencode(root) + b"/dog/caf\xe9.png", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(DataError) as caught:
        check_tree(root)
    listener.close()
    text = str(caught.value)
    assert "holds 6 entries" in text
    for line in (
        "cat/pipe.png: a FIFO; remove it",
        "cat/talk.png: a socket; remove it",
        "cat/gone.png: a dangling link; put the real files there",
        "cat/alias.png: a link to a file; put the real files there",
        "linked: a link to a folder; put the real files there",
        "dog/caf\\xe9.png: its name is not UTF-8; rename it",
    ):
        assert line in text
    assert text.encode()


def test_names_that_break_a_line_or_drive_a_terminal_are_named_in_print(root: Path) -> None:
    for name in ("two\nlines.png", "red\x1b[31m.png", "next\u2028line.png", "Icon\r"):
        write(root / "cat" / name, b"")
    for name in ("zwj 👩\u200d🚀.png", "wide\u3000space.png", "-dash.png", "صورة.png"):
        write(root / "dog" / name, b"")
    with pytest.raises(DataError) as caught:
        walk(root)
    text = str(caught.value)
    assert "holds 4 entries" in text
    for shown in ("cat/two\\nlines.png", "cat/red\\x1b[31m.png", "cat/next\\u2028line.png", "cat/Icon\\r"):
        assert f"{shown}: its name holds a control character; rename or remove it" in text
    assert "\x1b" not in text


def test_links_that_lead_outside_to_themselves_or_round_in_a_circle_are_named_and_not_followed(root: Path) -> None:
    (root / "cat" / "password.png").symlink_to("/etc/passwd")
    (root / "cat" / "self.png").symlink_to("self.png")
    (root / "cat" / "here").symlink_to(".", target_is_directory=True)
    (root / "dog" / "a").symlink_to("b")
    (root / "dog" / "b").symlink_to("a")
    with pytest.raises(DataError, match="holds 5 entries") as caught:
        walk(root)
    for line in ("cat/password.png: a link to a file", "cat/self.png: a dangling link", "cat/here: a link to a folder"):
        assert line in str(caught.value)


def test_what_vanishes_during_the_walk_is_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def and_then_remove(folder: Path) -> object:
        found = scan(folder)
        if Path(folder).name == "cat":
            (root / "cat" / "1.png").unlink()
        if Path(folder) == root:
            (root / "dog" / "deep" / "2.png").unlink()
            (root / "dog" / "deep").rmdir()
            (root / "dog").rmdir()
        return found

    monkeypatch.setattr("tasks.tree.os.scandir", and_then_remove)
    assert [file.path for file in walk(root)] == ["LICENSE"]


def test_folders_nested_beyond_what_the_system_can_name_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for _ in range(20):
        Path("x" * 250).mkdir()
        os.chdir("x" * 250)
    with pytest.raises(DataError, match=r"nested too deep for the system .*; move it up or shorten the names above it"):
        walk(root)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("cat/1.png", "cat/1.png: a file without read permission; chmod u+r it"),
        ("dog", "dog: a folder without read permission; chmod u+rx it"),
    ],
)
def test_what_may_not_be_read_is_named(root: Path, entry: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may read everything, so the kernel's answer is replaced rather than the mode.
    monkeypatch.setattr("tasks.tree.os.access", lambda place, _: Path(place) != root / entry)
    with pytest.raises(DataError) as caught:
        walk(root)
    assert reason in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_read_permission_is_named_for_an_ordinary_user(root: Path) -> None:
    (root / "cat" / "1.png").chmod(0)
    with pytest.raises(DataError, match=r"cat/1\.png: a file without read permission"):
        walk(root)


def test_many_faults_are_counted_and_the_first_twenty_spelled_out(root: Path) -> None:
    for number in range(50):
        (root / "cat" / f"link{number:02d}.png").symlink_to("nowhere")
    with pytest.raises(DataError) as caught:
        walk(root)
    text = str(caught.value)
    assert "holds 50 entries" in text
    assert text.count("a dangling link") == 20
    assert text.endswith("and 30 more")


def test_a_missing_root_and_a_root_that_is_a_file_say_what_to_give(root: Path) -> None:
    mend = r"give the folder or table of your images \(params\.yaml: data\.path\)"
    with pytest.raises(DataError, match=rf"absent does not exist; {mend}"):
        walk(root / "absent")
    with pytest.raises(DataError, match=rf"LICENSE is neither a folder nor a CSV or Parquet table; {mend}"):
        walk(root / "LICENSE")
    check_tree(root / "LICENSE")


def test_the_workspace_itself_is_no_data_set(root: Path) -> None:
    write(root / "params.yaml", b"")
    walk(root)
    write(root / "dvc.yaml", b"")
    with pytest.raises(DataError, match=r"raw is a Graft workspace \(it holds params\.yaml and dvc\.yaml\), not a "):
        walk(root)


@pytest.mark.parametrize("tool", [".venv", "graft/.venv", "graft/.git", ".dvc"])
def test_links_of_a_tool_say_that_a_project_was_taken_for_data(root: Path, tool: str) -> None:
    write(root / tool / "bin" / "activate", b"")
    walk(root)
    (root / tool / "bin" / "python").symlink_to("/usr/bin/python3")
    (root / "cat" / "alias.png").symlink_to("1.png")
    with pytest.raises(DataError, match=rf"raw holds {tool}, so it is a project and not a data set; give") as caught:
        walk(root)
    assert "python" not in str(caught.value)


def test_a_table_that_is_a_fifo_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv is a FIFO"):
        check_tree(tmp_path / "labels.csv")


def test_the_walk_is_cheap_to_import() -> None:
    heavy = "('numpy', 'pyarrow', 'PIL', 'pydantic')"
    code = f"import sys, tasks.tree; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

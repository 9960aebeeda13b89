"""What workers write where all of them, and their parent, see it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from app_scene import settings_of

from deploy.engine import Engine
from deploy.listening import listen
from deploy.load_board import LoadBoard, Place
from deploy.serving import Serving


def test_heartbeats_and_connections_of_workers_are_apart(tmp_path: Path) -> None:
    board = LoadBoard(tmp_path / "board", 3)
    places = [Place(LoadBoard(tmp_path / "board", 3), number) for number in range(3)]
    assert (board.loads(), board.beats()) == ([-1, -1, -1], [0, 0, 0])
    places[1].put(7)
    for _ in range(300):
        places[1].beat()
    places[2].beat()
    assert (board.loads(), board.beats()) == ([-1, 7, -1], [0, 300, 1])
    places[1].leave()
    assert board.beats() == [0, 300, 1]
    Place().beat()


def test_heartbeats_go_on_beyond_the_last_number(tmp_path: Path) -> None:
    file = tmp_path / "board"
    file.write_bytes(struct.pack("=iI", 5, 0xFFFFFFFF))
    board = LoadBoard(file, 1)
    Place(board).beat()
    assert (board.loads(), board.beats()) == ([5], [0])


def test_a_worker_with_a_stuck_thread_gives_no_sign(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = LoadBoard(release.parent / "board", 1)
    with listen("127.0.0.1", 0) as sock:
        serving = Serving(settings_of(release), sock, Place(board))
        serving._beat()
        assert board.beats() == [1]
        monkeypatch.setattr(Engine, "alive", False)
        serving._beat()
        assert board.beats() == [1]

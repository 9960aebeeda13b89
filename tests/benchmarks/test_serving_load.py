"""What the measurements of serving are made of, against a small application; nothing here asserts a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.load_generator import Generator, Load, quantile
from benchmarks.serve_scene import SIZE, make_photos


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, statuses: list[int]) -> None:
    """Answer each request of a connection with the next status; 0 breaks it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            status = statuses.pop(0) if statuses else 200
            if status == 0:
                break
            closing = b"Connection: close\r\n" if status == 503 else b""
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%b\r\n{}" % (status, closing))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


def generated(statuses: list[int], monkeypatch: pytest.MonkeyPatch, rate: float | None) -> Load:
    """What a generator of two connections counts in a third of a second."""
    monkeypatch.setattr("benchmarks.load_generator.WARM_SECONDS", 0.0)

    async def run() -> Load:
        server = await asyncio.start_server(lambda reader, writer: answer(reader, writer, statuses), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await Generator(port, [b"one", b"other"], 0.3, 2, rate).run()
        finally:
            server.close()

    return asyncio.run(run())


@pytest.mark.parametrize("rate", [None, 100.0], ids=["closed", "open"])
def test_every_answer_is_counted_by_its_status_and_broken_connections_as_none(
    monkeypatch: pytest.MonkeyPatch, rate: float | None
) -> None:
    load = generated([200, 503, 0, 400], monkeypatch, rate)
    assert {status: count for status, count in load.statuses.items() if status != 200} == {503: 1, 0: 1, 400: 1}
    assert load.statuses[200] == len(load.accepted_ms) > 3
    assert len(load.refused_ms) == 1
    assert load.goodput == load.statuses[200] / 0.3
    assert Load.from_json(load.to_json()) == load


def test_an_open_loop_sends_what_is_due_whatever_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    load = generated([503] * 1000, monkeypatch, 200.0)
    assert sum(load.statuses.values()) + load.unanswered == pytest.approx(60, abs=30)


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.99) == 4.0
    assert np.isnan(quantile([], 0.5))


def test_photos_are_jpegs_of_one_size_with_the_packs_content(tmp_path: Path) -> None:
    pack = tmp_path / "pack" / "dog"
    pack.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (90, 40 + number), (250, 10 * number, 0)).save(pack / f"{number}.png")
    photos = sorted(make_photos(tmp_path / "pack", tmp_path / "photos", 2).iterdir())
    assert len(photos) == 2
    with Image.open(photos[0]) as image:
        assert (image.format, image.size) == ("JPEG", SIZE)
        red, _, blue = np.asarray(image, dtype=float).mean(axis=(0, 1))
        assert red > 240
        assert blue < 10

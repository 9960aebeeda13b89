"""What decodes at once, and what waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from tasks import decoding_memory
from tasks.decoding_memory import BYTES_AT_ONCE, MemoryBudget, room_to_decode, room_to_read

WAIT_SECONDS = 20


def all_hold_at_once(budget: MemoryBudget, *needs: int) -> bool:
    meet, met = threading.Barrier(len(needs)), []

    def take(needed: int) -> None:
        with budget.hold(needed):
            met.append(meet.wait(WAIT_SECONDS))

    threads = [threading.Thread(target=take, args=(needed,)) for needed in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT_SECONDS)
    return len(met) == len(needs)


def waits(budget: MemoryBudget, held: int, needed: int) -> bool:
    """Whether `needed` waits while `held` is held, and goes on when it is given back."""
    done = threading.Event()

    def take() -> None:
        with budget.hold(needed):
            done.set()

    thread = threading.Thread(target=take)
    with budget.hold(held):
        thread.start()
        waited = not done.wait(0.2)
    assert done.wait(WAIT_SECONDS)
    return waited


def test_needs_that_fit_are_held_together_and_others_one_after_the_other() -> None:
    assert all_hold_at_once(MemoryBudget(100), 50, 50)
    assert all_hold_at_once(MemoryBudget(100), 30, 30, 40)
    assert waits(MemoryBudget(100), 51, 50)
    assert waits(MemoryBudget(100), 1000, 1)
    assert waits(MemoryBudget(100), 1, 1000)


def test_memory_is_given_back_when_decoding_fails() -> None:
    budget = MemoryBudget(100)
    with pytest.raises(ValueError, match="broken"), budget.hold(100):
        raise ValueError("broken")
    assert all_hold_at_once(budget, 100)


def needed_for(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], kind: str) -> int:
    taken: list[int] = []
    budget = MemoryBudget(BYTES_AT_ONCE)
    hold = budget.hold
    monkeypatch.setattr(budget, "hold", lambda needed: (taken.append(needed), hold(needed))[1])
    monkeypatch.setattr(decoding_memory, "_budget", budget)
    image = Image.new("1", size)
    image.format = kind
    with room_to_decode(image):
        return taken[0]


def test_two_photos_of_24_megapixels_fit_and_two_of_the_pixel_cap_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * needed_for(monkeypatch, (6000, 4000), "JPEG") <= BYTES_AT_ONCE
    assert 2 * needed_for(monkeypatch, (8000, 5000), "JPEG") > BYTES_AT_ONCE
    assert needed_for(monkeypatch, (8000, 5000), "WEBP") > BYTES_AT_ONCE


def test_a_large_file_is_read_and_decoded_alone_without_waiting_for_itself(tmp_path: Path) -> None:
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(2**25 + 1)
    others: list[bool] = []

    def other() -> None:
        with room_to_decode(Image.new("1", (10, 10))):
            others.append(True)

    with room_to_read(tmp_path / "large.tif"), room_to_decode(Image.new("1", (9000, 9000))):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        assert not others
    thread.join(WAIT_SECONDS)
    assert others

"""How many threads a training computes with: the bits of what it gives depend on it."""

from __future__ import annotations

import pytest
from training_scene import fine_tune

from tasks.methods.network_run import SMALL_IMAGE, training_threads
from tasks.threads import usable_cores


@pytest.mark.parametrize(
    ("threads", "crop", "limit", "expected"),
    [
        (0, SMALL_IMAGE - 1, 0, 1),
        (0, SMALL_IMAGE - 1, 8, 1),
        (3, SMALL_IMAGE - 1, 8, 3),
        (0, SMALL_IMAGE, 8, 8),
        (0, SMALL_IMAGE, 0, usable_cores()),
        (3, 224, 8, 3),
        (3, 224, 0, 3),
    ],
)
def test_small_images_take_one_thread_and_a_setting_goes_before_the_machine(
    threads: int, crop: int, limit: int, expected: int
) -> None:
    assert training_threads(fine_tune(threads=threads), crop, limit) == expected

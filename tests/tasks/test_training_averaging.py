"""The moving average of the weights against a sum by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_scene import made_items, made_network, trained

from tasks.training.averaging import Average, moving_tensors


def test_the_average_is_that_of_a_hand_and_begins_with_the_first_step() -> None:
    weight = {"w": torch.zeros(2), "count": torch.tensor(0)}
    average = Average(weight, 0.999)
    expected = None
    for step, value in enumerate((4.0, 8.0, -2.0, 1.0)):
        weight["w"].fill_(value)
        weight["count"].add_(1)
        average.update()
        stays = (1 + step) / (10 + step)
        expected = value if expected is None else stays * expected + (1 - stays) * value
        assert average.values["w"].tolist() == pytest.approx([expected] * 2)
    assert average.values["count"].item() == 4


def test_after_many_steps_the_decay_is_the_one_that_was_set() -> None:
    weight = {"w": torch.zeros(1)}
    average = Average(weight, 0.75)
    for _ in range(100):
        average.update()
    weight["w"].fill_(1.0)
    average.update()
    assert average.values["w"].item() == pytest.approx(0.25)


def test_the_network_holds_the_average_only_for_a_while() -> None:
    weight = {"w": torch.zeros(2)}
    average = Average(weight, 0.1)
    with average.in_place():
        assert weight["w"].tolist() == [0, 0]
    average.update()
    weight["w"].fill_(4.0)
    average.update()
    with average.in_place():
        assert weight["w"].tolist() == pytest.approx([3.6, 3.6])
    assert weight["w"].tolist() == [4, 4]


def test_whole_numbers_are_never_averaged() -> None:
    index = {"index": torch.arange(1000)}
    average = Average(index, 0.9)
    for _ in range(3):
        average.update()
    assert torch.equal(average.values["index"], torch.arange(1000))


def test_running_statistics_are_averaged_where_they_move() -> None:
    assert not any("running" in name for name in moving_tensors(*made_network()))
    moving = moving_tensors(*made_network(batch_norm="trained"))
    assert {name for name in moving if "running_mean" in name} == {
        "trunk.middle_norm.running_mean",
        "trunk.top_norm.running_mean",
    }


def test_averaged_weights_are_what_is_judged_and_kept(tmp_path: Path) -> None:
    items = made_items()
    network, outcome = trained(tmp_path, items, average=0.9, batch_norm="trained")
    plain, _ = trained(tmp_path, items, average=0.0, batch_norm="trained")
    assert items.judge is not None
    with torch.no_grad():
        logits = network(*items.examples.plain(items.judge)).numpy()
        assert not np.allclose(logits, plain(*items.examples.plain(items.judge)).numpy(), atol=1e-3)
    np.testing.assert_allclose(logits, outcome.judged_logits[outcome.chosen_epoch], atol=1e-5)

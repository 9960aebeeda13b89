"""The schedules against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, lr_scheduler
from training_scene import fine_tune

from tasks.training.schedules import Plateau, multiplier

STEPS = 5


def optimizer() -> torch.optim.Optimizer:
    return SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def rates(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_cosine_with_warmup_is_torchs_linear_and_cosine_annealing() -> None:
    settings = fine_tune(schedule="cosine", warmup_epochs=2, epochs=10)
    warm = rates(lr_scheduler.LinearLR(optimizer(), start_factor=1 / 10, end_factor=1.0, total_iters=9), 10)
    cosine = rates(lr_scheduler.CosineAnnealingLR(optimizer(), T_max=40), 40)
    assert [multiplier(settings, step, STEPS) for step in range(50)] == pytest.approx([*warm, *cosine])


def test_steps_are_torchs_step_rate() -> None:
    settings = fine_tune(schedule="step", warmup_epochs=0, step_epochs=3, step_factor=0.3, epochs=10)
    torchs = rates(lr_scheduler.StepLR(optimizer(), step_size=3, gamma=0.3), 10)
    assert [multiplier(settings, epoch * STEPS + 4, STEPS) for epoch in range(10)] == pytest.approx(torchs)


@pytest.mark.parametrize("schedule", ["cosine", "step", "plateau", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.0, 6.0])
def test_a_multiplier_lies_in_0_to_1_and_rises_through_the_whole_warmup(schedule: str, warmup: float) -> None:
    settings = fine_tune(schedule=schedule, warmup_epochs=warmup, epochs=6, step_epochs=7)
    found = [multiplier(settings, step, STEPS) for step in range(6 * STEPS)]
    rising = min(round(warmup * STEPS), 6 * STEPS)
    assert all(0 < one <= 1 for one in found)
    assert found[:rising] == sorted(set(found[:rising]))
    assert max(found) == pytest.approx(1.0)


def test_a_plateau_lowers_the_rate_as_torch_does_and_goes_on_from_its_state() -> None:
    settings = fine_tune(schedule="plateau", step_epochs=1, step_factor=0.5)
    losses = [1.0, 0.8, 0.8, 0.8, 0.9, 0.7, 0.7, 0.7, 0.7, 0.7]
    held = optimizer()
    torchs = lr_scheduler.ReduceLROnPlateau(held, factor=0.5, patience=1)
    plateau = Plateau(settings)
    for loss in losses:
        torchs.step(loss)
        plateau.judged(loss)
        resumed = Plateau(settings)
        resumed.load(plateau.state())
        plateau = resumed
        assert plateau.multiplier == held.param_groups[0]["lr"]
    assert plateau.multiplier < 0.5


def test_other_schedules_hear_of_no_plateau() -> None:
    plateau = Plateau(fine_tune(schedule="cosine", step_epochs=1))
    for _ in range(9):
        plateau.judged(1.0)
    assert plateau.multiplier == 1.0


def test_a_warmup_beyond_the_last_epoch_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs \(3\) is longer than epochs \(2\).*lower warmup_epochs"):
        fine_tune(epochs=2, warmup_epochs=3)
    assert fine_tune(epochs=2, warmup_epochs=2).warmup_epochs == 2


def test_a_layer_decay_of_0_is_refused_as_nothing_below_would_learn() -> None:
    with pytest.raises(ValueError, match="layer_decay"):
        fine_tune(layer_decay=0)

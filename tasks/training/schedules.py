"""How the learning rate moves: a multiplier for each step, which depends on the step's number alone."""

from __future__ import annotations

import math
from typing import Any

import torch

from tasks.params.training import TrainingParams

FEWEST_WARMUP = 10
"""Steps of a warm-up at least, where there is one: an epoch of a small data set is a step or two."""


def multiplier(settings: TrainingParams, step: int, steps_per_epoch: int) -> float:
    """What the highest rate is multiplied by at a step, counted from 0 over the whole training; in [0, 1].

    A linear warm-up, at whose last step it is 1; then a cosine to 0 behind the last step, steps every `step_epochs`
    epochs from the start on, or 1. `plateau` is 1 here, see `Plateau`.
    Source: agrees with torch's LinearLR, CosineAnnealingLR and StepLR.
    """
    every = settings.epochs * steps_per_epoch
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    warmup = min(max(warmup, min(FEWEST_WARMUP, every // 2)) if warmup else 0, every)
    if step < warmup:
        return (step + 1) / warmup * _fallen(settings, step, steps_per_epoch, warmup)
    return _fallen(settings, step, steps_per_epoch, warmup)


def _fallen(settings: TrainingParams, step: int, steps_per_epoch: int, warmup: int) -> float:
    if settings.schedule == "cosine":
        done = max(0, step - warmup) / max(1, settings.epochs * steps_per_epoch - warmup)
        return (1 + math.cos(math.pi * min(1.0, done))) / 2
    if settings.schedule == "step":
        return settings.step_factor ** (step // steps_per_epoch // settings.step_epochs)
    return 1.0


class Plateau:
    """Lowers the rate where the judged loss has stayed for `step_epochs` epochs (torch's ReduceLROnPlateau).

    Attributes:
        multiplier: what the highest rate is multiplied by, beside `multiplier`; 1 for every other schedule.
    """

    def __init__(self, settings: TrainingParams) -> None:
        self._active = settings.schedule == "plateau"
        # Only its one rate is of use: it starts at 1 and so is the multiplier itself.
        self._rate = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._rate, factor=settings.step_factor, patience=settings.step_epochs
        )

    @property
    def multiplier(self) -> float:
        return float(self._rate.param_groups[0]["lr"])

    def judged(self, loss: float) -> None:
        """Hear of an epoch's judged loss, or of its training loss where nothing is judged."""
        if self._active:
            self._scheduler.step(loss)

    def state(self) -> dict[str, Any]:
        return {"multiplier": self.multiplier, "scheduler": self._scheduler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self._rate.param_groups[0]["lr"] = state["multiplier"]
        self._scheduler.load_state_dict(state["scheduler"])

"""A training that is killed at one point after another, and one that is not: run as a program, prints both as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_scene import CLASSES, made_items, trained

from tasks.training import checkpoints
from tasks.training.freezing import digest_of
from tasks.training.network import tensors_of

SETTINGS: dict[str, Any] = {
    "average": 0.8,
    "batch_norm": "trained",
    "class_balance": "sampled",
    "epochs": 20,
    "patience": 2,
    "schedule": "plateau",
    "step_epochs": 1,
    "learning_rate": 0.02,
}


def digest(value: Any) -> Any:
    """A checkpoint's state with each tensor as its digest."""
    if isinstance(value, torch.Tensor):
        return digest_of({"": value})
    if isinstance(value, dict):
        return {str(key): digest(one) for key, one in value.items()}
    return [digest(one) for one in value] if isinstance(value, list | tuple) else value


def whole_training(folder: Path, die_at: Callable[[str], bool]) -> dict[str, Any]:
    """All that a training leaves: the network, its outcome, and the state that it wrote last.

    Args:
        die_at: hears `step 3` as a step ends, `best-2` and `state` when a checkpoint of that name is on disk, and
            `in state` when it is about to be; True kills the process there, without a warning.
    """
    items, steps, last = made_items(), [0], dict[str, Any]()
    # A fifth of the judged items are mislabelled, so that the judged loss rises in time.
    items.labels[30::5] = (items.labels[30::5] + 1) % CLASSES
    ask, write = items.examples.inputs, checkpoints.Checkpoints._write

    def at(point: str) -> None:
        if die_at(point):
            os.kill(os.getpid(), signal.SIGKILL)

    def inputs(rows: Any, epoch: int) -> Any:
        at(f"step {steps[0]}")
        steps[0] += 1
        return ask(rows, epoch)

    def writing(self: checkpoints.Checkpoints, name: str, value: dict[str, Any]) -> bool:
        at(f"in {name}")
        if name == "state":
            last.update(digest(value))
        written = write(self, name, value)
        at(name)
        return written

    items.examples.inputs = inputs  # type: ignore[method-assign]
    checkpoints.Checkpoints._write = writing  # type: ignore[method-assign]
    try:
        network, outcome = trained(folder, items, **SETTINGS)
    finally:
        checkpoints.Checkpoints._write = write  # type: ignore[method-assign]
    return {
        "network": digest_of(tensors_of(network)),
        "judged": digest_of({"": torch.from_numpy(outcome.judged_logits)}),
        "history": [row.model_dump() for row in outcome.history],
        "chosen": outcome.chosen_epoch,
        "stopped_early": outcome.stopped_early,
        "state": last,
        "steps": steps[0],
    }


def killed(folder: Path, point: str) -> bool:
    """Whether a process of its own trained up to that point and died there by SIGKILL."""
    child = os.fork()
    if child == 0:
        whole_training(folder, lambda reached: reached == point)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def main(folder: Path, *points: str) -> None:
    torch.set_num_threads(1)
    report: dict[str, Any] = {"undisturbed": whole_training(folder / "undisturbed", lambda _: False), "resumed": {}}
    for point in points:
        own = folder / point
        died = killed(own, point)
        report["resumed"][point] = {"died": died, **whole_training(own, lambda _: False)}
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

"""The same training in several processes at once, over one folder: run as a program, prints what each ended with."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from training_deaths import whole_training

PAUSES = {"fast": 0.0, "as fast": 0.0, "slow": 0.01}
"""Seconds before every step: the slow one still writes when the fast ones have finished and cleared up."""


def in_a_process(folder: Path, name: str, report: Path) -> int:
    """Begin one; returns its process id."""
    child = os.fork()
    if child == 0:

        def pace(point: str) -> bool:
            time.sleep(PAUSES[name] if point.startswith("step") else 0.0)
            return False

        report.write_text(json.dumps(without_steps(whole_training(folder, pace))))
        os._exit(0)
    return child


def without_steps(trained: dict[str, Any]) -> dict[str, Any]:
    """The result alone: what was found needs no steps and writes no state."""
    return {key: value for key, value in trained.items() if key not in ("steps", "state")}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    alone = whole_training(folder / "alone", lambda _: False)
    reports = {name: folder / f"{name}.json" for name in PAUSES}
    children = [in_a_process(folder / "shared", name, report) for name, report in reports.items()]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    found = whole_training(folder / "shared", lambda _: False)
    print(
        json.dumps(
            {
                "alone": without_steps(alone),
                "codes": codes,
                "at once": {name: json.loads(report.read_text()) for name, report in reports.items()},
                "found": without_steps(found),
                "steps of found": found["steps"],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One of the processes that share a training. The first one tells how it goes; its checkpoints are those of all.

Run by torchrun: python -m torch.distributed.run ... -m tasks.methods.training_rank ORDER
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from tasks.errors import GraftError
from tasks.log_lines import LogLine
from tasks.methods.judged_training import network_of
from tasks.methods.training_launch import TrainingWord
from tasks.reports.training import EpochScore
from tasks.stage import say, speak_through


def main(file: Path) -> int:
    """Do what the file orders as one of several; 0 once the training is whole."""
    first = os.environ["RANK"] == "0"
    speak_through(_say if first else lambda line: None)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        say("a process of the training died; all of them were started again", "warning")
    try:
        _train(file, first)
    except GraftError as err:
        TrainingWord(fault=(type(err).__name__, str(err))).tell()
        return 1
    except Exception as err:
        if is_loss_of_another(err):
            print(f"a process of the training lost another: {err}", flush=True)  # torchrun knows which, and why
        else:
            TrainingWord(defect=traceback.format_exc()).tell()
        return 1
    return 0


def is_loss_of_another(err: Exception) -> bool:
    """Whether an error only says that another process is gone: of gloo a plain RuntimeError, of NCCL one of its own."""
    from torch.distributed import DistError

    return isinstance(err, DistError) or (isinstance(err, RuntimeError) and ("gloo" in str(err) or "NCCL" in str(err)))


def _train(file: Path, first: bool) -> None:
    from tasks.methods.training_order import read_order

    order, done = read_order(file), 0

    def on_step(count: int) -> None:
        nonlocal done
        done += count
        if first:
            TrainingWord(steps=done).tell()

    def on_epoch(score: EpochScore) -> None:
        if first:
            TrainingWord(epoch=score).tell()

    run = network_of(order.data, order.run_settings, order.pretrained, order.section)
    if run.kept != order.kept:
        raise RuntimeError(f"this process reads the activations {run.kept}, the stage {order.kept}")
    run.train(order.learn, order.judge, order.head, order.until, on_step, order.settings, on_epoch, order.multipliers)


def _say(line: LogLine) -> None:
    TrainingWord(said=(line.message, line.level, line.exception)).tell()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    # A process that waits for the others in a collective would never end by itself.
    os._exit(code)

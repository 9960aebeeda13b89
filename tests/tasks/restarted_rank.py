"""One of two processes that meet, until the second is killed; started again, the first reads addresses long before the
second tells its own. Run by torchrun: python -m restarted_rank ORDER
"""

from __future__ import annotations

import os
import signal
import time

import torch

from tasks.methods.training_launch import TrainingWord

if __name__ == "__main__":
    again, second = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1", os.environ["RANK"] == "1"
    if again and second:
        time.sleep(3)
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    if second and not again:
        os.kill(os.getpid(), signal.SIGKILL)
    if not again:
        time.sleep(60)  # torchrun ends it
    met = torch.ones(1)
    torch.distributed.all_reduce(met)
    if not second:
        TrainingWord(steps=int(met)).tell()

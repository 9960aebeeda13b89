"""Several processes of this machine do one training: started by torchrun, heard, ended with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from tasks import errors
from tasks.errors import GraftError, StageFailed
from tasks.reports.document import Record
from tasks.reports.training import EpochScore
from tasks.stage import say
from tasks.threads import thread_environment

MARK = "graft-training "
RESTARTS = 1
"""How often the processes are started again after one of them died; they go on from the last whole epoch."""
END_SECONDS = 20.0
_OWN_STORE_A_START = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""By default torchrun keeps one store over restarts, in which processes that are started again find the addresses of
those that died and wait for them for ever (torch 2.14: the keys carry no number of the attempt)."""
_EXITED = re.compile(r"exitcode\s*:\s*(-?\d+)")


class TrainingWord(Record):
    """One marked line of a process that trains.

    Attributes:
        steps: items learned from since the process began, those of the epochs that it found done included.
        said: a line for the run's log: text, level, traceback.
        fault: an error of Graft's own: the name of its class and its text.
        defect: the traceback of any other.
    """

    steps: int | None = None
    epoch: EpochScore | None = None
    said: tuple[str, str, str | None] | None = None
    fault: tuple[str, str] | None = None
    defect: str | None = None

    def tell(self) -> None:
        """Write it as one line, in one piece: several processes share the pipe."""
        os.write(sys.stdout.fileno(), f"{MARK}{self.model_dump_json(exclude_none=True)}\n".encode())


def train_in_processes(
    order: Path,
    processes: int,
    threads: int,
    on_step: Callable[[int], None],
    on_epoch: Callable[[EpochScore], None],
    module: str,
) -> None:
    """Have processes do the training that a file orders; they leave its outcome among the checkpoints.

    Args:
        threads: of each process.
        on_step, on_epoch: hear what a single process would tell, each step and epoch once, whatever was started again.
        module: what each process runs, with the order as its argument.
    Raises:
        GraftError: the error that a process ended with, as its own class.
        StageFailed: a process died, and again when all were started again.
        RuntimeError: a process ended by a defect.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={RESTARTS}", "-m", module, str(order)]
    tail, hearer = deque[str](maxlen=60), _Hearer(on_step, on_epoch)
    with _started(command, threads) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if not hearer.hear(line.rstrip("\n")):
                tail.append(line.rstrip())
        code = launcher.wait()
    if code:
        raise StageFailed(_death(processes, code, tail))


class _Hearer:
    """Hands on what the first process tells; what is told again after a restart is left out."""

    def __init__(self, on_step: Callable[[int], None], on_epoch: Callable[[EpochScore], None]) -> None:
        self._on_step, self._on_epoch = on_step, on_epoch
        self._steps, self._epoch = 0, -1

    def hear(self, line: str) -> bool:
        """Whether it was a word."""
        word = _word(line)
        if word is None:
            return False
        if word.fault is not None:
            raise _error(*word.fault)
        if word.defect is not None:
            say("a process of the training stopped by a defect", "error", word.defect)
            raise RuntimeError(word.defect.strip().splitlines()[-1])
        if word.said is not None:
            say(*word.said)
        if word.epoch is not None and word.epoch.epoch > self._epoch:
            self._epoch = word.epoch.epoch
            self._on_epoch(word.epoch)
        if word.steps is not None and word.steps > self._steps:
            self._on_step(word.steps - self._steps)
            self._steps = word.steps
        return True


def _word(line: str) -> TrainingWord | None:
    if not line.startswith(MARK):
        return None
    try:
        return TrainingWord.model_validate_json(line.removeprefix(MARK))
    except ValidationError:
        return None


def _error(name: str, text: str) -> GraftError:
    kind = getattr(errors, name, None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, GraftError) else GraftError(text)


@contextmanager
def _started(command: list[str], threads: int) -> Iterator[subprocess.Popen[str]]:
    """The launcher, and none of its processes any more once this is left."""
    sources = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([sources, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **thread_environment(threads), **_OWN_STORE_A_START, "PYTHONPATH": paths}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as launcher:
        try:
            yield launcher
        finally:
            launcher.terminate()  # it ends the processes that it started
            try:
                launcher.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                launcher.kill()


def _death(processes: int, code: int, tail: deque[str]) -> str:
    ended = [int(match[1]) for line in tail if (match := _EXITED.search(line))]
    # Those that lost it end by themselves, with an exit code.
    number = next((-one for one in ended if one < 0), None)
    how = f"was killed by {signal.Signals(number).name}" if number else f"ended with exit code {(ended or [code])[0]}"
    hint = " (often the machine ran out of memory: each process holds a network of its own)" if number == 9 else ""
    said = "\n".join(list(tail)[-20:])
    return (
        f"one of the {processes} processes of the training {how}{hint}, and again after a restart; last lines:\n{said}"
    )

"""How long and how often remotes are asked before somebody is told that they did not take what was published."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.bounded_commands import Ended
from tasks.params import Params
from tasks.stage import say


class NotPushed(Exception):
    """The remotes could not be brought up to date; the text says why."""


@dataclass(frozen=True)
class Patience:
    """What pushing may cost.

    Attributes:
        attempts: how often one command is tried.
        pause_seconds: before the second try; doubled before each one.
        until: moment of `time.monotonic` at which all of it has ended.
    """

    attempts: int
    pause_seconds: float
    until: float = math.inf

    @classmethod
    def of(cls, params: Params) -> Patience:
        """As params.yaml has it."""
        return cls(params.publish.attempts, params.publish.retry_seconds)

    @classmethod
    def short(cls, seconds: float) -> Patience:
        """One try of each command, all of them within so many seconds."""
        return cls(1, 0.0, time.monotonic() + seconds)

    def seconds(self, most: float) -> float:
        """How long the next command may take."""
        return max(0.0, min(most, self.until - time.monotonic()))

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


def tried(patience: Patience, work: Callable[[], Ended], unless: Callable[[Ended], bool] = lambda _: False) -> Ended:
    """Several attempts with growing pauses; the last one's ending."""
    pause = patience.pause_seconds
    for _ in range(patience.attempts - 1):
        ended = work()
        if ended.ok or unless(ended):
            return ended
        say(f"the remote failed ({ended.why}); trying again in {pause:.0f} s", "warning")
        time.sleep(pause)
        pause *= 2
    return work()

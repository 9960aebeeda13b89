"""What the parts of one worker share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from deploy.admission import Admission
from deploy.engine import Answer, Engine
from deploy.metrics import Metrics
from deploy.settings import Settings


class Capture(Protocol):
    """Keeps a share of the requests; never slows one and never raises."""

    def offer(self, request_id: str, data: bytes | None, answer: Answer) -> None:
        """One answered image; `data` are its encoded bytes, None where prepared pixels were sent."""


@dataclass(frozen=True)
class Worker:
    """One server process; routers are made from it."""

    settings: Settings
    metrics: Metrics
    engine: Engine
    capture: Capture | None = None

    @cached_property
    def admission(self) -> Admission:
        """The slots of this worker, and whether it is draining, which makes it unready."""
        return Admission(self.settings.serve.queue)

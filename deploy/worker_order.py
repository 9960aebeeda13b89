"""What a parent tells a worker that it starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.load_board import LoadBoard
from deploy.settings import Settings
from tasks.params import ServeParams


@dataclass(frozen=True)
class Order:
    """What the parent wants of a worker.

    Attributes:
        descriptor: of the listening socket.
        folder: what all workers share: the board, and the files of their metrics.
        number, workers: which of how many it is.
    """

    settings: Settings
    descriptor: int
    folder: Path
    number: int
    workers: int

    def to_line(self) -> bytes:
        """One line of JSON; `from_line` gives the same back."""
        fields = {
            "serve": self.settings.serve.model_dump(mode="json"),
            "store": str(self.settings.store),
            "release": str(self.settings.release) if self.settings.release else None,
            "descriptor": self.descriptor,
            "folder": str(self.folder),
            "number": self.number,
            "workers": self.workers,
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """What `to_line` wrote."""
        fields: dict[str, Any] = json.loads(line)
        release = Path(fields["release"]) if fields["release"] else None
        settings = Settings(ServeParams.model_validate(fields["serve"]), Path(fields["store"]), release)
        return cls(settings, fields["descriptor"], Path(fields["folder"]), fields["number"], fields["workers"])

    def board(self) -> LoadBoard:
        """How many connections each worker has."""
        return LoadBoard(self.folder / "board", self.workers)

"""What scoring a folder or table came to; also kept, without the run's own figures, inside the output."""

from __future__ import annotations

from typing import Literal

from tasks.reports.document import Record, Report


class ScoreFault(Record):
    """A file without an answer."""

    path: str
    error: str


class ScoreTally(Record):
    """What an output holds.

    Attributes:
        left_out: files of the folder that are not named as images.
        predicted: how often each label is the likeliest.
        faults: the first files without an answer; the output lists all.
    """

    items: int = 0
    scored: int = 0
    failed: int = 0
    abstained: int = 0
    left_out: int = 0
    predicted: dict[str, int] = {}
    faults: list[ScoreFault] = []


class ScoreReport(Report):
    """One run of `graft score`.

    Attributes:
        state: unchanged where the output was finished before, by the same release and inputs.
        version: of the registry; None for a release folder.
        computed: rows of this run; others were taken over from an interrupted one.
    """

    state: Literal["scored", "unchanged"]
    output: str
    release: str
    version: int | None
    tally: ScoreTally
    computed: int
    seconds: float

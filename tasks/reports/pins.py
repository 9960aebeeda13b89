"""What a run pins before its first stage."""

from __future__ import annotations

from tasks.reports.document import Report


class WeightsPin(Report):
    """data/weights.json: the backbone's weights; `identity` is a sha256, or a torchvision name."""

    name: str
    identity: str


class SourcePin(Report):
    """data/source.json: the table that lists the items, and the user's own suite of expectations, if there are any."""

    table_sha256: str | None = None
    suite_sha256: str | None = None

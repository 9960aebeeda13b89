"""The file `prod` of a release store: which release servers follow."""

from __future__ import annotations

from pydantic import Field

from tasks.reports.document import Report


class ProdPointer(Report):
    """Replaced as a whole, so that a reader sees one release or the other.

    Attributes:
        number: of the change in the history that it shows.
        version: of the registry.
        manifest_sha256: the release's folder in the store.
    """

    number: int = Field(ge=1)
    version: int = Field(ge=1)
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$")

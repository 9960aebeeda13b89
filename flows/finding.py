"""One line of `graft doctor`."""

from __future__ import annotations

from typing import Literal

from tasks.reports.document import Record


class Finding(Record):
    """One check; `mend` is empty where all is well."""

    check: str
    state: Literal["ok", "note", "wrong"]
    detail: str
    mend: str = ""

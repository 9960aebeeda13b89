"""What the pages in reports/ show."""

from __future__ import annotations

from pydantic import Field

from tasks.params.section import Section


class ReportParams(Section):
    thumbnails: bool = Field(
        True, description="Show small copies of images on the pages; false leaves every image out of them."
    )

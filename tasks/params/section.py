"""The base of every section of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PathText = Annotated[str, Field(json_schema_extra={"path": "always"})]
FileOrName = Annotated[str, Field(json_schema_extra={"path": "with_suffix"})]
"""A file where the text has a folder or a suffix, else a word such as `bundled`."""


class Section(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

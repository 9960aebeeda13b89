"""Where the labelled data lie, and the embedded sample."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from tasks.params.section import PathText, Section


class ColumnNames(Section):
    """Names of a table's columns; the optional ones are used when the table has them."""

    path: str = Field(
        "path",
        description="Column with the image path, relative to the table's folder, or to data.path (data.table).",
    )
    label: str = Field("label", description="Column with the class name.")
    group: str = Field("group", description="Optional column: items of one group stay on one side of the split.")
    split: str = Field("split", description="Optional column: train, validation (val) or test; an official split.")
    domain: str = Field("domain", description="Optional column: where the item comes from.")


def _class_names(aliases: Any) -> Any:
    """YAML reads an unquoted 7 as a number: no class name, and 07 would lose its zero."""
    for name in (part for pair in aliases.items() for part in pair) if isinstance(aliases, dict) else ():
        if not isinstance(name, str) or not name:
            raise ValueError(f"class names are texts, {name!r} is none; put it into quotes")
    return aliases


def _one_step(aliases: dict[str, str]) -> dict[str, str]:
    """One alias leads straight to the name that counts, so that their order never matters."""
    for old, new in aliases.items():
        path = [old, new]
        while path[-1] in aliases and path[-1] not in path[:-1]:
            path.append(aliases[path[-1]])
        shown = " -> ".join(path)
        if path[-1] in path[:-1]:
            raise ValueError(f"{shown} goes round in a circle; an alias leads from an old name to another, new one")
        if len(path) > 2:
            raise ValueError(f"{shown} is a chain; lead both straight to the last ({old}: {path[-1]})")
    return aliases


LabelAliases = Annotated[dict[str, str], BeforeValidator(_class_names), AfterValidator(_one_step)]


class DataParams(Section):
    path: PathText = Field("data/sample", description="Folder of class folders, of train/val/test folders, or a table.")
    table: PathText | None = Field(None, description="CSV or Parquet table that lists the items below data.path.")
    columns: ColumnNames = Field(ColumnNames(), description="Column names of the table.")
    label_aliases: LabelAliases = Field({}, description="Old class name: new name; renames a class, or merges several.")


class SampleParams(Section):
    """The embedded sample: scikit-learn's scans of handwritten digits as a folder of PNGs."""

    labels_per_class: int = Field(5, ge=1, le=100, description="Labelled training images per class; the rest is test.")
    seed: int = Field(0, ge=0, description="Which images are the labelled ones.")

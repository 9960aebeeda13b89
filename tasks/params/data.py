"""Where the labelled data lie, and the embedded sample."""

from __future__ import annotations

from pydantic import Field

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


class DataParams(Section):
    path: PathText = Field("data/sample", description="Folder of class folders, of train/val/test folders, or a table.")
    table: PathText | None = Field(None, description="CSV or Parquet table that lists the items below data.path.")
    columns: ColumnNames = Field(ColumnNames(), description="Column names of the table.")


class SampleParams(Section):
    """The embedded sample: scikit-learn's scans of handwritten digits as a folder of PNGs."""

    labels_per_class: int = Field(5, ge=1, le=100, description="Labelled training images per class; the rest is test.")
    seed: int = Field(0, ge=0, description="Which images are the labelled ones.")

"""The item table as the expectations see it: what is stored, and what only all items together tell."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

_NOT_JUDGED = ["pixels", "perceptual_hash"]


def item_frame(items: pa.Table, usable: Sequence[bool]) -> pd.DataFrame:
    """The items as a data frame, quarantined ones included.

    Args:
        items: table of the schema `tasks.tables.ITEMS`.
        usable: per item, whether it is neither undecodable nor hostile; only these contents are compared.
    Returns:
        One row per item; besides the stored columns (without pixels and perceptual_hash):
        decodable: whether pixels could be had;
        shorter_side, longer_side: pixels, null where the header could not be read; aspect: their ratio, 1 and more;
        labels_of_content, sides_of_content: how many labels and official sides the item's content stands under;
        copies_of_content: how often it stands under the item's own label and side (null where unusable);
        accepted_label: the label of accepted items, else null; accepted_of_class: accepted items of the item's class.
    """
    frame = items.drop_columns(_NOT_JUDGED).to_pandas()
    frame["decodable"] = items["pixels"].is_valid().to_pandas()
    frame["shorter_side"] = frame[["width", "height"]].min(axis=1)
    frame["longer_side"] = frame[["width", "height"]].max(axis=1)
    frame["aspect"] = frame["longer_side"] / frame["shorter_side"]

    content = frame["sha256"].where(list(usable))
    frame["labels_of_content"] = frame["label"].groupby(content).transform("nunique")
    frame["sides_of_content"] = frame["split"].groupby(content).transform("nunique")
    alike = [content, frame["label"].fillna(""), frame["split"].fillna("")]
    frame["copies_of_content"] = frame["path"].groupby(alike).transform("size")

    accepted = frame["status"] == "accepted"
    frame["accepted_label"] = frame["label"].where(accepted)
    frame["accepted_of_class"] = accepted.groupby(frame["label"]).transform("sum")
    return frame

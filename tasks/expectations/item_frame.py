"""The item table as the expectations see it: what is stored, and what only all items together tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from tasks.expectations.content_counts import IntArray, codes, distinct_of_each, size_of_each

_NOT_JUDGED = ["pixels", "perceptual_hash"]


def item_frame(items: pa.Table, usable: npt.ArrayLike) -> pd.DataFrame:
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

    content = np.where(np.asarray(usable), codes(items["sha256"]), -1)
    label, split = codes(items["label"]), codes(items["split"])
    frame["labels_of_content"] = _counted(distinct_of_each(content, label), content)
    frame["sides_of_content"] = _counted(distinct_of_each(content, split), content)
    alike = (content * (label.max(initial=0) + 2) + label + 1) * (split.max(initial=0) + 2) + split + 1
    frame["copies_of_content"] = _counted(size_of_each(np.unique(alike, return_inverse=True)[1]), content)

    accepted = (frame["status"] == "accepted").to_numpy(bool)
    frame["accepted_label"] = frame["label"].where(accepted)
    frame["accepted_of_class"] = _counted(
        np.bincount(label[accepted] + 1, minlength=label.max(initial=0) + 2)[label + 1], label
    )
    return frame


def _counted(counts: IntArray, of: IntArray) -> pd.Series:
    """Counts as a column, null where what they are of is missing (-1)."""
    return pd.Series(counts if (of >= 0).all() else np.where(of >= 0, counts, np.nan))

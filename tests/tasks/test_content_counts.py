"""Counting on numbers gives what counting on strings gives."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.expectations.content_counts import codes, distinct_of_each, size_of_each

cells = st.one_of(st.none(), st.sampled_from("abc"))
rows = st.lists(st.tuples(cells, cells), max_size=30)


@given(rows, st.integers(1, 5))
def test_counts_agree_with_those_of_pandas(values: list[tuple[str | None, str | None]], chunk: int) -> None:
    frame = pd.DataFrame(values, columns=["key", "value"], dtype=object)
    columns = [
        pa.chunked_array([frame[name][at : at + chunk].to_list() for at in range(0, len(frame), chunk)], pa.string())
        for name in frame
    ]
    key, value = map(codes, columns)
    distinct = frame["value"].groupby(frame["key"]).transform("nunique").fillna(0)
    sizes = frame["key"].groupby(frame["key"]).transform("size").fillna(0)
    assert distinct_of_each(key, value).tolist() == distinct.astype(int).tolist()
    assert size_of_each(key).tolist() == sizes.astype(int).tolist()

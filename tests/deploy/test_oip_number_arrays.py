"""Arrays of numbers are read from a text's bytes as json and numpy would read them."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from deploy_marks import seeded
from hypothesis import given
from hypothesis import strategies as st

from deploy.oip import number_arrays
from deploy.oip.number_arrays import find_numbers, read_bytes
from deploy.oip.refused import Refused


def read(text: str | bytes, *shape: int) -> Any:
    data = text.encode() if isinstance(text, str) else text
    numbers, end = find_numbers(data, 0, 8)
    assert end == len(data)
    return read_bytes(numbers, shape)


def refusal(text: str | bytes, *shape: int) -> str:
    with pytest.raises(Refused) as caught:
        read(text, *shape)
    return str(caught.value)


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@seeded
@given(
    SHAPES, st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["", " ", "\n\t ", "  \r\n"]), st.integers(4, 40)
)
def test_flat_and_nested_arrays_are_read_at_every_step_width(
    shape: list[int], seed: int, flat: bool, space: str, step: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    text = json.dumps((values.reshape(-1) if flat else values).tolist(), separators=(f"{space},", ":"))
    text = text.replace("]", f"{space}]").replace("[", f"[{space}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_arrays, "STEP", step)
        found = read(text, *shape)
    assert found.dtype == np.uint8
    assert np.array_equal(found, values)


@seeded
@given(
    st.lists(st.sampled_from(["[", "]", ",", "0", "7", "25", "255", "256", "007", " ", "-1", "1.0"]), max_size=16),
    SHAPES,
    st.integers(4, 12),
)
def test_what_is_read_is_json_of_that_shape(tokens: list[str], shape: list[int], step: int) -> None:
    text = "[" + "".join(tokens) + "]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_arrays, "STEP", step)
        try:
            numbers, end = find_numbers(text.encode(), 0, 8)
            found = read_bytes(numbers, tuple(shape))
        except Refused:
            return
    meant = np.array(json.loads(text[:end]))
    assert meant.shape in (tuple(shape), (math.prod(shape),))
    assert np.array_equal(meant.reshape(shape), found)


@pytest.mark.parametrize(
    ("text", "shape", "why"),
    [
        ("[]", (1,), "fewer numbers than the 1"),
        ("[1,2,3]", (4,), "fewer"),
        ("[1,  2]", (3,), "holds 2 numbers, fewer than the 3"),
        ("[1,2,3]", (2,), "more numbers than the 2"),
        ("[[1,2],[3,4]]", (4, 1), "nested otherwise"),
        ("[[1,2],[3,4]]", (1, 2, 2), "nested otherwise"),
        ("[[1,2],[3]]", (2, 2), "nested otherwise"),
        ("[[1],[2,3,4]]", (2, 2), "nested otherwise"),
        ("[[1,2,3,4]]", (2, 2), "nested otherwise"),
        ("[1,[2],3]", (3,), "nested otherwise"),
        ("[[[1]]]", (1, 1), "nested otherwise"),
        ("[1,,2]", (2,), "no JSON array"),
        ("[1 2,3]", (3,), "no JSON array"),
        ("[1,2,]", (2,), "no JSON array"),
        ("[,1,2]", (2,), "no JSON array"),
        ("[[1],[]]", (2, 1), "no JSON array"),
        ("[[1][2]]", (2, 1), "no JSON array"),
        ("[[1],2]", (2, 1), "nested otherwise"),
        ("[256]", (1,), "integers from 0 to 255"),
        ("[-1]", (1,), "integers from 0 to 255"),
        ("[1.0]", (1,), "integers from 0 to 255"),
        ("[1e2]", (1,), "integers from 0 to 255"),
        ("[007]", (1,), "integers from 0 to 255"),
        ("[00]", (1,), "integers from 0 to 255"),
        ("[99999999999999999999999999]", (1,), "integers from 0 to 255"),
        ("[NaN]", (1,), "must hold numbers: byte 1 of the JSON is 'N'"),
        ("[true]", (1,), "must hold numbers"),
        ("[1,\u00e9]", (2,), "must hold numbers"),
        ("[[[[[[[[[1]]]]]]]]]", (1,), "nested deeper"),
        ("[1,2", (2,), "ends inside `data`"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(text: str, shape: tuple[int, ...], why: str) -> None:
    assert why in refusal(text, *shape)


@pytest.mark.parametrize("text", ["[" + "1" * 300_000 + "]", "[" * 4 + "9" * 600_000])
def test_a_number_longer_than_a_step_is_refused(text: str) -> None:
    assert "255" in refusal(text, 1) or "ends inside" in refusal(text, 1)


def test_a_shape_that_lies_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert "fewer numbers" in refusal("[1,2,3]", 64, 30_000, 30_000, 3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_large_array_takes_its_own_pixels_and_a_few_megabytes() -> None:
    shape = (20, 224, 224, 3)
    values = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    text = json.dumps(values.tolist()).encode()
    tracemalloc.start()
    try:
        found = read(text, *shape)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(found, values)
    assert peak < values.nbytes + 20_000_000

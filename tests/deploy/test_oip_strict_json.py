"""JSON of a client is read as json.loads reads it, and refused where it is not strictly JSON or beyond a bound."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from deploy_marks import seeded
from hypothesis import given
from hypothesis import strategies as st

from deploy.oip.number_arrays import Numbers
from deploy.oip.refused import Refused
from deploy.oip.strict_json import MOST_VALUES, Encoded, parse_object

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refusal(text: bytes, depth: int = 16) -> str:
    with pytest.raises(Refused) as caught:
        parse_object(text, depth)
    assert caught.value.status == 400
    assert caught.value.reason == "body"
    return str(caught.value)


@seeded
@given(st.dictionaries(st.text(), VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_what_json_writes_is_read_back_the_same(document: dict[str, Any], ascii_only: bool, indent: Any) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert parse_object(text.encode(), 64) == json.loads(text)


@seeded
@given(st.text(alphabet='{}[]",:\\ \n\tu0123456789.-+eEtruefalsn\x00\x1f\u00e9', max_size=30))
def test_what_is_taken_is_json_and_means_the_same(text: str) -> None:
    try:
        found = parse_object(text.encode(), 16)
    except Refused:
        return
    assert found == json.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "its body is empty"),
        (b" \n", "its body is empty"),
        (b"[1]", "must be an object"),
        (b"{", "key must be a text in double quotes"),
        (b'{"a":1', "expects a comma or }"),
        (b'{"a":1,}', "key must be a text in double quotes"),
        (b'{"a":[1,]}', "expects a value"),
        (b'{"a":1}x', "ends at byte 7, but more follows: 'x'"),
        (b"{'a':1}", "key must be a text in double quotes"),
        (b'{"a" 1}', "a colon must follow the key 'a'"),
        (b'{"a":NaN}', "expects a value at byte 5, found 'NaN}'"),
        (b'{"a":Infinity}', "expects a value"),
        (b'{"a":-Infinity}', "expects a value"),
        (b'{"a":01}', "expects a value"),
        (b'{"a":1.}', "expects a value"),
        (b'{"a":.5}', "expects a value"),
        (b'{"a":+5}', "expects a value"),
        (b'{"a":0x10}', "expects a comma"),
        (b'{"a":1e999}', "beyond what a float holds"),
        (b'{"a":' + b"9" * 5000 + b"}", "number of more than 32 characters"),
        (b'{"a":tru}', "expects a value"),
        (b'{"a":1,"b":2,"a":3}', "names the key 'a' twice"),
        (b'{"a":1,"\\u0061":3}', "names the key 'a' twice"),
        (b'{"a":"x', "ends inside the text that begins at byte 5"),
        (b'{"a":"x\ny"}', "control character"),
        (b'{"a":"\\x41"}', "an escape that JSON does not have"),
        (b'{"a":"\\u12"}', "an escape that JSON does not have"),
        (b'{"a":"\\ud800"}', "half a surrogate pair"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"\xff":1}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "must be an object"),
        (b"\xef\xbb\xbf{}", "must be an object"),
        (b'{"a":1}\x00', "more follows"),
        (b'{"a":/**/1}', "expects a value"),
    ],
)
def test_what_is_not_strictly_json_is_refused_with_the_reason(text: bytes, why: str) -> None:
    assert why in refusal(text)


def test_the_depth_is_bounded_wherever_it_is_and_brackets_in_texts_do_not_count() -> None:
    assert parse_object(b'{"a":[[[1]]]}', 4) == {"a": [[[1]]]}
    assert "deeper than the 3 levels" in refusal(b'{"a":[[[1]]]}', 3)
    assert "deeper than the 3 levels" in refusal(b'{"a":{"a":{"a":{}}}}', 3)
    assert parse_object(b'{"a":"[[[[[{{{{"}', 1) == {"a": "[[[[[{{{{"}
    assert "deeper" in refusal(b'{"a":' + b"[" * 1_000_000)
    assert "deeper" in refusal(b'{"inputs":[{"data":' + b"[" * 1_000_000)
    assert "deeper" in refusal(b'{"inputs":[{"data":' + b"[" * 14 + b"1" + b"]" * 14 + b"}]}")
    parse_object(b'{"inputs":[{"data":' + b"[" * 13 + b"1" + b"]" * 13 + b"}]}", 16)


def test_values_are_counted_but_not_those_of_a_tensor() -> None:
    assert f"more than {MOST_VALUES} values" in refusal(b'{"a":[' + b"0," * MOST_VALUES + b"0]}")
    assert f"more than {MOST_VALUES} values" in refusal(b'{"inputs":[{"data":["",' + b'"",' * MOST_VALUES + b'""]}]}')
    found = parse_object(b'{"inputs":[{"data":[' + b"0," * MOST_VALUES + b"0]}]}", 16)
    assert isinstance(found["inputs"][0]["data"], Numbers)


def test_tensor_data_stay_in_the_text() -> None:
    text = b'{"inputs":[{"data": [[1, 2],\n[3]] ,"shape":[2]},{"data":["a\\/b"],"x":"y"}],"data":[1]}'
    found = parse_object(text, 16)
    numbers, element = found["inputs"][0]["data"], found["inputs"][1]["data"][0]
    assert text[numbers.start : numbers.end] == b"[[1, 2],\n[3]]"
    assert (numbers.text is text, found["inputs"][0]["shape"]) == (True, [2])
    assert isinstance(element, Encoded)
    assert element.text() == "a/b"
    assert (found["inputs"][1]["x"], found["data"]) == ("y", [1])


@pytest.mark.parametrize("broken", [b'[1,"a"]', b"[1,{}]", b"[1,NaN]", b"[1,true]", b"[1", b"[[1]"])
def test_tensor_data_that_are_neither_numbers_nor_texts_are_refused(broken: bytes) -> None:
    assert "`data`" in refusal(b'{"inputs":[{"data":' + broken + b"}]}")


@pytest.mark.parametrize(
    "unit",
    [b"{},", b"[],", b"0,", b'"",', b'"\\n",', b"[", b" ", b'{"a":1},', b"1e5,", b"null,", b"\xf0\x9f\x8c\xb1"],
)
@pytest.mark.parametrize("place", [b'{"a":[', b'{"inputs":[{"data":[', b'{"inputs":[{"data":["', b'{"id":"', b'{"'])
def test_no_text_takes_more_than_twice_its_size(unit: bytes, place: bytes) -> None:
    size = 4_000_000
    text = place + unit * (size // len(unit))
    tracemalloc.start()
    try:
        parse_object(text, 16)
    except Refused:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * size

"""A model card as blocks: what a page shows of it, and that nothing of it can become markup."""

from __future__ import annotations

import doctest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deploy import card_blocks as module
from deploy.card_blocks import LONGEST, card_blocks


def text_of(spans: list[dict[str, str]]) -> str:
    return "".join(value for span in spans for value in span.values())


def test_the_example_holds() -> None:
    assert doctest.testmod(module).failed == 0


def test_headings_keep_their_level_and_what_only_looks_like_one_is_text() -> None:
    first, second, third = card_blocks("# a\n## b ##\n####### c\n#d")

    assert (first["level"], text_of(first["spans"])) == (1, "a")
    assert (second["level"], text_of(second["spans"])) == (2, "b")
    assert third == {"kind": "paragraph", "spans": [{"text": "####### c #d"}]}


def test_lines_of_one_paragraph_and_of_one_item_are_joined() -> None:
    blocks = card_blocks("one\ntwo\n\nthree\n\n- first\n  goes on\n- second\n")

    assert [text_of(block["spans"]) for block in blocks[:2]] == ["one two", "three"]
    assert [text_of(item) for item in blocks[2]["items"]] == ["first goes on", "second"]


def test_a_table_has_a_header_only_where_one_is_written() -> None:
    named, unnamed, bare = card_blocks("| a | b |\n|---|:--:|\n| 1 | 2 |\n\n| | |\n|---|---|\n| x | y |\n\n| p | q |")

    assert [text_of(cell) for cell in named["header"]] == ["a", "b"]
    assert [[text_of(cell) for cell in row] for row in named["rows"]] == [["1", "2"]]
    assert unnamed["header"] == bare["header"] == []
    assert [text_of(cell) for cell in unnamed["rows"][0]] == ["x", "y"]
    assert [text_of(cell) for cell in bare["rows"][0]] == ["p", "q"]


def test_an_escaped_bar_ends_no_cell_and_an_empty_cell_stays() -> None:
    (table,) = card_blocks("| a\\|b | | c |")

    assert [text_of(cell) for cell in table["rows"][0]] == ["a|b", "", "c"]


def test_code_and_bold_are_told_apart_and_escapes_undone() -> None:
    (block,) = card_blocks("of `a_b`, **bold** \\*plain\\* &lt;b&gt; &amp;amp; 2 * 3")

    assert block["spans"] == [
        {"text": "of "},
        {"code": "a_b"},
        {"text": ", "},
        {"strong": "bold"},
        {"text": " *plain* <b> &amp; 2 * 3"},
    ]


def test_markup_and_links_stay_text() -> None:
    hostile = "<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)> &quot;"

    assert card_blocks(hostile) == [{"kind": "paragraph", "spans": [{"text": hostile}]}]


def test_only_the_start_of_an_endless_card_is_shown() -> None:
    (block,) = card_blocks("a" * (LONGEST + 5))

    assert len(text_of(block["spans"])) == LONGEST


@given(st.text(alphabet="#-*|`\\&lt;gt;amp <>ab\n \t:", max_size=300))
def test_every_card_gives_blocks_of_the_known_kinds(card: str) -> None:
    def spans_are_sound(spans: Any) -> bool:
        return all(len(span) == 1 and set(span) <= {"text", "code", "strong"} for span in spans)

    for block in card_blocks(card):
        kind = block["kind"]
        assert kind in ("heading", "paragraph", "list", "table")
        if kind in ("heading", "paragraph"):
            assert spans_are_sound(block["spans"])
            assert kind == "paragraph" or 1 <= block["level"] <= 6
        elif kind == "list":
            assert all(spans_are_sound(item) for item in block["items"])
        else:
            assert all(spans_are_sound(cell) for row in [block["header"], *block["rows"]] for cell in row)

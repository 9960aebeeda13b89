"""A release's model card as plain blocks, so that a page can show it without ever making markup of its text."""

from __future__ import annotations

import re
from typing import Any

LONGEST = 200_000
"""Characters of a card that are shown; a real one has some two thousand."""

_HEADING = re.compile(r"(#{1,6})[ \t]+(.*)")
_ITEM = re.compile(r"[ \t]{0,3}[-*+][ \t]+(.*)")
_CELL = re.compile(r"(?<!\\)\|")
_SPAN = re.compile(
    r"(?P<code>`[^`]+`)|(?P<strong>\*\*[^*]+\*\*)|\\(?P<mark>[!-/:-@\[-`{-~])|(?P<entity>&(?:lt|gt|amp);)"
)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_Span = dict[str, str]
_Block = dict[str, Any]


def card_blocks(card: str) -> list[_Block]:
    """Headings, paragraphs, lists and tables of a card in Markdown; whatever else is in it is text.

    Returns:
        Blocks by `kind`: heading (level, spans), paragraph (spans), list (items: spans each), table (header: cells or
        [], rows: cells each; a cell is spans). A span is {"text": ...}, {"code": ...} or {"strong": ...}.

    >>> card_blocks("# A <b>\\n\\nof `x`")
    [{'kind': 'heading', 'level': 1, 'spans': [{'text': 'A <b>'}]}, \
{'kind': 'paragraph', 'spans': [{'text': 'of '}, {'code': 'x'}]}]
    """
    blocks: list[_Block] = []
    open_block: _Block | None = None
    for line in card[:LONGEST].splitlines():
        kind, text = _kind_of(line)
        if kind == "blank":
            open_block = None
        elif kind == "heading":
            level = len(line) - len(line.lstrip("#"))
            blocks.append({"kind": kind, "level": level, "spans": text})
            open_block = None
        elif open_block is not None and (kind == open_block["kind"] or kind == "paragraph"):
            _continue(open_block, kind, text)
        else:
            open_block = {"kind": kind, "lines": [text]}
            blocks.append(open_block)
    return [_finished(block) for block in blocks]


def _kind_of(line: str) -> tuple[str, str]:
    if not line.strip():
        return "blank", ""
    if heading := _HEADING.fullmatch(line):
        return "heading", heading[2].rstrip("# \t")
    if item := _ITEM.fullmatch(line):
        return "list", item[1]
    return ("table" if line.lstrip().startswith("|") else "paragraph"), line.strip()


def _continue(block: _Block, kind: str, text: str) -> None:
    """Add a line to the block that is open: the next row or item, or more of the last one."""
    if kind == block["kind"] != "paragraph":
        block["lines"].append(text)
    else:
        block["lines"][-1] += f" {text}"


def _finished(block: _Block) -> _Block:
    kind = block["kind"]
    if kind == "heading":
        return {**block, "spans": _spans(block["spans"])}
    lines: list[str] = block["lines"]
    if kind == "paragraph":
        return {"kind": kind, "spans": _spans(lines[0])}
    if kind == "list":
        return {"kind": kind, "items": [_spans(line) for line in lines]}
    headed = len(lines) > 1 and "-" in lines[1] and not lines[1].strip(" \t:|-")
    header, rows = (_cells(lines[0]), lines[2:]) if headed else ([], lines)
    return {"kind": kind, "header": header if any(header) else [], "rows": [_cells(row) for row in rows]}


def _cells(row: str) -> list[list[_Span]]:
    cells = _CELL.split(row.strip())
    return [_spans(cell.strip()) for cell in cells[1 : -1 if not cells[-1].strip() else None]]


def _spans(text: str) -> list[_Span]:
    found: list[_Span] = []
    place = 0
    for mark in _SPAN.finditer(text):
        _add_text(found, text[place : mark.start()])
        place = mark.end()
        if code := mark["code"]:
            found.append({"code": code[1:-1]})
        elif strong := mark["strong"]:
            found.append({"strong": strong[2:-2]})
        else:
            _add_text(found, mark["mark"] or _ENTITIES[mark["entity"]])
    _add_text(found, text[place:])
    return found


def _add_text(spans: list[_Span], text: str) -> None:
    if text and spans and "text" in spans[-1]:
        spans[-1]["text"] += text
    elif text:
        spans.append({"text": text})

"""Blank lines and comments between two keys of a YAML file; ruamel hangs them on what stands before them.

So a key that gets children, or a section that gets a key, would otherwise hold those lines inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

_AFTER = {CommentedMap: 2, CommentedSeq: 0}
"""Where ruamel keeps what follows an entry, among that entry's comments."""


def commented(value: Any) -> Any:
    """The same value in ruamel's types, which can hold comments."""
    if isinstance(value, dict):
        return CommentedMap({key: commented(item) for key, item in value.items()})
    return CommentedSeq([commented(item) for item in value]) if isinstance(value, list) else value


def cut_tail(document: CommentedMap, key: Sequence[str]) -> str:
    """Take the lines off that follow what an edit of `key` may lengthen; the comment on its own line stays."""
    if key[0] not in document:
        return ""
    holder, last = _end(document, key)
    token = _token(holder, last)
    if token is None:
        return ""
    line, _, tail = token.value.partition("\n")
    token.value = f"{line}\n"
    return str(tail)


def sew_tail(document: CommentedMap, key: Sequence[str], tail: str) -> None:
    """Put lines that `cut_tail` took off behind what now ends there."""
    holder, last = _end(document, key)
    token = _token(holder, last)
    if token is None:
        comments = holder.ca.items.setdefault(last, [None, None, None, None])
        comments[_AFTER[type(holder)]] = CommentToken("\n" + tail, CommentMark(0), None)
    else:
        token.value += tail


def _end(document: CommentedMap, key: Sequence[str]) -> tuple[Any, Any]:
    """The entry (its holder, its key or place) that ends what `key` leads to, as far as that exists."""
    holder: Any = document
    last: Any = key[0]
    for part in key[1:]:
        if not isinstance(holder[last], CommentedMap) or part not in holder[last]:
            break
        holder, last = holder[last], part
    while isinstance(holder[last], CommentedMap | CommentedSeq) and holder[last] and not holder[last].fa.flow_style():
        holder = holder[last]
        last = len(holder) - 1 if isinstance(holder, CommentedSeq) else next(reversed(holder))
    return holder, last


def _token(holder: Any, last: Any) -> CommentToken | None:
    comments = holder.ca.items.get(last)
    place = _AFTER[type(holder)]
    return comments[place] if comments and len(comments) > place else None

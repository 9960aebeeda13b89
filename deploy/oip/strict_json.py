"""JSON of a client: one pass over the bytes, strict as RFC 8259, bounded in depth, in values and so in memory.

`json.loads` takes 24 bytes of memory for a byte of `{},{},{}`, recurses as deep as the text, holds the interpreter's
lock from the first byte to the last, and takes duplicate keys, NaN and lone surrogates. Here arrays of numbers, nearly
all of a tensor in JSON, stay where they are in the text (`Numbers`) until shape and datatype are known.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.oip.number_arrays import find_numbers
from deploy.oip.refused import Refused

LONGEST_TEXT = 65_536
"""Bytes of a key or a text that is no tensor's element."""

MOST_VALUES = 16_384
"""Objects, arrays, texts and numbers outside of number arrays; a request has tens, or one for each of its images."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_OPENING = re.compile(rb"[\[ \t\n\r]*+")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][+-]?[0-9]++)?")
_IN_NUMBER = re.compile(rb"[-+.0-9eE]*+")
_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]*+')
_TEXT = re.compile(rb'(?:[^"\\\x00-\x1f]|\\.)*+')
_LONGEST_NUMBER = 32
_PLAIN_STEP, _TEXT_STEP = 1 << 20, 4096
"""How much an expression is given at a time: the first, so that other threads get their turn; the one that knows
escapes, because it keeps a mark for every character that it has matched."""

_BASE64_ESCAPES = (
    (b"\\/", b"/"), (b"\\u002B", b"+"), (b"\\u002b", b"+"), (b"\\u002F", b"/"), (b"\\u002f", b"/"),
    (b"\\u003D", b"="), (b"\\u003d", b"="),
)  # fmt: skip
"""As PHP and .NET write them; undone in the bytes, because a text would lie in memory several times."""

_WORDS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}


@dataclass(frozen=True)
class Encoded:
    """A text that is left as it stands in the request, without its quotes, until somebody wants it."""

    quoted: bytes

    def text(self) -> str:
        """Decoded.

        Raises:
            Refused: it is not UTF-8, has an escape that JSON does not have, or a half of a surrogate pair alone.
        """
        try:
            found = self.quoted.decode("utf-8")
            found = str(json.loads(found)) if "\\" in found else found[1:-1]
            found.encode("utf-8")
        except UnicodeDecodeError as err:
            raise Refused("the JSON holds text that is not UTF-8") from err
        except UnicodeEncodeError as err:
            raise Refused("the JSON holds half a surrogate pair (\\ud800 to \\udfff alone), which is no text") from err
        except ValueError as err:
            raise Refused(f"the JSON holds an escape that JSON does not have: {err}") from err
        return found

    def base64(self) -> bytes:
        """What it stands for as base64.

        Raises:
            ValueError: it is none.
        """
        raw = self.quoted
        for escape, plain in _BASE64_ESCAPES:
            raw = raw.replace(escape, plain)
        if b"\\" in raw:
            raise ValueError("it holds escaped characters that base64 does not have")
        return binascii.a2b_base64(memoryview(raw)[1:-1], strict_mode=True)


def parse_object(text: bytes, depth: int, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """The object that a whole request body or header is.

    Args:
        text: UTF-8 JSON.
        depth: deepest nesting of arrays and objects.
        most_values: most values outside of arrays of numbers.
    Returns:
        dicts, lists, str, int, float, bool and None; but under the key `data` of `inputs` an array of numbers is
        `Numbers` and a text is `Encoded`.
    Raises:
        Refused: it is no JSON, no object, or more than allowed; the text says at which byte.
    """
    reader = _Reader(text, depth, most_values)
    start = reader.past_space(0)
    if start == len(text):
        raise Refused("the request has no JSON: its body is empty")
    if text[start : start + 1] != b"{":
        raise Refused(f"the request's JSON must be an object, not {_shown(text, start)}")
    found, end = reader.value(start, 1, ("",))
    end = reader.past_space(end)
    if end != len(text):
        raise Refused(f"the JSON ends at byte {end}, but more follows: {_shown(text, end)}")
    return dict(found)


class _Reader:
    def __init__(self, text: bytes, depth: int, most_values: int) -> None:
        self._text = text
        self._depth = depth
        self._most_values = most_values
        self._values = 0

    def past_space(self, place: int) -> int:
        match = _SPACE.match(self._text, place)
        return match.end() if match else place

    def value(self, place: int, depth: int, path: tuple[str, ...]) -> tuple[Any, int]:
        """The value that begins at `place`, and where it ends."""
        self._values += 1
        if self._values > self._most_values:
            raise Refused(f"the JSON holds more than {self._most_values} values outside of a tensor's numbers")
        first = self._text[place : place + 1]
        if first in (b"{", b"["):
            if depth > self._depth:
                raise Refused(f"the JSON is nested deeper than the {self._depth} levels allowed (at byte {place})")
            if (
                path[-1] == "data"
                and path[:-1] == ("", "inputs", "*")
                and first == b"["
                and not self._holds_text(place)
            ):
                return find_numbers(self._text, place, self._depth - depth + 1)
            return self._array(place, depth, path) if first == b"[" else self._object(place, depth, path)
        if first == b'"':
            element = path[1:2] == ("inputs",) and path[3:4] == ("data",)
            return self._quoted(place) if element else self._short(place)
        if first in _WORDS:
            word, meaning = _WORDS[first]
            if self._text.startswith(word, place):
                return meaning, place + len(word)
        return self._number(place)

    def _holds_text(self, place: int) -> bool:
        match = _OPENING.match(self._text, place)
        return match is not None and self._text[match.end() : match.end() + 1] in (b'"', b"{")

    def _array(self, place: int, depth: int, path: tuple[str, ...]) -> tuple[list[Any], int]:
        found: list[Any] = []

        def one(place: int) -> int:
            value, end = self.value(place, depth + 1, (*path, "*"))
            found.append(value)
            return end

        return found, self._members(place, b"]", one)

    def _object(self, place: int, depth: int, path: tuple[str, ...]) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}

        def one(place: int) -> int:
            if self._text[place : place + 1] != b'"':
                raise Refused(
                    f"an object's key must be a text in double quotes (at byte {place}, {_shown(self._text, place)})"
                )
            key, end = self._short(place)
            if key in found:
                raise Refused(f"the JSON names the key {key[:40]!r} twice in one object (at byte {place})")
            end = self.past_space(end)
            if self._text[end : end + 1] != b":":
                raise Refused(f"a colon must follow the key {key[:40]!r} (at byte {end}, {_shown(self._text, end)})")
            found[key], end = self.value(self.past_space(end + 1), depth + 1, (*path, key))
            return end

        return found, self._members(place, b"}", one)

    def _members(self, place: int, closing: bytes, one: Callable[[int], int]) -> int:
        """Read members with the commas between them; where the closing bracket ends."""
        place = self.past_space(place + 1)
        if self._text[place : place + 1] == closing:
            return place + 1
        while True:
            place = self.past_space(one(place))
            mark = self._text[place : place + 1]
            if mark == closing:
                return place + 1
            if mark != b",":
                expected = f"a comma or {closing.decode()}"
                raise Refused(f"the JSON expects {expected} at byte {place}, found {_shown(self._text, place)}")
            place = self.past_space(place + 1)

    def _quoted(self, place: int) -> tuple[Encoded, int]:
        text, end = self._text, place + 1
        while True:
            reached = _reached(_PLAIN_TEXT, text, end, _PLAIN_STEP)
            if text[reached : reached + 1] == b"\\":
                reached = _reached(_TEXT, text, reached, _TEXT_STEP)
            if text[reached : reached + 1] == b'"':
                return Encoded(text[place : reached + 1]), reached + 1
            if reached == end:
                if end >= len(text):
                    raise Refused(f"the JSON ends inside the text that begins at byte {place}")
                raise Refused(f"the JSON holds a control character or a lone backslash in a text (at byte {end})")
            end = reached

    def _short(self, place: int) -> tuple[str, int]:
        quoted, end = self._quoted(place)
        if end - place > LONGEST_TEXT:
            raise Refused(f"the JSON holds a text of {end - place} bytes (at byte {place}), {LONGEST_TEXT} are allowed")
        return quoted.text(), end

    def _number(self, place: int) -> tuple[int | float, int]:
        match = _IN_NUMBER.match(self._text, place, place + _LONGEST_NUMBER + 1)
        token = match.group() if match else b""
        if len(token) > _LONGEST_NUMBER:
            raise Refused(f"the JSON holds a number of more than {_LONGEST_NUMBER} characters (at byte {place})")
        whole = _NUMBER.fullmatch(token)
        if whole is None:
            raise Refused(f"the JSON expects a value at byte {place}, found {_shown(self._text, place)}")
        end = place + len(token)
        if whole[1] is None and whole[2] is None:
            return int(token), end
        number = float(token)
        if not math.isfinite(number):
            raise Refused(f"the JSON holds a number beyond what a float holds: {token.decode()}")
        return number, end


def _reached(pattern: re.Pattern[bytes], text: bytes, place: int, step: int) -> int:
    match = pattern.match(text, place, place + step)
    return match.end() if match else place


def _shown(text: bytes, place: int) -> str:
    """What stands there, for a message: never more than a few characters, always printable."""
    if place >= len(text):
        return "the end"
    return ascii(text[place : place + 12].decode("utf-8", "replace"))

"""Arrays of numbers inside a JSON text, read without an object for each number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.oip.refused import Refused

UInt8Array = npt.NDArray[np.uint8]

STEP = 1 << 18
"""Bytes looked at in one go: what numpy holds beside the text is a few times that, and other threads get their turn."""

_SPACE, _OPEN, _CLOSE, _COMMA, _DIGIT, _IN_FLOAT, _OTHER = range(7)
_KINDS = np.full(256, _OTHER, dtype=np.uint8)
_KINDS[list(b" \t\n\r")] = _SPACE
_KINDS[ord("[")], _KINDS[ord("]")], _KINDS[ord(",")] = _OPEN, _CLOSE, _COMMA
_KINDS[list(b"0123456789")] = _DIGIT
_KINDS[list(b"+-.eE")] = _IN_FLOAT

_MAY_FOLLOW = np.zeros((7, 7), dtype=bool)
for _before, _after in (
    (_OPEN, _OPEN), (_OPEN, _DIGIT), (_DIGIT, _COMMA), (_DIGIT, _CLOSE),
    (_COMMA, _OPEN), (_COMMA, _DIGIT), (_CLOSE, _COMMA), (_CLOSE, _CLOSE),
):  # fmt: skip
    _MAY_FOLLOW[_before, _after] = True


@dataclass(frozen=True)
class Numbers:
    """An array of numbers in a text: text[start:end], from its first bracket to the one that closes it."""

    text: bytes
    start: int
    end: int


def find_numbers(text: bytes, place: int, depth: int) -> tuple[Numbers, int]:
    """The array that opens at `place`, and where it ends; what is between its brackets is not judged yet.

    Args:
        depth: deepest nesting allowed, its own brackets counted.
    Raises:
        Refused: it holds something other than numbers, is nested deeper, or does not end.
    """
    open_brackets = 0
    for start in range(place, len(text), STEP):
        kinds = _KINDS[np.frombuffer(text, np.uint8, min(STEP, len(text) - start), start)]
        levels = open_brackets + np.cumsum((kinds == _OPEN).astype(np.int32) - (kinds == _CLOSE))
        ends = np.flatnonzero(levels == 0)
        size = int(ends[0]) + 1 if len(ends) else len(kinds)
        others = np.flatnonzero(kinds[:size] == _OTHER)
        if len(others):
            at = start + int(others[0])
            raise Refused(f"`data` must hold numbers: byte {at} of the JSON is {chr(text[at])!a}")
        if int(levels[:size].max()) > depth:
            raise Refused(f"`data` is nested deeper than allowed (after byte {start} of the JSON)")
        if len(ends):
            return Numbers(text, place, start + size), start + size
        open_brackets = int(levels[-1])
    raise Refused("the JSON ends inside `data`")


def read_bytes(numbers: Numbers, shape: tuple[int, ...]) -> UInt8Array:
    """An array of integers 0 to 255, flat in row-major order or nested as its shape says.

    Args:
        shape: every dimension at least 1.
    Returns:
        `shape` uint8.
    Raises:
        Refused: other numbers, another count, another nesting, or no JSON.
    """
    count, length = math.prod(shape), numbers.end - numbers.start
    if count > (length - 1) // 2:
        raise Refused(f"`data` holds fewer numbers than the {count} of shape {list(shape)}")
    reading = _Reading(shape, np.empty(count, dtype=np.uint8))
    place = numbers.start
    while place < numbers.end:
        stop = _between_numbers(numbers, min(place + STEP, numbers.end))
        reading.take(np.frombuffer(numbers.text, np.uint8, stop - place, place), place)
        place = stop
    return reading.whole()


def _between_numbers(numbers: Numbers, stop: int) -> int:
    """A place at or shortly before `stop` that is not inside a number."""
    text = numbers.text
    for earlier in range(stop, stop - 4, -1):
        if earlier == numbers.end or not (_is_digit(text[earlier]) and _is_digit(text[earlier - 1])):
            return earlier
    raise Refused(_not_a_byte(stop))


def _is_digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39


def _not_a_byte(place: int) -> str:
    return f"a UINT8 tensor's `data` must be integers from 0 to 255 (near byte {place} of the JSON)"


class _Reading:
    """What is known of an array up to the step that was read last."""

    def __init__(self, shape: tuple[int, ...], values: UInt8Array) -> None:
        self._shape = shape
        self._values = values
        self._numbers = 0
        self._depth = 0
        self._level = 0
        self._closed = [0] * (len(shape) + 1)
        self._before = np.zeros(0, dtype=np.uint8)

    def take(self, text: UInt8Array, place: int) -> None:
        """Judge and keep the next step of the text."""
        kinds = _KINDS[text]
        digits = kinds == _DIGIT
        first = digits.copy()
        first[1:] &= ~digits[:-1]
        if bool((kinds > _DIGIT).any()):
            raise Refused(_not_a_byte(place))
        values = _values(text, digits, first, place)
        tokens = kinds[first | ((kinds != _SPACE) & ~digits)]
        self._check_order(tokens, place)
        self._check_nesting(tokens)
        self._keep(values)

    def _check_order(self, tokens: UInt8Array, place: int) -> None:
        joined = np.concatenate([self._before, tokens])
        if not bool(_MAY_FOLLOW[joined[:-1], joined[1:]].all()):
            raise Refused(f"`data` is no JSON array of numbers (near byte {place} of the JSON)")
        self._before = joined[-1:]

    def _check_nesting(self, tokens: UInt8Array) -> None:
        depths = self._depth + np.cumsum((tokens == _OPEN).astype(np.int32) - (tokens == _CLOSE))
        counts = self._numbers + np.cumsum(tokens == _DIGIT)
        if not self._level and bool((tokens == _DIGIT).any()):
            self._level = int(depths[np.argmax(tokens == _DIGIT)])
            if self._level not in (1, len(self._shape)):
                raise Refused(self._not_nested())
        if self._level and bool((depths[tokens == _DIGIT] != self._level).any()):
            raise Refused(self._not_nested())
        for level in range(1, (self._level or 0) + 1):
            closing = counts[(tokens == _CLOSE) & (depths == level - 1)]
            size = math.prod(self._shape[level - 1 :]) if self._level > 1 else math.prod(self._shape)
            expected = size * (self._closed[level] + 1 + np.arange(len(closing)))
            if self._level > 1 and bool((closing != expected).any()):
                raise Refused(self._not_nested())
            self._closed[level] += len(closing)
        if len(tokens):
            self._depth = int(depths[-1])

    def _not_nested(self) -> str:
        return (
            f"`data` is nested otherwise than its shape {list(self._shape)}; give it flat, or nested as the shape says"
        )

    def _keep(self, values: UInt8Array) -> None:
        end = self._numbers + len(values)
        if end > len(self._values):
            raise Refused(f"`data` holds more numbers than the {len(self._values)} of shape {list(self._shape)}")
        self._values[self._numbers : end] = values
        self._numbers = end

    def whole(self) -> UInt8Array:
        """The array, when all was read."""
        if self._numbers != len(self._values):
            raise Refused(
                f"`data` holds {self._numbers} numbers, fewer than the {len(self._values)} of shape {list(self._shape)}"
            )
        return self._values.reshape(self._shape)


def _values(text: UInt8Array, digits: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_], place: int) -> UInt8Array:
    """The numbers of a step: one to three digits each, none with a leading zero."""
    last = digits.copy()
    last[:-1] &= ~digits[1:]
    starts, ends = np.flatnonzero(first), np.flatnonzero(last)
    lengths = ends - starts
    figures = (text - np.uint8(48)).astype(np.uint16)
    values = figures[ends]
    values += np.where(lengths >= 1, 10 * figures[ends - np.minimum(lengths, 1)], 0).astype(np.uint16)
    values += np.where(lengths >= 2, 100 * figures[ends - np.minimum(lengths, 2)], 0).astype(np.uint16)
    wrong = (lengths > 2) | (values > 255) | ((lengths > 0) & (figures[starts] == 0))
    if bool(wrong.any()):
        raise Refused(_not_a_byte(place + int(starts[np.argmax(wrong)])))
    return values.astype(np.uint8)

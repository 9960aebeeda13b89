"""Places of the report's marks: axes, interval bars and the strength curve, in per cent of the drawing's width.

Per cent rather than pixels, so that one inline SVG fits a desktop and a phone with text of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.plots.number_text import ratio_text, signed_text, strength_text
from tasks.reports import Estimate, StrengthScore

CURVE_HEIGHT = 132
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A grid line; `place` in per cent, `text` "" where a phone has no room, `anchor` keeps outer labels inside."""

    place: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Per cent of the way from low to high, held inside the axis."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


@dataclass(frozen=True)
class Bar:
    """An interval bar: a value and its interval, in per cent of the axis."""

    name: str
    estimate: Estimate
    low: float
    value: float
    high: float
    ours: bool


@dataclass(frozen=True)
class Forest:
    """Interval bars under one axis; `line` is a limit or the zero, in per cent, None where there is none."""

    axis: Axis
    bars: tuple[Bar, ...]
    line: float | None


@dataclass(frozen=True)
class CurvePoint:
    """One strength: `x` in per cent, `y` in pixels from the top."""

    x: float
    y: float
    strength: str
    score: str
    chosen: bool


@dataclass(frozen=True)
class Curve:
    """One score over the strengths tried."""

    name: str
    points: tuple[CurvePoint, ...]
    x_ticks: tuple[Tick, ...]
    top: str
    bottom: str

    @property
    def segments(self) -> list[tuple[CurvePoint, CurvePoint]]:
        return list(zip(self.points, self.points[1:], strict=False))


def nice_axis(values: Iterable[float], low: float, high: float, signed: bool = False) -> Axis:
    """An axis that holds every value inside [low, high].

    At most five round ticks, of which the ends and the middle one are named.
    """
    inside = [min(high, max(low, value)) for value in values]
    least, most = min(inside), max(inside)
    step = next((step for step in _STEPS if _tick_count(least, most, step) <= _MOST_TICKS), _STEPS[-1])
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    last = max(last, first + 1)
    digits = 1 if step in (0.1, 0.2, 0.5) else 2 if step >= 0.01 else 3
    write = signed_text if signed else ratio_text
    named = {first, last} | ({(first + last) // 2} if (last - first) % 2 == 0 else set())
    ticks = [
        Tick(
            place=round(100 * (index - first) / (last - first), 2),
            text="" if index not in named else "0" if signed and index == 0 else write(index * step, digits),
            anchor="start" if index == first else "end" if index == last else "middle",
        )
        for index in range(first, last + 1)
    ]
    return Axis(low=first * step, high=last * step, ticks=tuple(ticks))


def _tick_count(least: float, most: float, step: float) -> int:
    return math.ceil(most / step - 1e-9) - math.floor(least / step + 1e-9) + 1


def score_forest(rows: Sequence[tuple[str, Estimate]], limit: float | None) -> Forest:
    """Interval bars of ratios; the first row is the model itself, `limit` the least value that passes."""
    marks = [bound for _, estimate in rows for bound in (estimate.low, estimate.value, estimate.high)]
    axis = nice_axis([*marks, *([] if limit is None else [limit])], 0.0, 1.0)
    return Forest(axis, _bars(axis, rows, ours=rows[0][0]), None if limit is None else axis.place(limit))


def gain_forest(rows: Sequence[tuple[str, Estimate]]) -> Forest:
    """Interval bars of differences, with a line at zero: a bar that crosses it shows no sure gain."""
    marks = [bound for _, estimate in rows for bound in (estimate.low, estimate.value, estimate.high)]
    axis = nice_axis([*marks, 0.0], -1.0, 1.0, signed=True)
    return Forest(axis, _bars(axis, rows, ours=None), axis.place(0.0))


def _bars(axis: Axis, rows: Sequence[tuple[str, Estimate]], ours: str | None) -> tuple[Bar, ...]:
    place = axis.place
    return tuple(
        Bar(name, estimate, place(estimate.low), place(estimate.value), place(estimate.high), name == ours)
        for name, estimate in rows
    )


def strength_curves(scores: Sequence[StrengthScore], chosen: float) -> tuple[Curve, ...]:
    """Out-of-fold loss and accuracy over the strengths, which stand on a logarithmic axis."""
    ordered = sorted(scores, key=lambda score: score.strength)
    if not ordered:
        return ()
    loss = [(score.strength, score.loss) for score in ordered]
    accuracy = [(score.strength, score.accuracy) for score in ordered]
    return _curve("Log loss", loss, chosen), _curve("Accuracy", accuracy, chosen)


def _curve(name: str, points: Sequence[tuple[float, float]], chosen: float) -> Curve:
    places = [math.log10(max(strength, 1e-300)) for strength, _ in points]
    left, width = places[0], places[-1] - places[0]
    scores = [score for _, score in points]
    bottom, height = min(scores), max(scores) - min(scores)
    nearest = min(points, key=lambda point: abs(point[0] - chosen))
    drawn = tuple(
        CurvePoint(
            x=round(14 + 84 * (place - left) / width, 2) if width else 56.0,
            y=round(CURVE_HEIGHT * (1 - (score - bottom) / height), 1) if height else CURVE_HEIGHT / 2,
            strength=strength_text(strength),
            score=ratio_text(score),
            chosen=strength == nearest[0],
        )
        for place, (strength, score) in zip(places, points, strict=True)
    )
    return Curve(name, drawn, _strength_ticks(drawn), ratio_text(bottom + height), ratio_text(bottom))


def _strength_ticks(points: Sequence[CurvePoint]) -> tuple[Tick, ...]:
    if len(points) == 1:
        return (Tick(points[0].x, points[0].strength),)
    ends = (Tick(points[0].x, points[0].strength), Tick(points[-1].x, points[-1].strength, "end"))
    middle = points[len(points) // 2]
    return ends if len(points) < 5 else (ends[0], Tick(middle.x, middle.strength), ends[1])

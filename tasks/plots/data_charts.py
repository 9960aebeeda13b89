"""Charts of the data page: items per class and side, and the spread of sizes, shapes, light and sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.params import Params
from tasks.plots import canvas
from tasks.plots.charts import Chart, tick_text
from tasks.plots.number_text import count_text, strength_text
from tasks.reports import Side, SplitReport, ValidationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]

MOST_BARS = 24
_BAR, _AXIS, _BINS = 24, 22, 32
_SIDES: tuple[Side, ...] = ("train", "validation", "test", "left_out")
COLOURS = {"train": canvas.OURS, "validation": canvas.OTHER, "test": canvas.MISS, "left out": canvas.REFUSE}


@dataclass(frozen=True)
class ClassCount:
    """Accepted items of one class, and how many stand on each side (in the order of `ClassCounts.sides`)."""

    label: str
    items: int
    per_side: list[int]


@dataclass(frozen=True)
class ClassCounts:
    """Every class, the largest first; `sides` is empty where nothing was split."""

    classes: list[ClassCount]
    sides: list[str]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Each side with the name of its colour in the style sheet."""
        return [(side, canvas.VARIABLES[COLOURS[side]]) for side in self.sides]

    @property
    def ratio(self) -> float:
        """Items of the largest class over those of the smallest that has any."""
        held = [one.items for one in self.classes if one.items]
        return max(held) / min(held) if held else 1.0


def class_counts(report: ValidationReport, split: SplitReport | None) -> ClassCounts:
    """Items per class from the reports."""
    sides = [side for side in _SIDES if split and sum(split.counts.get(side, {}).values())]
    classes = [
        ClassCount(label, items, [split.counts.get(side, {}).get(label, 0) for side in sides] if split else [])
        for label, items in report.items_per_label.items()
    ]
    ordered = sorted(classes, key=lambda one: (-one.items, one.label))
    return ClassCounts(ordered, [side.replace("_", " ") for side in sides])


def balance_chart(counts: ClassCounts) -> Chart | None:
    """A bar for each class, split into sides; above 24 classes a curve from the largest to the smallest."""
    if not counts.classes:
        return None
    return _bars(counts) if len(counts.classes) <= MOST_BARS else _ranks(counts)


def _bars(counts: ClassCounts) -> Chart:
    with canvas.drawing("balance", _BAR * len(counts.classes) + 4, (112, 2, 48, 2)) as drawn:
        axes = drawn.axes
        axes.set_xlim(0, max(1, *(one.items for one in counts.classes)))
        axes.set_ylim(len(counts.classes) - 0.5, -0.5)
        axes.axis("off")
        for place, one in enumerate(counts.classes):
            parts = list(zip(counts.sides, one.per_side, strict=True)) or [("", one.items)]
            ends = np.cumsum([0, *(items for _, items in parts)])
            for left, (side, items) in zip(ends, parts, strict=False):
                named = drawn.word(f"{one.label}: {count_text(items)} {side}".strip())
                axes.barh(place, items, 0.72, left, color=COLOURS.get(side, canvas.OURS), gid=named)
            axes.text(
                -0.02, place, drawn.word(one.label, 15), ha="right", va="center", transform=axes.get_yaxis_transform()
            )
            axes.text(one.items, place, f" {count_text(one.items)}", va="center")
        said = ", ".join(f"{one.label} {count_text(one.items)}" for one in counts.classes)
        return Chart("Items per class", drawn.svg(f"Items per class: {said}"))


def _ranks(counts: ClassCounts) -> Chart:
    items = [one.items for one in counts.classes]
    with canvas.drawing("balance", 180, (44, 10, 10, _AXIS + 14)) as drawn:
        axes = drawn.axes
        axes.stairs(items, fill=True, color=canvas.OURS)
        axes.set_ylim(0, max(1, *items))
        axes.set_xlim(0, len(items))
        _few_ticks(axes)
        axes.set_xlabel("classes, from the largest to the smallest", color=canvas.QUIET)
        largest, smallest = counts.classes[0], counts.classes[-1]
        said = f"{largest.label} has {count_text(largest.items)}, {smallest.label} {count_text(smallest.items)}"
        return Chart("Items per class", drawn.svg(f"Items of {len(items)} classes: {said}"))


@dataclass(frozen=True)
class Shapes:
    """Histograms over the accepted items, and a sentence for each measure that is the same for all of them."""

    charts: list[Chart]
    uniform: list[str]


@dataclass(frozen=True)
class _Measure:
    """One figure of every item; `limits` are where a warning begins, `ends` those of the axis if not the data's."""

    title: str
    values: Values
    limits: tuple[float, ...] = ()
    ends: tuple[float, float] | None = None
    log: bool = False

    @property
    def is_uniform(self) -> bool:
        return bool(self.values.min() == self.values.max())


def shapes(items: pa.Table, params: Params) -> Shapes:
    """How large, how long, how bright and how sharp; dashed lines stand where params.validate begins to warn."""
    columns = ["width", "height", "brightness", "sharpness"]
    width, height, light, sharpness = (
        column.to_numpy().astype(np.float64) for column in _accepted(items, columns).columns
    )
    if not len(width):
        return Shapes([], [])
    rules, short = params.validate_, np.minimum(width, height)
    light_limits = (rules.min_brightness, rules.max_brightness)
    measures = [
        _Measure("Shorter side, pixels", short, log=bool(short.max() > 20 * short.min())),
        _Measure("Width over height", width / height, log=True),
        _Measure("Brightness, mean grey", light, light_limits, ends=(0.0, 255.0)),
        _Measure("Sharpness, variance of the Laplacian", np.maximum(sharpness, 0.1), (rules.min_sharpness,), log=True),
    ]
    return Shapes(
        charts=[_histogram(measure) for measure in measures if not measure.is_uniform],
        uniform=[
            f"{measure.title}: {strength_text(measure.values[0])} for every image."
            for measure in measures
            if measure.is_uniform
        ],
    )


def _histogram(measure: _Measure) -> Chart:
    title, values, log = measure.title, measure.values, measure.log
    low, high = measure.ends or (float(values.min()), float(values.max()))
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high
    counts = np.histogram(values, edges)[0]
    with canvas.drawing(title, 150, (44, 10, 12, _AXIS)) as drawn:
        axes = drawn.axes
        if log:
            axes.set_xscale("log")
        axes.stairs(counts, edges, fill=True, color=canvas.OURS)
        axes.set_xlim(low, high)
        axes.set_ylim(0, max(1, int(counts.max())))
        _few_ticks(axes, (low, high) if log else None)
        for limit in measure.limits:
            if low < limit < high:
                axes.axvline(limit, color=canvas.INK, linewidth=1.5, dashes=(3, 2))
        middle = float(np.median(values))
        told = f"from {strength_text(values.min())} to {strength_text(values.max())}, median {strength_text(middle)}"
        return Chart(title, drawn.svg(f"{title}: {told}"))


def _few_ticks(axes: Axes, log_ends: tuple[float, float] | None = None) -> None:
    """Round ticks, few enough for a phone."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="y")
    axes.yaxis.set_major_formatter(lambda value, _: count_text(value))
    if log_ends is None:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.xaxis.set_major_locator(FixedLocator(_round_between(*log_ends)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: tick_text(value))


def _round_between(low: float, high: float) -> list[float]:
    """Up to six round numbers inside, evenly spread on a logarithmic axis where the range is wide."""
    from matplotlib.ticker import MaxNLocator

    if high < 4 * low:
        return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        inside = [step * 10.0**power for power in range(-12, 13) for step in steps if low <= step * 10.0**power <= high]
        if len(inside) <= 6:
            return inside
    return inside[:: len(inside) // 6 + 1]


def kinds(items: pa.Table) -> list[tuple[str, int]]:
    """Formats and pixel modes of the accepted items, the most frequent first."""
    accepted = _accepted(items, ["format", "mode"])
    found = accepted.group_by(["format", "mode"]).aggregate([([], "count_all")]).to_pylist()
    ordered = sorted(found, key=lambda one: (-one["count_all"], one["format"], one["mode"]))
    return [(f"{one['format']} {one['mode']}", one["count_all"]) for one in ordered]


def _accepted(items: pa.Table, columns: list[str]) -> pa.Table:
    """Some columns of the accepted items; chosen first, since the others may be large."""
    return items.select(columns).filter(pc.equal(items["status"], "accepted"))

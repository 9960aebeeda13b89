"""The reliability diagram: how often a prediction of a given confidence is right, before and after calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.plots import canvas
from tasks.plots.charts import Chart
from tasks.plots.number_text import count_text, counted_text, percent_text
from tasks.reports.evaluation import CalibrationReport, ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, _COUNTS = 372, 44, 10, 26, 38, 44
_BELOW = 16


@dataclass(frozen=True)
class FilledBin:
    """A bin that holds items: their mean confidence in (low, high], the share right and its interval."""

    low: float
    high: float
    items: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def filled_bins(bins: Sequence[ReliabilityBin]) -> list[FilledBin]:
    """The bins that hold items."""
    return [
        FilledBin(
            bin_.low,
            bin_.high,
            bin_.items,
            bin_.confidence,
            bin_.accuracy,
            bin_.accuracy_low,
            bin_.accuracy_high,
        )
        for bin_ in bins
        if bin_.items and bin_.confidence is not None and bin_.accuracy is not None
    ]


def reliability_chart(calibration: CalibrationReport) -> Chart | None:
    """Share right over mean confidence, with intervals, and below it the items of each bin; None without items.

    What was before stands beside it only where a temperature changed it.
    """
    after = filled_bins(calibration.after.bins)
    if not after:
        return None
    before = filled_bins(calibration.before.bins) if calibration.temperature != 1 else []
    start = _start([*before, *after])
    bottom = _BOTTOM + _COUNTS + _BELOW
    with canvas.drawing("reliability", _HEIGHT, (_LEFT, _TOP, _RIGHT, bottom)) as drawn:
        axes = drawn.axes
        _frame(axes, start)
        axes.plot([start, 1], [start, 1], color=canvas.INK, linewidth=1.5, linestyle=(0, (3, 2)))
        for bin_ in before:
            _point(drawn, bin_, "before", canvas.OTHER, _weight(bin_, before))
        for bin_ in after:
            ends, width = [bin_.accuracy_low, bin_.accuracy_high], 2 + 8 * _weight(bin_, after)
            axes.plot([bin_.confidence] * 2, ends, color=canvas.OURS, linewidth=width, alpha=0.38)
        for bin_ in after:
            _point(drawn, bin_, "calibrated" if before else "this model", canvas.OURS, _weight(bin_, after))
        _keys(drawn, bool(before))
        _counts(drawn, after, start)
        title = "How often it is right, by how sure it is"
        return Chart(title, drawn.svg(f"{title}: {_spoken(after)}"))


def _weight(bin_: FilledBin, bins: Sequence[FilledBin]) -> float:
    """In (0, 1], by the root of the items, so that what rests on few items looks light."""
    return math.sqrt(bin_.items / max(other.items for other in bins))


def _start(bins: Sequence[FilledBin]) -> float:
    """Where the axis of confidence begins: at a round place below all that is drawn."""
    lowest = min(bin_.confidence for bin_ in bins)
    return 0.5 if lowest >= 0.5 else 0.0


def _frame(axes: Axes, start: float) -> None:
    axes.set_xlim(start, 1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xticks([])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.grid(axis="y")


def _point(drawn: canvas.Drawing, bin_: FilledBin, when: str, colour: str, weight: float) -> None:
    text = (
        f"{when}: {counted_text(bin_.items, 'item')} at {percent_text(bin_.confidence)} on average, "
        f"{percent_text(bin_.accuracy)} right ({percent_text(bin_.accuracy_low)} to {percent_text(bin_.accuracy_high)})"
    )
    ours = colour == canvas.OURS
    drawn.axes.plot(
        bin_.confidence,
        bin_.accuracy,
        "o",
        ms=5 + (6 if ours else 3) * weight,
        mfc=colour if ours else canvas.CARD,
        mec=canvas.CARD if ours else colour,
        mew=1.5,
        gid=drawn.word(text, 200),
        clip_on=False,
        zorder=4 if ours else 3,
    )


def _keys(drawn: canvas.Drawing, scaled: bool) -> None:
    """What each mark is, above the axes."""
    axes = drawn.axes
    across, up = axes.bbox.width, axes.bbox.height
    place = 0.0
    for text, colour in [("before", canvas.OTHER)] * scaled + [("calibrated" if scaled else "this model", canvas.OURS)]:
        axes.plot(
            (place + 5) / across,
            1 + 16 / up,
            "o",
            ms=7,
            mfc=colour if colour == canvas.OURS else canvas.CARD,
            mec=colour,
            mew=1.5,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text((place + 15) / across, 1 + 12 / up, text, color=canvas.QUIET, transform=axes.transAxes)
        place += 15 + 6.6 * len(text) + 16
    dashes = [place / across, (place + 18) / across]
    axes.plot(
        dashes,
        [1 + 16 / up] * 2,
        color=canvas.INK,
        linewidth=1.5,
        linestyle=(0, (3, 2)),
        transform=axes.transAxes,
        clip_on=False,
    )
    axes.text((place + 23) / across, 1 + 12 / up, "ideal", color=canvas.QUIET, transform=axes.transAxes)


def _counts(drawn: canvas.Drawing, bins: Sequence[FilledBin], start: float) -> None:
    """The root of the items of each bin as bars, under the diagram and on its axis."""
    width, height = drawn.size
    place = (_LEFT / width, _BOTTOM / height, (width - _LEFT - _RIGHT) / width, _COUNTS / height)
    axes = drawn.axes.figure.add_axes(place)
    axes.set_xlim(start, 1)
    most = max(bin_.items for bin_ in bins)
    axes.set_ylim(0, math.sqrt(most))
    for bin_ in bins:
        text = f"{percent_text(bin_.low)} to {percent_text(bin_.high)}: {counted_text(bin_.items, 'item')}"
        left, right = max(bin_.low, start) + 0.002, bin_.high - 0.002
        axes.bar(
            (left + right) / 2,
            math.sqrt(bin_.items),
            right - left,
            color=canvas.OURS,
            alpha=0.6,
            gid=drawn.word(text, 200),
        )
    axes.set_yticks([math.sqrt(most)])
    axes.set_yticklabels([count_text(most)])
    axes.set_xticks([start, (start + 1) / 2, 1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.set_xlabel("how sure it is; the bars count test items", color=canvas.QUIET, labelpad=2)


def _spoken(bins: Sequence[FilledBin]) -> str:
    return "; ".join(
        f"{counted_text(bin_.items, 'item')} at {percent_text(bin_.confidence)}, {percent_text(bin_.accuracy)} right"
        for bin_ in bins
    )

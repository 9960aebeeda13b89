"""Charts of the model page: intervals of scores and gains, and what each regularisation strength gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.plots import canvas
from tasks.plots.number_text import (
    count_text,
    interval_text,
    ratio_text,
    signed_interval_text,
    signed_text,
    strength_text,
)
from tasks.reports import Estimate, StrengthScore

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_ROW, _AXIS = 46, 22


@dataclass(frozen=True)
class Chart:
    """A drawing with its title."""

    title: str
    svg: Markup


def score_forest(title: str, rows: Sequence[tuple[str, Estimate]], limit: float | None) -> Chart:
    """Interval bars of ratios; the first row is the model itself, `limit` the least value that passes."""
    marks = [*_marks(rows), *([] if limit is None else [limit])]
    texts = [(ratio_text(estimate.value), interval_text(estimate)) for _, estimate in rows]
    return _forest(title, rows, texts, (max(0.0, min(marks)), min(1.0, max(marks))), limit, ours={rows[0][0]})


def gain_forest(title: str, rows: Sequence[tuple[str, Estimate]]) -> Chart:
    """Interval bars of differences, with a line at zero: a bar that crosses it shows no sure gain."""
    marks = [*_marks(rows), 0.0]
    texts = [(signed_text(estimate.value), signed_interval_text(estimate)) for _, estimate in rows]
    ends = (max(-1.0, min(marks)), min(1.0, max(marks)))
    return _forest(title, rows, texts, ends, 0.0, ours={name for name, _ in rows})


def _marks(rows: Sequence[tuple[str, Estimate]]) -> list[float]:
    return [bound for _, estimate in rows for bound in (estimate.low, estimate.value, estimate.high)]


def _forest(
    title: str,
    rows: Sequence[tuple[str, Estimate]],
    texts: Sequence[tuple[str, str]],
    ends: tuple[float, float],
    line: float | None,
    ours: set[str],
) -> Chart:
    with canvas.drawing(title, _ROW * len(rows) + _AXIS, (2, 0, 2, _AXIS)) as drawn:
        axes = drawn.axes
        nice_ends(axes, ends)
        axes.set_ylim(_ROW * len(rows), 0)
        axes.set_yticks([])
        for place, ((name, estimate), (value, interval)) in enumerate(zip(rows, texts, strict=True)):
            top, colour = _ROW * place, canvas.OURS if name in ours else canvas.OTHER
            axes.vlines(axes.get_xticks(), top + 22, top + _ROW, color=canvas.LINE, linewidth=1)
            axes.plot([estimate.low, estimate.high], [top + 32] * 2, color=colour, linewidth=11, alpha=0.38)
            axes.plot([estimate.value] * 2, [top + 24, top + 40], color=colour, linewidth=3)
            if line is not None:
                axes.vlines(line, top + 20, top + _ROW, color=canvas.INK, linewidth=1.5, linestyle=(0, (3, 2)))
            row_text(drawn, top + 14, name, value, interval)
        said = "; ".join(
            f"{name} {value}, {interval}" for (name, _), (value, interval) in zip(rows, texts, strict=True)
        )
        return Chart(title, drawn.svg(f"{title}: {said}"))


def row_text(drawn: canvas.Drawing, baseline: float, name: str, value: str, interval: str) -> None:
    """Name at the left, value and interval at the right, above the row's bar."""
    axes = drawn.axes
    low, high = axes.get_xlim()
    pixel = (high - low) / axes.bbox.width
    axes.text(low, baseline, drawn.word(name, 24))
    axes.text(high - pixel * (8 + 6.7 * len(interval)), baseline, value, ha="right", fontweight="bold")
    axes.text(high, baseline, interval, ha="right", color=canvas.QUIET)


def nice_ends(axes: Axes, ends: tuple[float, float]) -> None:
    """Round ticks, at most four, and an axis that ends on them."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(*ends)
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks)
    labels = axes.set_xticklabels([strength_text(tick) for tick in ticks])
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def tick_text(value: float) -> str:
    """A number under an axis: short, thousands separated.

    >>> tick_text(0.001), tick_text(10000)
    ('0.001', '10,000')
    """
    return strength_text(value) if abs(value) < 1000 else count_text(value)


def strength_curves(scores: Sequence[StrengthScore], chosen: float) -> list[Chart]:
    """Out-of-fold loss and accuracy over the strengths, which stand on a logarithmic axis; none for one strength."""
    ordered = sorted(scores, key=lambda score: score.strength)
    if len(ordered) < 2:
        return []
    strengths = [score.strength for score in ordered]
    return [
        _curve("Log loss, out of fold", strengths, [score.loss for score in ordered], chosen),
        _curve("Accuracy, out of fold", strengths, [score.accuracy for score in ordered], chosen),
    ]


def _curve(title: str, strengths: Sequence[float], values: Sequence[float], chosen: float) -> Chart:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    nearest = min(range(len(strengths)), key=lambda index: abs(strengths[index] - chosen))
    with canvas.drawing(title, 180, (44, 8, 8, _AXIS + 2)) as drawn:
        axes = drawn.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: tick_text(value))
        axes.grid(axis="y")
        axes.plot(strengths, values, color=canvas.OURS, linewidth=2)
        for index, (strength, value) in enumerate(zip(strengths, values, strict=True)):
            fill, size = (canvas.OURS, 11) if index == nearest else (canvas.CARD, 7)
            said = drawn.word(f"strength {strength_text(strength)}: {ratio_text(value)}")
            axes.plot(strength, value, "o", ms=size, mfc=fill, mec=canvas.OURS, mew=2, gid=said)
        told = (
            f"from {ratio_text(min(values))} to {ratio_text(max(values))}, {ratio_text(values[nearest])} where chosen"
        )
        return Chart(title, drawn.svg(f"{title}, for {len(strengths)} strengths: {told}"))

"""What a model gains over earlier releases, drawn against the margin that may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.plots import canvas
from tasks.plots.charts import Chart, nice_ends, row_text
from tasks.plots.number_text import signed_interval_text, signed_text
from tasks.reports import Estimate

_ROW, _AXIS = 46, 22


@dataclass(frozen=True)
class GainRow:
    """A gain with its interval, and the bounds of the decision, which lie further out; None where none was taken."""

    name: str
    gain: Estimate
    decided: tuple[float, float] | None = None


def margin_chart(title: str, rows: Sequence[GainRow], margin: float) -> Chart:
    """Interval bars of gains with thin whiskers to the decision's bounds, a dashed zero, and a red line at -margin."""
    marks = [-margin, 0.0]
    for row in rows:
        marks += [row.gain.low, row.gain.high, *(row.decided or ())]
    with canvas.drawing(title, _ROW * len(rows) + _AXIS, (2, 0, 2, _AXIS)) as drawn:
        axes = drawn.axes
        nice_ends(axes, (max(-1.0, min(marks)), min(1.0, max(marks))))
        axes.set_ylim(_ROW * len(rows), 0)
        axes.set_yticks([])
        for place, row in enumerate(rows):
            top = _ROW * place
            axes.vlines(axes.get_xticks(), top + 22, top + _ROW, color=canvas.LINE, linewidth=1)
            axes.vlines(-margin, top + 20, top + _ROW, color=canvas.REFUSE, linewidth=2)
            axes.vlines(0.0, top + 20, top + _ROW, color=canvas.INK, linewidth=1.5, linestyle=(0, (3, 2)))
            if row.decided:
                axes.plot(row.decided, [top + 32] * 2, color=canvas.OURS, linewidth=2)
                axes.vlines(row.decided, top + 28, top + 36, color=canvas.OURS, linewidth=2)
            axes.plot([row.gain.low, row.gain.high], [top + 32] * 2, color=canvas.OURS, linewidth=11, alpha=0.38)
            axes.plot([row.gain.value] * 2, [top + 24, top + 40], color=canvas.OURS, linewidth=3)
            row_text(drawn, top + 14, row.name, signed_text(row.gain.value), signed_interval_text(row.gain))
        said = "; ".join(f"{row.name} {signed_text(row.gain.value)}, {signed_interval_text(row.gain)}" for row in rows)
        return Chart(title, drawn.svg(f"{title}: {said}; {signed_text(-margin)} may be lost"))

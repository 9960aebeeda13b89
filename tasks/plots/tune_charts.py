"""Charts of a search over settings: the score over the trials, and over each searched parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tasks.plots import canvas
from tasks.plots.charts import Chart, tick_text
from tasks.plots.number_text import counted_text, ratio_text, strength_text
from tasks.plots.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT, _BOX = 200, (48, 26, 12, 38)
_DECADES = 30.0
"""A parameter that spans more than this factor stands on a logarithmic axis."""

_MOST_NAMED = 6
"""So few different numbers stand side by side, like words."""


def scored(trials: Sequence[Trial]) -> list[Trial]:
    """Trials with a score, in the order in which they began."""
    return sorted((trial for trial in trials if trial.score is not None), key=lambda trial: trial.number)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the highest score, the earliest of equals; None where none is complete."""
    complete = [trial for trial in scored(trials) if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)


def history_chart(trials: Sequence[Trial], score_name: str) -> Chart | None:
    """Every score over the trials, with a line for the best complete one so far; None without a score."""
    shown, best = scored(trials), best_trial(trials)
    if not shown:
        return None
    with canvas.drawing("tune history", _HEIGHT, _BOX) as drawn:
        axes = drawn.axes
        axes.set_xlim(shown[0].number - 0.5, shown[-1].number + 0.5)
        _frame(axes, shown)
        _whole_ticks(axes)
        complete = [trial for trial in shown if trial.state == "complete"]
        running = list(accumulate((trial.score or 0.0 for trial in complete), max))
        axes.step([*(trial.number for trial in complete), shown[-1].number], [*running, *running[-1:]], **_BEST)
        _points(drawn, [(trial, float(trial.number)) for trial in shown], best)
        _keys(drawn, any(trial.state == "pruned" for trial in shown))
        axes.set_xlabel("trial", color=canvas.QUIET, labelpad=2)
        title = f"{score_name.capitalize()} over the trials"
        told = f"; the best is {ratio_text(best.score or 0.0)}, of trial {best.number}" if best else ""
        return Chart(title, drawn.svg(f"{title}: {counted_text(len(shown), 'trial')}{told}"))


_BEST: dict[str, Any] = {"where": "post", "color": canvas.INK, "linewidth": 1.5, "linestyle": (0, (3, 2))}


def parameter_charts(trials: Sequence[Trial], score_name: str) -> list[Chart]:
    """The score over each parameter that took more than one value, in the order in which the trials name them."""
    shown = scored(trials)
    keys = dict.fromkeys(key for trial in shown for key in trial.params)
    return [
        _parameter_chart(key, [trial for trial in shown if key in trial.params], score_name, best_trial(trials))
        for key in keys
        if len({str(trial.params[key]) for trial in shown if key in trial.params}) > 1
    ]


def _parameter_chart(key: str, trials: Sequence[Trial], score_name: str, best: Trial | None) -> Chart:
    values = [trial.params[key] for trial in trials]
    numbers = all(map(_is_number, values)) and len(set(values)) > _MOST_NAMED
    with canvas.drawing(f"tune {key}", _HEIGHT, (48, 8, 12, 24)) as drawn:
        _frame(drawn.axes, trials)
        places = _numeric_axis(drawn.axes, values) if numbers else _named_axis(drawn, values)
        _points(drawn, list(zip(trials, places, strict=True)), best)
        span = _span(values) if numbers else ", ".join(dict.fromkeys(map(value_text, values)))
        at = f"; the best trial took {value_text(best.params[key])}" if best and key in best.params else ""
        said = f"{score_name.capitalize()} over {key} ({span}) of {counted_text(len(trials), 'trial')}{at}"
        return Chart(short_key(key), drawn.svg(said))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _span(values: Sequence[float]) -> str:
    return f"{value_text(min(values))} to {value_text(max(values))}"


def _numeric_axis(axes: Axes, values: Sequence[float]) -> list[float]:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = min(values), max(values)
    if low > 0 and high / low > _DECADES:
        axes.set_xscale("log")
        margin = (high / low) ** 0.06
        axes.set_xlim(low / margin, high * margin)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.06 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=all(isinstance(value, int) for value in values)))
    axes.xaxis.set_major_formatter(lambda value, _: tick_text(value))
    return [float(value) for value in values]


def _named_axis(drawn: canvas.Drawing, values: Sequence[Any]) -> list[float]:
    """A place for each value, numbers first; points of one value stand beside each other."""
    ordered = sorted(
        values, key=lambda value: (not _is_number(value), value if _is_number(value) else value_text(value))
    )
    names = list(dict.fromkeys(map(value_text, ordered)))
    axes = drawn.axes
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)))
    most = max(4, 44 // len(names))
    axes.set_xticklabels([drawn.word(name, most) for name in names])
    seen = dict.fromkeys(names, 0)
    places = []
    for name in map(value_text, values):
        golden = (seen[name] * 0.618034) % 1 - 0.5
        places.append(names.index(name) + 0.4 * golden)
        seen[name] += 1
    return places


def _frame(axes: Axes, trials: Sequence[Trial]) -> None:
    from matplotlib.ticker import MaxNLocator

    scores = [trial.score or 0.0 for trial in trials]
    margin = 0.1 * (max(scores) - min(scores)) or 0.01
    axes.set_ylim(min(scores) - margin, max(scores) + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: strength_text(value))
    axes.grid(axis="y")


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: tick_text(value))


def _points(drawn: canvas.Drawing, places: Sequence[tuple[Trial, float]], best: Trial | None) -> None:
    """One mark for each trial: filled and large for the best, hollow and grey where it was pruned."""
    for trial, place in places:
        complete, chosen = trial.state == "complete", best is not None and trial.number == best.number
        colour = canvas.OURS if complete else canvas.OTHER
        said = drawn.word(f"trial {trial.number}, {trial.state}: {ratio_text(trial.score or 0.0)}", 80)
        drawn.axes.plot(
            place,
            trial.score or 0.0,
            "o",
            ms=11 if chosen else 6,
            mfc=canvas.OURS if chosen else canvas.CARD,
            mec=colour,
            mew=2 if complete else 1.5,
            gid=said,
            clip_on=False,
            zorder=4 if chosen else 3,
        )


def _keys(drawn: canvas.Drawing, pruned: bool) -> None:
    axes = drawn.axes
    across, up = axes.bbox.width, axes.bbox.height
    place = 0.0
    names = [
        ("complete", canvas.OURS, 6),
        *([("pruned", canvas.OTHER, 6)] if pruned else []),
        ("best", canvas.OURS, 10),
    ]
    for text, colour, size in names:
        fill = canvas.OURS if text == "best" else canvas.CARD
        mark: dict[str, Any] = {"ms": size, "mfc": fill, "mec": colour, "mew": 2, "clip_on": False}
        axes.plot((place + 5) / across, 1 + 16 / up, "o", transform=axes.transAxes, **mark)
        axes.text((place + 15) / across, 1 + 12 / up, text, color=canvas.QUIET, transform=axes.transAxes)
        place += 15 + 6.6 * len(text) + 16


def short_key(key: str) -> str:
    """A key of params.yaml without what all searched keys share.

    >>> short_key("adapt.method.learning_rate")
    'learning_rate'
    """
    return key.removeprefix("adapt.").removeprefix("method.")


def value_text(value: Any) -> str:
    """A value of a parameter as text, numbers short.

    >>> value_text(0.00031622), value_text(True), value_text(None), value_text(12)
    ('0.000316', 'yes', 'not set', '12')
    """
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return strength_text(value)
    return str(value)

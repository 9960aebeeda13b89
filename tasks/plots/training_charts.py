"""Learning curves: log loss and accuracy over the epochs, with the chosen epoch, the probe's level and the rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.plots import canvas
from tasks.plots.charts import Chart
from tasks.plots.number_text import count_text, counted_text, ratio_text, strength_text
from tasks.reports import EpochScore, TrainingReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT, _LEFT, _RIGHT, _TOP, _STRIP = 256, 44, 10, 26, 72
_MOST_POINTS, _MOST_MARKS = 300, 30


def learning_curves(training: TrainingReport, name: str) -> list[Chart]:
    """Loss with the learning rate beneath, then accuracy; none for a run without an epoch.

    Args:
        name: of the run, one of its own on the page.
    """
    epochs = _thinned(training.epochs, training.best_epoch)
    if not any(score.epoch and (score.loss is not None or score.training_loss is not None) for score in epochs):
        return []
    probe = training.against_probe
    charts = [_loss_chart(training, epochs, name, probe.probe_loss if probe else None)]
    if any(score.accuracy is not None for score in epochs):
        charts.append(_accuracy_chart(training, epochs, name, probe.probe_accuracy if probe else None))
    return charts


def _thinned(epochs: Sequence[EpochScore], best: int) -> list[EpochScore]:
    """Every so many epochs where there are very many; the first, the chosen and the last always."""
    ordered = sorted(epochs, key=lambda score: score.epoch)
    step = 1 + len(ordered) // _MOST_POINTS
    last = ordered[-1].epoch if ordered else 0
    return [score for place, score in enumerate(ordered) if place % step == 0 or score.epoch in (best, last)]


def _loss_chart(training: TrainingReport, epochs: list[EpochScore], name: str, probe: float | None) -> Chart:
    title = "Log loss"
    judged = [(score.epoch, score.loss) for score in epochs if score.loss is not None]
    trained = [(score.epoch, score.training_loss) for score in epochs if score.training_loss is not None]
    with canvas.drawing(f"{name} loss", _HEIGHT, (_LEFT, _TOP, _RIGHT, _STRIP)) as drawn:
        _frame(drawn.axes, epochs)
        _line(drawn, trained, canvas.OTHER, "training loss", None)
        _line(drawn, judged, canvas.OURS, "log loss", training.best_epoch)
        levels = [] if probe is None else [_level(drawn.axes, probe)]
        _set_range(drawn.axes, [*(value for _, value in (*trained, *judged)), *levels], None)
        _keys(drawn, [("training", canvas.OTHER, False)] * bool(trained) + _judged_keys(judged, probe))
        _rate_strip(drawn, epochs)
        said = [f"training from {_ends(trained)}"] * bool(trained)
        said += [f"held out from {_ends(judged)}, {_at(judged, training.best_epoch)} where chosen"] * bool(judged)
        return Chart(title, drawn.svg(f"{title} over {_epochs_text(training)}: {'; '.join(said)}"))


def _accuracy_chart(training: TrainingReport, epochs: list[EpochScore], name: str, probe: float | None) -> Chart:
    title = "Accuracy"
    judged = [(score.epoch, score.accuracy) for score in epochs if score.accuracy is not None]
    with canvas.drawing(f"{name} accuracy", _HEIGHT, (_LEFT, _TOP, _RIGHT, 38)) as drawn:
        _frame(drawn.axes, epochs)
        _line(drawn, judged, canvas.OURS, "accuracy", training.best_epoch)
        levels = [] if probe is None else [_level(drawn.axes, probe)]
        _set_range(drawn.axes, [*(value for _, value in judged), *levels], 1.0)
        _keys(drawn, _judged_keys(judged, probe))
        drawn.axes.set_xlabel("epoch", color=canvas.QUIET, labelpad=2)
        level = "" if probe is None else f"; the linear probe {ratio_text(probe)}"
        said = f"from {_ends(judged)}, {_at(judged, training.best_epoch)} where chosen{level}"
        return Chart(title, drawn.svg(f"{title} over {_epochs_text(training)}: {said}"))


def _judged_keys(judged: Sequence[object], probe: float | None) -> list[tuple[str, str, bool]]:
    keys = [("held out", canvas.OURS, False)] * bool(judged)
    return keys + ([] if probe is None else [("linear probe", canvas.INK, True)])


def _frame(axes: Axes, epochs: Sequence[EpochScore]) -> None:
    from matplotlib.ticker import MaxNLocator

    only = 0.5 if epochs[0].epoch == epochs[-1].epoch else 0.0
    axes.set_xlim(epochs[0].epoch - only, epochs[-1].epoch + only)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: count_text(value))
    axes.yaxis.set_major_formatter(lambda value, _: strength_text(value))
    axes.grid(axis="y")


def _set_range(axes: Axes, values: Sequence[float], most: float | None) -> None:
    """All values with some air, never beyond what a value can be: from 0 to `most`."""
    low, high = min(values), max(values)
    air = 0.12 * (high - low) or 0.02
    axes.set_ylim(max(0.0, low - air), high + air if most is None else min(most, high + air))


def _line(
    drawn: canvas.Drawing, points: Sequence[tuple[int, float]], colour: str, what: str, chosen: int | None
) -> None:
    """A curve; few enough points are marked, each saying its value, and the chosen one is larger and filled."""
    axes = drawn.axes
    axes.plot([epoch for epoch, _ in points], [value for _, value in points], color=colour, linewidth=2)
    for epoch, value in points:
        if epoch != chosen and len(points) > _MOST_MARKS:
            continue
        fill, size = (colour, 11) if epoch == chosen else (canvas.CARD, 6)
        start = "start" if epoch == 0 else f"epoch {epoch}"
        said = drawn.word(f"{start}{', chosen' if epoch == chosen else ''}: {what} {ratio_text(value)}", 60)
        axes.plot(epoch, value, "o", ms=size, mfc=fill, mec=colour, mew=2, gid=said, clip_on=False, zorder=3)


def _level(axes: Axes, value: float) -> float:
    axes.axhline(value, color=canvas.INK, linewidth=1.5, linestyle=(0, (3, 2)))
    return value


def _keys(drawn: canvas.Drawing, keys: Sequence[tuple[str, str, bool]]) -> None:
    """What each line is, above the axes."""
    axes = drawn.axes
    across, up = axes.bbox.width, axes.bbox.height
    place = 0.0
    for text, colour, dashed in keys:
        axes.plot(
            [place / across, (place + 18) / across],
            [1 + 16 / up] * 2,
            color=colour,
            linewidth=1.5 if dashed else 2.5,
            linestyle=(0, (3, 2)) if dashed else "-",
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text((place + 23) / across, 1 + 12 / up, text, color=canvas.QUIET, transform=axes.transAxes)
        place += 23 + 6.6 * len(text) + 16


def _rate_strip(drawn: canvas.Drawing, epochs: Sequence[EpochScore]) -> None:
    """The learning rate as a small area under the epochs' axis, its highest value beside it."""
    width, height = drawn.size
    rates = [(score.epoch, score.rate) for score in epochs if score.epoch]
    highest = max(rate for _, rate in rates)
    if not highest:
        return
    axes = drawn.axes.figure.add_axes((_LEFT / width, 4 / height, (width - _LEFT - _RIGHT) / width, 24 / height))
    axes.set_xlim(drawn.axes.get_xlim())
    axes.set_ylim(0, highest * 1.05)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.fill_between(
        [epoch for epoch, _ in rates], [rate for _, rate in rates], color=canvas.OTHER, alpha=0.38, linewidth=0
    )
    axes.text(
        1,
        1.12,
        f"learning rate, up to {strength_text(highest)}",
        color=canvas.QUIET,
        ha="right",
        transform=axes.transAxes,
    )


def _ends(points: Sequence[tuple[int, float]]) -> str:
    return f"{ratio_text(points[0][1])} to {ratio_text(points[-1][1])}" if points else ""


def _at(points: Sequence[tuple[int, float]], epoch: int) -> str:
    return next((ratio_text(value) for at, value in points if at == epoch), "unknown")


def _epochs_text(training: TrainingReport) -> str:
    return counted_text(max(score.epoch for score in training.epochs), "epoch")

"""Charts: what they say, where their marks stand, and that they follow the page's colours on every machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import page_sources
import pyarrow as pa
import pytest

from tasks.params import Params
from tasks.plots import canvas
from tasks.plots.charts import Chart, gain_forest, score_forest, strength_curves
from tasks.plots.data_charts import ClassCount, ClassCounts, Shapes, balance_chart, shapes
from tasks.reports import Estimate, StrengthScore
from tasks.tables import ITEMS

REPORT = page_sources.evaluation(page_sources.DIGITS)
ROWS = [("this model", REPORT.accuracy), *((baseline.name, baseline.accuracy) for baseline in REPORT.baselines)]


def paths(chart: Chart, colour: str) -> list[list[float]]:
    """The numbers of every path that is stroked or filled with a colour of the style sheet."""
    drawn = re.findall(rf'<path[^>]*="var\(--{colour}\)"[^>]* d="([^"]*)"', chart.svg)
    return [[float(number) for number in re.findall(r"-?[\d.]+", path)] for path in drawn]


def items(width: list[int], **columns: list[float]) -> pa.Table:
    blank = dict.fromkeys(ITEMS.names)
    rows = [
        blank | {"status": "accepted", "width": value, "height": 100, "brightness": 120.0, "sharpness": 300.0}
        for value in width
    ]
    return pa.Table.from_pylist([{**row, **{k: v[i] for k, v in columns.items()}} for i, row in enumerate(rows)], ITEMS)


def every_chart() -> Iterator[Chart]:
    yield score_forest("Accuracy", ROWS, 0.8)
    yield gain_forest("Gain", [(baseline.name, baseline.gain) for baseline in REPORT.baselines])
    adaptation = page_sources.adaptation(REPORT)
    yield from strength_curves(adaptation.scores, adaptation.strength)
    for classes in (2, 130):
        counts = [ClassCount(f"class {index}", index + 1, []) for index in range(classes)]
        chart = balance_chart(ClassCounts(counts, []))
        assert chart
        yield chart
    yield from shapes(items([80, 100, 4000], brightness=[9, 99, 250], sharpness=[3, 30, 300]), Params()).charts


def test_every_chart_is_drawn_in_the_page_s_colours_and_says_what_it_shows() -> None:
    charts = list(every_chart())
    assert len(charts) == 10
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(|style=|font-family|clip-path", chart.svg.replace('href="#', ""))
        assert re.match(r'<svg class="chart" viewBox="0 0 340 \d+" role="img" aria-label="[^"]{20,}"', chart.svg)
        assert len(chart.svg) < 12_000


def test_equal_inputs_give_equal_drawings() -> None:
    assert [chart.svg for chart in every_chart()] == [chart.svg for chart in every_chart()]


def test_bars_stand_in_the_order_of_their_values_and_the_limit_between_them() -> None:
    chart = score_forest("Accuracy", [("ours", REPORT.accuracy), ("theirs", REPORT.baselines[1].accuracy)], 0.9)
    (ours, ours_mark), (theirs, theirs_mark) = paths(chart, "ours"), paths(chart, "other")
    assert ours[0] < ours_mark[0] < ours[2]
    assert theirs[0] < theirs_mark[0] < theirs[2] < ours[0]
    limits = [path for path in paths(chart, "text") if path[0] == path[2]]
    assert theirs_mark[0] < limits[0][0] < ours_mark[0]
    value = REPORT.accuracy
    assert f"ours {value.value:.3f}, {value.low:.3f}\N{EN DASH}{value.high:.3f}; theirs" in chart.svg


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_an_estimate_without_width_can_be_drawn(value: float) -> None:
    flat = Estimate(value=value, low=value, high=value, method="wilson")
    assert f"{value:.3f}" in score_forest("Accuracy", [("ours", flat)], None).svg
    assert "over" in gain_forest("Gain", [("over nothing", flat)]).svg


def test_the_chosen_strength_is_the_one_that_is_marked() -> None:
    scores = [StrengthScore(strength=10.0**power, loss=abs(power) + 1.0, accuracy=0.9) for power in (2, -2, 0)]
    loss, _ = strength_curves(scores, chosen=1.1)
    points = re.findall(r"<g><title>([^<]*)</title>(.*?)</g>", loss.svg)
    assert [title for title, _ in points] == ["strength 0.01: 3.000", "strength 1: 1.000", "strength 100: 3.000"]
    filled = [title for title, marks in points if 'fill="var(--ours)"' in marks]
    assert filled == ["strength 1: 1.000"]
    assert strength_curves(scores[:1], chosen=1.0) == []


def test_bars_of_classes_are_as_long_as_their_sides() -> None:
    counts = ClassCounts([ClassCount("cat", 100, [60, 40]), ClassCount("dog", 50, [50, 0])], ["train", "test"])
    chart = balance_chart(counts)
    assert chart
    lengths = [max(path[0::2]) - min(path[0::2]) for path in paths(chart, "ours")]
    assert lengths[0] / lengths[1] == pytest.approx(60 / 50, abs=0.01)
    assert "cat 100, dog 50" in chart.svg
    assert "<title>cat: 60 train</title>" in chart.svg


def test_histograms_show_where_a_warning_begins_only_inside_their_range() -> None:
    drawn = shapes(items([90, 95], brightness=[60, 70], sharpness=[3.0, 300.0]), Params()).charts
    assert [len(re.findall("stroke-dasharray", chart.svg)) for chart in drawn] == [0, 0, 2, 1]
    assert "from 90 to 95, median 92.5" in drawn[0].svg


def test_what_is_the_same_for_every_image_is_a_sentence_and_no_chart() -> None:
    found = shapes(items([100] * 5, brightness=[1, 2, 3, 4, 5]), Params())
    assert [chart.title for chart in found.charts] == ["Brightness, mean grey"]
    assert found.uniform[:2] == ["Shorter side, pixels: 100 for every image.", "Width over height: 1 for every image."]
    assert shapes(items([]), Params()) == Shapes([], [])


@pytest.mark.parametrize("spread", [1.01, 2.0, 3.9, 30.0, 1e5])
def test_every_spread_of_values_gets_ticks(spread: float) -> None:
    values = list(np.geomspace(50, 50 * spread, 7))
    chart = shapes(items([100] * 7, sharpness=values), Params()).charts[0]
    assert chart.svg.count('text-anchor="middle"') >= 2


def test_names_are_clipped_by_their_width_and_whole_in_the_title() -> None:
    with canvas.drawing("names", 60, (0, 0, 0, 0)) as drawn:
        for place, name in enumerate(("short", "a" * 30, "猫" * 12, "<b>$x$</b>")):
            drawn.axes.text(0.1, place / 4, drawn.word(name, 12))
        svg = drawn.svg("names")
    assert f">{'a' * 11}…<title>{'a' * 30}</title>" in svg
    assert f">{'猫' * 5}…<title>{'猫' * 12}</title>" in svg
    assert "&lt;b&gt;$x$&lt;/b&gt;" in svg
    assert ">short</text>" in svg

"""Charts of training and calibration: where their marks stand, what they say, and which are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import page_sources
import pytest

from tasks.plots.block_picture import amount_text, block_picture, depth_text
from tasks.plots.charts import Chart
from tasks.plots.number_text import percent_text
from tasks.plots.reliability_chart import filled_bins, reliability_chart
from tasks.plots.training_charts import learning_curves
from tasks.reports import BlockState, TrainingReport
from tasks.reports.evaluation import ReliabilityBin

RUN = page_sources.training()
CALIBRATION = page_sources.calibration(page_sources.DIGITS)


def points(chart: Chart) -> list[tuple[str, str]]:
    """Title and marks of everything in a chart that says what it is."""
    return re.findall(r"<g><title>([^<]*)</title>(.*?)</g>", chart.svg)


def boxes(chart: Chart) -> list[tuple[str, float, bool]]:
    """Title, width in pixels and whether it has the colour of what was trained, of each box from left to right."""
    found = []
    for title, marks in points(chart):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", marks.partition(' d="')[2].partition('"')[0])]
        found.append((title, max(numbers[0::2]) - min(numbers[0::2]), 'fill="var(--ours)"' in marks))
    return found


def heights(chart: Chart, what: str) -> list[float]:
    """Where each point of a line stands, from the top, by its title."""
    return [float(re.findall(r' y="([\d.]+)"', marks)[0]) for title, marks in points(chart) if f": {what} " in title]


def every_chart() -> Iterator[Chart]:
    yield from learning_curves(RUN, "fine_tune")
    yield from learning_curves(page_sources.training(0.64, None, epochs=60, best=52, trained=19), "scratch")
    for count, trained in ((19, 4), (60, 60), (2, 1)):
        picture = block_picture(page_sources.training(count=count, trained=trained), f"run {count}")
        assert picture
        yield picture
    reliability = reliability_chart(CALIBRATION)
    assert reliability
    yield reliability


def test_every_chart_is_drawn_in_the_page_s_colours_and_says_what_it_shows() -> None:
    charts = list(every_chart())
    assert len(charts) == 8
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(|style=|font-family|clip-path", chart.svg.replace('href="#', ""))
        assert re.match(r'<svg class="chart" viewBox="0 0 340 \d+" role="img" aria-label="[^"]{40,}"', chart.svg)
        assert len(chart.svg) < 18_000


def test_equal_runs_give_equal_drawings() -> None:
    assert [chart.svg for chart in every_chart()] == [chart.svg for chart in every_chart()]


def test_only_the_chosen_epoch_is_filled() -> None:
    loss, accuracy = learning_curves(RUN, "run")
    for chart in (loss, accuracy):
        filled = [title for title, marks in points(chart) if 'fill="var(--ours)"' in marks]
        assert len(filled) == 1
        assert filled[0].startswith("epoch 9, chosen: ")
    assert points(accuracy)[0][0] == "start: accuracy 0.948"


def test_points_stand_as_high_as_their_values() -> None:
    _, accuracy = learning_curves(RUN, "run")
    values = [score.accuracy or 0.0 for score in RUN.epochs]
    drawn = heights(accuracy, "accuracy")
    assert len(drawn) == len(values) == 13
    for (low, high), (first, second) in zip(pairwise(drawn), pairwise(values), strict=True):
        assert (low > high) == (first < second)


def test_the_probe_s_level_is_drawn_where_the_probe_was_measured() -> None:
    with_probe, without = learning_curves(RUN, "a"), learning_curves(page_sources.training(probe=None), "b")
    assert all("linear probe</text>" in chart.svg and "stroke-dasharray" in chart.svg for chart in with_probe)
    assert not any("linear probe</text>" in chart.svg or "stroke-dasharray" in chart.svg for chart in without)


def test_the_learning_rate_is_a_strip_under_the_loss_with_its_highest_value() -> None:
    loss, accuracy = learning_curves(RUN, "run")
    assert "learning rate, up to 0.001</text>" in loss.svg
    assert "learning rate" not in accuracy.svg


def test_a_run_that_nothing_judged_has_its_training_loss_alone() -> None:
    (loss,) = learning_curves(page_sources.training(judged_by="nothing", probe=None), "run")
    assert "training</text>" in loss.svg
    assert "held out" not in loss.svg


def test_a_run_that_ended_before_its_first_epoch_has_no_curve() -> None:
    assert learning_curves(RUN.model_copy(update={"epochs": RUN.epochs[:1], "best_epoch": 0}), "run") == []


def test_an_accuracy_is_never_drawn_on_an_axis_beyond_one() -> None:
    flat = page_sources.training(1.0, 1.0, epochs=2, best=2)
    same = [score.model_copy(update={"accuracy": 1.0}) for score in flat.epochs]
    _, accuracy = learning_curves(flat.model_copy(update={"epochs": same}), "run")
    ticks = [float(text) for text in re.findall(r'text-anchor="end"[^>]*>([\d.]+)</text>', accuracy.svg)]
    assert ticks
    assert max(ticks) <= 1.0


@pytest.mark.filterwarnings("error")
def test_a_run_of_one_epoch_that_nothing_judged_can_be_drawn() -> None:
    run = page_sources.training(judged_by="nothing", probe=None, epochs=1, best=1)
    (loss,) = learning_curves(run.model_copy(update={"epochs": run.epochs[1:]}), "run")
    assert len(re.findall("<title>epoch 1", loss.svg)) == 1


def test_thousands_of_epochs_cost_no_more_than_a_few_hundred() -> None:
    long = page_sources.training(epochs=5000, best=4321)
    charts = learning_curves(long, "run")
    assert all(len(chart.svg) < 18_000 for chart in charts)
    assert [title for title, _ in points(charts[1])] == ["epoch 4321, chosen: accuracy 0.962"]
    assert "over 5,000 epochs" in charts[0].svg


def test_boxes_follow_the_root_of_the_parameters_and_tell_what_was_trained() -> None:
    picture = block_picture(page_sources.training(count=19, trained=4), "run")
    assert picture
    drawn = boxes(picture)
    assert [trained for *_, trained in drawn] == [False] * 15 + [True] * 5
    # features.18 has (19 / 10)^2 times the parameters of features.9.
    assert drawn[18][1] / drawn[9][1] == pytest.approx(1.9, rel=0.01)
    assert drawn[0][0] == "features.0: 900 parameters, frozen"
    assert "Frozen: features.0 to features.14, 1.1 million parameters." in picture.svg
    assert "Trained: features.15 to head" in picture.svg


@pytest.mark.parametrize("count", [1, 19, 60, 200])
def test_every_number_of_blocks_fits_a_phone(count: int) -> None:
    picture = block_picture(page_sources.training(count=count, trained=1), "run")
    assert picture
    drawn = boxes(picture)
    assert len(drawn) == count + 1
    assert sum(width for _, width, _ in drawn) <= 340
    assert min(width for _, width, _ in drawn) > 0.3


def test_a_run_without_blocks_has_no_picture() -> None:
    empty = RUN.model_copy(update={"blocks": []})
    assert block_picture(empty, "run") is None


@pytest.mark.parametrize(
    ("count", "trained", "says"),
    [
        (19, 4, "4 of 19 blocks and the head: 1.1 of 2.2 million parameters"),
        (19, 19, "All 19 blocks and the head: all 2.2 million parameters"),
        (19, 0, "0 of 19 blocks and the head: 13 thousand of 2.2 million parameters"),
        (1, 1, "The only block and the head: all 14 thousand parameters"),
    ],
)
def test_depth_is_told_in_blocks_and_parameters(count: int, trained: int, says: str) -> None:
    assert depth_text(page_sources.blocks(count, trained)) == says


def test_a_block_without_parameters_still_has_a_box() -> None:
    blocks = [BlockState(name=name, parameters=0, trained=True) for name in ("pool", "head")]
    picture = block_picture(TrainingReport.model_copy(RUN, update={"blocks": blocks}), "run")
    assert picture
    assert [width > 100 for _, width, _ in boxes(picture)] == [True, True]


@pytest.mark.parametrize(("parameters", "text"), [(999, "999"), (999_600, "1.0 million"), (86_567_656, "87 million")])
def test_numbers_of_parameters_are_short(parameters: int, text: str) -> None:
    assert amount_text(parameters) == text


def test_each_bin_stands_at_its_confidence_and_share_right() -> None:
    chart = reliability_chart(CALIBRATION)
    assert chart
    after = filled_bins(CALIBRATION.after.bins)
    marks = [(title, mark) for title, mark in points(chart) if title.startswith("calibrated: ")]
    assert len(marks) == len(after)
    across = [float(re.findall(r' x="([\d.]+)"', mark)[0]) for _, mark in marks]
    down = [float(re.findall(r' y="([\d.]+)"', mark)[0]) for _, mark in marks]
    assert across == sorted(across)
    for (first, second), (low, high) in zip(pairwise(after), pairwise(down), strict=True):
        assert (low > high) == (first.accuracy < second.accuracy)
    counted = [title for title, _ in points(chart) if re.match(r"\d+% to \d+%: ", title)]
    assert [int(title.split()[-2]) for title in counted] == [bin_.items for bin_ in after]


def test_what_was_before_is_drawn_only_where_a_temperature_changed_it() -> None:
    unscaled = reliability_chart(page_sources.calibration(page_sources.DIGITS, temperature=1.0))
    scaled = reliability_chart(CALIBRATION)
    assert scaled
    assert unscaled
    assert "before</text>" in scaled.svg
    assert "before" not in unscaled.svg
    assert "this model</text>" in unscaled.svg


def test_empty_bins_are_no_points_and_no_bins_no_chart() -> None:
    empty = ReliabilityBin(
        low=0.0, high=0.5, items=0, confidence=None, accuracy=None, accuracy_low=0.0, accuracy_high=1.0
    )
    nothing = CALIBRATION.after.model_copy(update={"bins": [empty]})
    assert filled_bins([empty, *CALIBRATION.after.bins]) == filled_bins(CALIBRATION.after.bins)
    assert reliability_chart(CALIBRATION.model_copy(update={"after": nothing})) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0%"),
        (0.0001, "under 0.1%"),
        (0.004, "0.4%"),
        (0.5, "50%"),
        (0.9962, "99.6%"),
        (0.99996, "over 99.9%"),
        (1.0, "100%"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(value: float, text: str) -> None:
    assert percent_text(value) == text

"""Which int8 variant is released: the rule as a table of cases, and what no better figure may ever do."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.params.release import Int8Params
from tasks.quantization.decision import Candidate, decide
from tasks.reports import Estimate
from tasks.reports.quantization import VariantName

NAMES: tuple[VariantName, ...] = get_args(VariantName)
PARAMS = Int8Params(accuracy_margin=0.02, macro_f1_margin=0.03, min_speedup=1.1, max_size_ratio=0.6)


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, method="made up")


def candidate(name: VariantName, speed: float = 2.0, accuracy: float = 0.0, macro_f1: float = 0.0) -> Candidate:
    return Candidate(name, 0.3, estimate(speed, 0.02), estimate(accuracy), estimate(macro_f1))


GOOD = [candidate(name, speed) for name, speed in zip(NAMES, (1.3, 1.5, 1.8, 2.0), strict=True)]


def change(name: VariantName, **changes: object) -> list[Candidate]:
    return [replace(each, **changes) if each.name == name else each for each in GOOD]


@pytest.mark.parametrize(
    ("candidates", "released"),
    [
        (GOOD, "per_tensor"),
        (change("per_tensor", accuracy_gain=estimate(-0.011)), "per_channel"),
        (change("per_tensor", macro_f1_gain=estimate(-0.021)), "per_channel"),
        (change("per_tensor", macro_f1_gain=estimate(-0.0199)), "per_tensor"),
        (change("per_tensor", faults=("class_recall",)), "per_channel"),
        (change("per_tensor", size_ratio=0.61), "per_channel"),
        (change("per_tensor", speedup=estimate(1.11, 0.02)), "per_channel"),
        (change("per_tensor", speedup=None), "per_channel"),
        (change("per_channel", accuracy_gain=estimate(-0.5)), "fp32_stem"),
        (change("fp32_sensitive", accuracy_gain=estimate(-0.5)), None),
        (change("fp32_sensitive", speedup=estimate(0.5)), "per_tensor"),
        (change("fp32_sensitive", accuracy_gain=None), None),
        (change("per_channel", speedup=estimate(1.97, 0.02)), "per_channel"),
        (change("per_channel", speedup=estimate(1.95, 0.02)), "per_tensor"),
        ([replace(each, speedup=estimate(1.0)) for each in GOOD], None),
        ([replace(each, size_ratio=1.0) for each in GOOD], None),
        ([], None),
    ],
    ids=[
        "all pass, the fastest",
        "accuracy",
        "macro-F1",
        "macro-F1 just kept",
        "a rule of the gate",
        "too large",
        "lower bound too slow",
        "not measured",
        "what is rougher than a failed one is not judged",
        "the gentlest failed",
        "too slow takes its place in the order and blocks nobody",
        "accuracy not measured",
        "a tie goes to the gentler",
        "no tie",
        "none faster",
        "none smaller",
        "nothing built",
    ],
)
def test_the_fastest_that_passed_is_released(candidates: list[Candidate], released: VariantName | None) -> None:
    assert decide(candidates, PARAMS).variant == released


def test_a_bound_that_lies_on_the_margin_is_not_shown_to_keep_it() -> None:
    on_it = Estimate(value=0.0, low=-0.02, high=0.02, method="made up")
    assert decide(change("fp32_sensitive", accuracy_gain=on_it), PARAMS).variant is None


def test_every_reason_names_the_figure_and_the_key() -> None:
    bad = replace(
        candidate("fp32_sensitive", 1.0, -0.05, -0.06), size_ratio=0.9, more_items=1200, faults=("recall is low",)
    )
    judged = decide([bad, candidate("fp32_stem")], PARAMS).judged
    reasons = "\n".join(judged["fp32_sensitive"].reasons)
    for text in (
        "recall is low",
        "accuracy is not shown to lose less than 0.02 against fp32: -0.0500 (lower bound -0.0600)",
        "params.yaml: export.int8.accuracy_margin",
        "params.yaml: export.int8.macro_f1_margin",
        "0.90 of fp32's, allowed 0.6 (params.yaml: export.int8.max_size_ratio)",
        "params.yaml: export.int8.min_speedup",
    ):
        assert text in reasons
    assert judged["fp32_stem"].as_good is None
    assert "fp32_sensitive, which is gentler, failed" in judged["fp32_stem"].reasons[0]


def test_no_reason_holds_a_time() -> None:
    judged = decide([candidate("fp32_sensitive", speed=1.0371)], PARAMS).judged["fp32_sensitive"]
    assert judged.fast_enough is False
    assert "1.03" not in "".join(judged.reasons)


def test_a_doubt_says_how_many_items_would_settle_it() -> None:
    doubtful = replace(candidate("fp32_sensitive", accuracy=-0.015), more_items=1200)
    assert "about 1200 more test items" in "\n".join(decide([doubtful], PARAMS).judged["fp32_sensitive"].reasons)


FIGURES = st.builds(
    lambda name, size, speed, accuracy, macro_f1, fault: Candidate(
        name, size, estimate(speed, 0.05), estimate(accuracy), estimate(macro_f1), None, ("broken",) * fault
    ),
    st.just("fp32_stem"),
    st.floats(0.2, 0.9),
    st.floats(0.8, 2.5),
    st.floats(-0.05, 0.02),
    st.floats(-0.05, 0.02),
    st.integers(0, 4).map(lambda drawn: int(drawn == 0)),
)


@settings(max_examples=300, deadline=None)
@given(
    drawn=st.lists(FIGURES, min_size=4, max_size=4),
    place=st.integers(0, 3),
    better=st.sampled_from(["size_ratio", "speedup", "accuracy_gain", "macro_f1_gain", "faults"]),
    by=st.floats(0.0, 0.5),
)
def test_no_better_figure_ever_takes_a_release_away(drawn: list[Candidate], place: int, better: str, by: float) -> None:
    before = [replace(each, name=name) for each, name in zip(drawn, NAMES, strict=True)]
    one = before[place]
    gained = {
        "size_ratio": lambda: max(0.05, (one.size_ratio or 0) - by),
        "faults": lambda: (),
    }.get(better, lambda: raised(getattr(one, better), by))()
    after = [replace(each, **{better: gained}) if each is one else each for each in before]
    if decide(before, PARAMS).variant is not None:
        assert decide(after, PARAMS).variant is not None


def raised(figure: Estimate, by: float) -> Estimate:
    return figure.model_copy(update={"value": figure.value + by, "low": figure.low + by, "high": figure.high + by})


def test_what_is_released_passed_all_that_is_asked() -> None:
    decision = decide(change("per_tensor", accuracy_gain=estimate(-0.5)), PARAMS)
    assert decision.variant is not None
    assert decision.judged[decision.variant].passed
    assert decision.judged[decision.variant].reasons == []

"""What a person reads at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest
from publishing_scene import ACCURACY
from registry_scene import record

from flows.publication import Published
from flows.result import ChampionLine, RunResult, closing_line, summary

CHAMPION = ChampionLine(
    version=3, accuracy=0.891, gain=0.021, gain_low=0.004, gain_high=0.038, level=0.006949, lower=0.001, upper=0.041
)


def released(**more: Any) -> RunResult:
    return RunResult(run_id="run", state="released", release="releases/abc", **more)


def test_a_release_of_a_model_that_is_better_but_not_promoted_says_all_of_it() -> None:
    lines = summary(
        released(
            version=4,
            outcome="better",
            champion=CHAMPION,
            promoted=False,
            not_promoted="promotion.automatic is false; `graft promote v4` does it",
            branch="graft/run/run",
            pushed=True,
        )
    ).splitlines()
    assert lines == [
        "  against v3, which is in production, 0.891  gain +0.021 (+0.001 to +0.041, each bound at level 0.0069)",
        "released v4: better than v3, which is in production (+0.021)",
        "not promoted: promotion.automatic is false; `graft promote v4` does it",
        "recorded on branch graft/run/run and pushed",
        "releases/abc",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"version": 4, "promoted": True}, "v4 is in production now"),
        ({"version": 4, "pushed": False, "not_pushed": "no answer"}, "not pushed: no answer; `graft push` tries again"),
        ({"version": 4, "not_pushed": "there is no remote"}, "not pushed: there is no remote"),
        ({}, "released"),
        ({"unchanged": True}, "released (nothing changed since; nothing was computed)"),
        (
            {"unchanged": True, "seconds": {"gate": 1.0}, "outcome": "unchanged", "champion": CHAMPION, "version": 3},
            "released: this is the model of v3, which is in production",
        ),
        (
            {"outcome": "incomparable", "champion": CHAMPION.model_copy(update={"accuracy": None, "gain": None})},
            "released: not comparable with v3, which is in production",
        ),
        (
            {"outcome": "inconclusive", "champion": CHAMPION},
            "released: not shown to be better or as good as v3, which is in production (+0.021)",
        ),
    ],
)
def test_each_ending_has_its_line_and_the_release_is_the_last(more: dict[str, Any], said: str) -> None:
    *lines, last = summary(released(**more)).splitlines()
    assert said in lines
    assert last == "releases/abc"


def test_a_refusal_names_the_champion_that_it_lost_against() -> None:
    refused = RunResult(run_id="run", state="refused", outcome="worse", champion=CHAMPION, reasons=["worse than v3"])
    text = summary(refused)
    assert "against v3, which is in production" in text
    assert "the releases before it stand as they were" in text
    assert closing_line(refused).level == "warning"


def test_a_result_takes_over_what_was_published() -> None:
    version = record(4, "4" * 64, branch="graft/run/run", commit="c" * 40, accuracy=ACCURACY)
    result = released().with_version(Published(version, False, "no answer"))
    assert (result.version, result.branch, result.commit) == (4, "graft/run/run", "c" * 40)
    assert (result.pushed, result.not_pushed) == (False, "no answer")
    assert result.ending == "released v4"
    assert RunResult.model_validate_json(result.to_json()) == result


def test_a_gain_that_nothing_was_decided_on_is_told_without_bounds() -> None:
    undecided = CHAMPION.model_copy(update={"level": None, "lower": None, "upper": None})
    assert "  against v3, which is in production, 0.891  gain +0.021\n" in summary(released(champion=undecided))


def test_a_release_in_fp32_where_int8_was_asked_for_says_so_and_why() -> None:
    said = summary(released(version=3, not_int8="per_channel: 0.8 times as fast as fp32, 1.1 is asked for"))
    assert "fp32, though export.precision asks for int8: per_channel: 0.8 times as fast" in said
    assert "int8" not in summary(released(version=3))

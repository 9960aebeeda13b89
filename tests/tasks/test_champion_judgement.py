"""Every outcome of the comparison with the champion, what it allows, and what it says."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.alpha_spending import level_of_use
from tasks.champion_judgement import decision_bounds, judge_champion, still_promotable
from tasks.paired_tests import accuracy_gain, items_to_settle, tango_interval
from tasks.params import ChampionRule
from tasks.params.champion import Outcome
from tasks.reports import ChampionVerdict, Estimate, PairedComparison, PairedCounts
from tasks.reports.comparison import Against

RULE = ChampionRule()
RANK: dict[Outcome, int] = {"worse": 0, "inconclusive": 1, "equivalent": 2, "better": 3}


def compared(gained: int, lost: int, items: int, against: Against = "champion", version: int = 3) -> PairedComparison:
    counts = PairedCounts(both=items - gained - lost, only_challenger=gained, only_champion=lost, neither=0)
    gain = accuracy_gain(counts, 0.95)
    return PairedComparison(
        against=against,
        version=version,
        manifest_sha256=f"{version:064d}",
        counts=counts,
        gain=gain,
        macro_f1_gain=gain,
    )


def with_macro_f1(comparison: PairedComparison, low: float, high: float) -> PairedComparison:
    gain = Estimate(value=(low + high) / 2, low=low, high=high, method="paired bootstrap")
    return comparison.model_copy(update={"macro_f1_gain": gain})


def judged(
    *comparisons: PairedComparison, rule: ChampionRule = RULE, use: int = 1, equivalent: bool = False
) -> ChampionVerdict:
    return judge_champion(comparisons, rule, use, equivalent)


def test_the_first_model_is_promotable() -> None:
    verdict = judged(use=7)
    assert (verdict.outcome, verdict.promotable, verdict.champion, verdict.alpha) == ("first", True, None, None)
    assert verdict.use == 7
    assert "no model is in production" in verdict.reasons[0]


def test_a_gain_beyond_doubt_is_better_and_promotable() -> None:
    verdict = judged(compared(12, 3, 150))
    assert (verdict.outcome, verdict.promotable) == ("better", True)
    assert verdict.champion == f"{3:064d}"
    assert verdict.version == 3
    assert verdict.lower is not None
    assert verdict.lower > 0
    assert verdict.reasons == [
        "accuracy gained +0.060 over v3 (lower bound +0.004 at level 0.014, 12 : 3 of 150 items): better"
    ]


def test_the_same_gain_no_longer_suffices_once_the_test_set_has_judged_others() -> None:
    outcomes = [judged(compared(12, 3, 150), use=use).outcome for use in range(1, 21)]
    assert outcomes[0] == "better"
    assert outcomes[-1] != "better"
    assert sorted(outcomes, key=lambda outcome: -RANK[outcome]) == outcomes


def test_the_bounds_are_tangos_at_the_level_that_is_left() -> None:
    verdict = judged(compared(40, 30, 400), use=4)
    level = level_of_use(4, 20, 0.05)
    counts = PairedCounts(both=330, only_challenger=40, only_champion=30, neither=0)
    assert verdict.alpha == level
    assert (verdict.lower, verdict.upper) == pytest.approx(tango_interval(counts, 1 - 2 * level))


def test_a_loss_within_the_margin_is_equivalent_and_promoted_only_by_param() -> None:
    verdict = judged(compared(3, 4, 2000))
    assert (verdict.outcome, verdict.promotable) == ("equivalent", False)
    assert "promotion.equivalent" in verdict.reasons[1]
    assert "gate.champion.margin" in verdict.reasons[0]
    allowed = judged(compared(3, 4, 2000), equivalent=True)
    assert (allowed.outcome, allowed.promotable) == ("equivalent", True)
    assert not any("promotion.equivalent" in reason for reason in allowed.reasons)


def test_without_a_margin_nothing_is_equivalent() -> None:
    assert judged(compared(3, 4, 2000), rule=ChampionRule(margin=0)).outcome == "inconclusive"


def test_a_loss_beyond_doubt_is_worse() -> None:
    verdict = judged(compared(1, 14, 150), equivalent=True)
    assert (verdict.outcome, verdict.promotable) == ("worse", False)
    assert verdict.upper is not None
    assert verdict.upper < 0
    assert "1 : 14 of 150 items): worse" in verdict.reasons[0]


def test_a_loss_beyond_doubt_that_is_within_the_margin_is_equivalent() -> None:
    assert judged(compared(20, 60, 8000)).outcome == "equivalent"
    assert judged(compared(20, 60, 8000), rule=ChampionRule(margin=0.001)).outcome == "worse"


def test_a_doubt_says_how_many_more_items_would_settle_it() -> None:
    verdict = judged(compared(6, 3, 150), use=2, equivalent=True)
    assert (verdict.outcome, verdict.promotable) == ("inconclusive", False)
    assert verdict.items_to_settle is not None
    assert f"about {verdict.items_to_settle} more test items would settle it" in verdict.reasons[1]
    assert "only a share becomes test items (params.yaml: split.test_share)" in verdict.reasons[1]
    scale = (150 + verdict.items_to_settle) / 150
    enough = compared(round(6 * scale) + 1, round(3 * scale), round(150 * scale))
    assert judged(enough, use=3).outcome in ("equivalent", "better")


def test_the_items_to_settle_are_those_of_the_next_use_which_is_stricter() -> None:
    pair = compared(6, 3, 150)
    assert pair.counts is not None
    wanted = [judged(pair, use=use).items_to_settle for use in range(1, 20)]
    assert wanted == [items_to_settle(pair.counts, 0.01, level_of_use(use + 1, 20, 0.05)) for use in range(1, 20)]
    assert (wanted[0] or 0) > (items_to_settle(pair.counts, 0.01, level_of_use(1, 20, 0.05)) or 0) > 0


def test_the_last_judgement_names_no_number_of_items_for_a_next_one() -> None:
    verdict = judged(compared(6, 3, 150), use=20)
    assert (verdict.outcome, verdict.items_to_settle) == ("inconclusive", None)
    assert verdict.reasons[1:] == [
        "judgement 20 of 20 on this test set, the last that can show a model to be better: "
        "label fresh test items (params.yaml: gate.champion.test_set_uses)"
    ]


def test_a_tie_without_a_margin_says_that_no_number_of_items_settles_it() -> None:
    verdict = judged(compared(4, 4, 150), rule=ChampionRule(margin=0))
    assert verdict.outcome == "inconclusive"
    assert verdict.items_to_settle is None
    assert "no number of test items" in verdict.reasons[1]


def test_the_same_model_is_unchanged_and_nothing_to_promote() -> None:
    same = PairedComparison(against="champion", version=5, manifest_sha256="a" * 64, unchanged=True)
    verdict = judged(same, equivalent=True)
    assert (verdict.outcome, verdict.promotable, verdict.alpha, verdict.lower) == ("unchanged", False, None, None)
    assert verdict.reasons == ["the same model as v5: unchanged"]


@pytest.mark.parametrize("why", ["class 'cat' is gone without an alias", ""])
def test_what_cannot_be_compared_is_not_promotable_and_says_why(why: str) -> None:
    other = PairedComparison(against="champion", version=5, manifest_sha256="a" * 64, incomparable=why)
    verdict = judged(other, equivalent=True)
    assert (verdict.outcome, verdict.promotable, verdict.alpha) == ("incomparable", False, None)
    assert (why or "there are no test items") in verdict.reasons[0]


def test_counts_of_no_items_are_incomparable() -> None:
    assert judged(compared(0, 0, 0)).outcome == "incomparable"


def test_a_macro_f1_that_is_lost_beyond_the_margin_makes_a_more_accurate_model_worse() -> None:
    verdict = judged(with_macro_f1(compared(30, 3, 400), -0.2, -0.02), equivalent=True)
    assert (verdict.outcome, verdict.promotable) == ("worse", False)
    assert "macro-F1 -0.110 against v3 (-0.200 to -0.020), all below -0.01: worse" in verdict.reasons[0]
    assert judged(with_macro_f1(compared(30, 3, 400), -0.2, -0.005)).outcome == "better"


def test_a_comparison_without_macro_f1_is_judged_by_accuracy_alone() -> None:
    assert judged(compared(12, 3, 150).model_copy(update={"macro_f1_gain": None})).outcome == "better"


def test_a_model_that_beats_the_champion_but_may_be_below_the_best_is_not_promotable() -> None:
    verdict = judged(compared(14, 2, 150), compared(5, 9, 150, "best", 2))
    assert (verdict.outcome, verdict.promotable) == ("better", False)
    (_, reason, *_) = verdict.reasons
    assert reason.startswith("accuracy gained -0.027 over v2, the most accurate version that was ever promoted (lower")
    assert re.search(r" 5 : 9 of 150 items\).*: not promoted", reason)


@pytest.mark.parametrize(
    ("gained", "lost", "items", "said"),
    [(4, 4, 400, "+0.000"), (1, 0, 8000, "+0.0001"), (2, 3, 8000, "-0.0001")],
)
def test_no_gain_does_not_read_as_no_accuracy_nor_a_small_one_as_none(
    gained: int, lost: int, items: int, said: str
) -> None:
    assert judged(compared(gained, lost, items)).reasons[0].startswith(f"accuracy gained {said} over v3 (")


def test_a_line_of_small_losses_ends_at_the_margin_below_the_best() -> None:
    """Each model loses 8 of 2000 items to the one before, less than the margin of 20: the third no longer passes."""
    promoted = []
    for behind_best in (8, 16, 24):
        against_best = [compared(0, behind_best, 2000, "best", 1)] if behind_best > 8 else []
        verdict = judged(compared(0, 8, 2000), *against_best, equivalent=True)
        assert verdict.outcome == "equivalent"
        promoted.append(verdict.promotable)
    assert promoted == [True, False, False]


def test_a_model_close_to_the_best_is_promotable_and_the_reasons_say_how_close() -> None:
    verdict = judged(compared(90, 10, 2000), compared(4, 3, 2000, "best", 2))
    assert verdict.promotable
    assert "not more than 0.01 below it" in verdict.reasons[1]


def test_a_macro_f1_that_is_lost_against_the_best_stands_in_the_way() -> None:
    best = with_macro_f1(compared(30, 3, 400, "best", 2), -0.2, -0.02)
    verdict = judged(compared(30, 3, 400), best)
    assert (verdict.outcome, verdict.promotable) == ("better", False)
    assert "macro-F1 -0.110 against v2" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (PairedComparison(against="best", version=2, manifest_sha256="b", unchanged=True), "the same model as v2"),
        (PairedComparison(against="best", version=2, manifest_sha256="b", incomparable="class 'x'"), "class 'x'"),
    ],
)
def test_the_best_itself_and_one_that_cannot_be_compared_do_not_stand_in_the_way(
    best: PairedComparison, said: str
) -> None:
    verdict = judged(compared(14, 2, 150), best)
    assert verdict.promotable
    assert said in verdict.reasons[1]


def test_the_best_stands_in_the_way_of_a_first_model_too() -> None:
    assert not judged(compared(2, 30, 400, "best", 2)).promotable


@pytest.mark.parametrize("pair", [(40, 2, 400), (3, 4, 2000)])
def test_a_test_set_that_is_used_up_promotes_nothing_and_asks_for_fresh_items(pair: tuple[int, int, int]) -> None:
    assert judged(compared(*pair), use=20, equivalent=True).promotable
    verdict = judged(compared(*pair), use=21, equivalent=True)
    assert (verdict.outcome, verdict.promotable, verdict.items_to_settle) == ("inconclusive", False, None)
    assert "label fresh test items (params.yaml: gate.champion.test_set_uses)" in verdict.reasons[-1]


def test_a_test_set_that_is_used_up_still_shows_a_loss() -> None:
    verdict = judged(compared(1, 40, 400), use=30)
    assert verdict.outcome == "worse"
    assert verdict.alpha == level_of_use(20, 20, 0.05)


def test_fresh_items_are_advised_in_time() -> None:
    def advised(use: int) -> bool:
        return any(
            "label fresh test items in time" in reason for reason in judged(compared(9, 9, 150), use=use).reasons
        )

    assert [use for use in range(1, 25) if advised(use)] == [15, 16, 17, 18, 19]


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.sampled_from([150, 400]),
    st.integers(1, 22),
    st.sampled_from([0.0, 0.01, 0.05]),
)
@settings(max_examples=50, deadline=None)
def test_one_item_more_never_makes_the_outcome_worse_and_every_promotion_keeps_the_margin(
    gained: int, lost: int, items: int, use: int, margin: float
) -> None:
    rule = ChampionRule(margin=margin)
    verdict = judged(compared(gained, lost, items), rule=rule, use=use, equivalent=True)
    more = judged(compared(gained + 1, lost, items), rule=rule, use=use, equivalent=True)
    assert RANK[more.outcome] >= RANK[verdict.outcome]
    assert verdict.outcome in get_args(Outcome)
    assert verdict.reasons
    if verdict.promotable:
        assert verdict.lower is not None
        assert verdict.lower > -margin
        assert use <= 20


def test_few_items_at_a_loose_level_get_wider_bounds_than_the_normal_quantile_gives() -> None:
    """Without a single difference on 150 items, a loss of half a point would else be called excluded at level 0.2."""
    counts = PairedCounts(both=150, only_challenger=0, only_champion=0, neither=0)
    rule = ChampionRule(margin=0.005, alpha=0.2, test_set_uses=1)
    assert tango_interval(counts, 1 - 2 * 0.2)[0] > -0.005
    assert decision_bounds(counts, rule, 0.2)[0] < -0.005


def test_the_sentences_show_on_which_side_of_a_limit_a_bound_lies() -> None:
    for gained in range(8, 60):
        verdict = judged(compared(gained, 6, 1000))
        assert "+0.000 at" not in verdict.reasons[0]
        assert verdict.lower is not None
        shown = re.search(r"lower bound ([+-][0-9.]+)", verdict.reasons[0])
        if shown and verdict.outcome == "better":
            assert float(shown[1]) > 0


@pytest.mark.parametrize("today", [ChampionRule(alpha=0.01), ChampionRule(margin=0.0), ChampionRule(test_set_uses=1)])
def test_a_version_that_was_promotable_is_not_by_a_stricter_rule_of_today(today: ChampionRule) -> None:
    pairs = [compared(12, 3, 150)] if today.margin else [compared(3, 4, 2000)]
    use = 2 if today.test_set_uses == 1 else 1
    rule = RULE if use == 1 else ChampionRule(alpha=0.2)
    assert still_promotable(pairs, rule, use, True) == (
        True,
        judged(*pairs, rule=rule, use=use, equivalent=True).reasons,
    )
    held, reasons = still_promotable(pairs, today, use, True)
    assert not held
    assert reasons[0].endswith("inconclusive, margin " + f"{today.margin:g} (params.yaml: gate.champion.margin)")


def test_a_version_is_held_to_todays_word_on_equivalent_models() -> None:
    pair = [compared(3, 4, 2000)]
    assert still_promotable(pair, RULE, 1, True)[0]
    held, reasons = still_promotable(pair, RULE, 1, False)
    assert not held
    assert "an equivalent model is not promoted (params.yaml: promotion.equivalent)" in reasons
    held, reasons = still_promotable(pair, ChampionRule(refuse=["worse", "equivalent"]), 1, True)
    assert not held
    assert reasons[-1] == "equivalent is not published (params.yaml: gate.champion.refuse)"


def test_a_version_is_held_against_the_best_by_todays_margin() -> None:
    pairs = [compared(90, 10, 2000), compared(0, 8, 2000, "best", 1)]
    assert still_promotable(pairs, RULE, 1, False)[0]
    held, reasons = still_promotable(pairs, ChampionRule(margin=0.004), 1, False)
    assert not held
    assert "not promoted" in reasons[-1]

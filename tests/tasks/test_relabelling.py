"""People's decisions on labels: their order, what they meet, and what no longer matches."""

from __future__ import annotations

import pytest

from tasks.overlay import Correction
from tasks.relabelling import Decided, Overlay, decide
from tasks.table_listing import Item

A, B = "a" * 64, "b" * 64


def correction(sha256: str, was: str, label: str | None, who: str = "Ada") -> Correction:
    return Correction(sha256, "cat/1.png", was, label, who, "looked at it", "2026-11-21")


def decided(items: dict[str, tuple[str | None, str]], *corrections: Correction, **more: object) -> Decided:
    """`items`: path to (raw label, content)."""
    listed = [Item(path, label) for path, (label, _) in items.items()]
    overlay = Overlay(corrections=corrections, **more)  # type: ignore[arg-type]
    return decide(listed, [content for _, content in items.values()], overlay)


def test_without_decisions_everything_stays() -> None:
    found = decided({"1": ("cat", A), "2": (None, B)})
    assert (found.labels, found.left_out, found.forgotten) == (["cat", None], [None, None], [False, False])
    assert found.rules == []


def test_a_correction_holds_for_the_content_wherever_it_lies() -> None:
    found = decided({"cat/1": ("cat", A), "copy": ("cat", A), "other": ("cat", B)}, correction(A, "cat", "dog"))
    assert found.labels == ["dog", "dog", "cat"]
    (applied,) = found.report.corrected
    assert (applied.was, applied.label, applied.who, applied.why, applied.items) == (
        "cat",
        "dog",
        "Ada",
        "looked at it",
        2,
    )


def test_aliases_stand_before_and_after_corrections() -> None:
    aliases = {"kitten": "cat", "puppy": "dog"}
    for was in ("kitten", "cat"):
        found = decided({"1": ("kitten", A)}, correction(A, was, "puppy"), aliases=aliases)
        assert found.labels == ["dog"]
    assert [(used.old, used.new, used.items) for used in found.report.aliased] == [("kitten", "cat", 1)]


def test_corrections_of_one_content_follow_each_other() -> None:
    steps = [correction(A, "cat", "dog"), correction(A, "dog", None, "Bob"), correction(A, "", "fox")]
    assert decided({"1": ("cat", A)}, *steps[:1]).labels == ["dog"]
    assert decided({"1": ("cat", A)}, *steps[:2]).left_out == ["left out by Bob: looked at it"]
    assert (decided({"1": ("cat", A)}, *steps).labels, decided({"1": ("cat", A)}, *steps).left_out) == (["fox"], [None])


def test_a_correction_gives_a_label_to_an_item_without_one() -> None:
    assert decided({"1": (None, A)}, correction(A, "", "fox")).labels == ["fox"]


def test_a_correction_that_no_longer_matches_is_a_named_warning_and_not_applied() -> None:
    found = decided({"1": ("bird", A)}, correction(A, "cat", "dog"))
    assert found.labels == ["bird"]
    (rule,) = found.rules
    assert (rule.rule, rule.severity, rule.passed) == ("corrections_match", "warning", False)
    (failing,) = rule.failing
    assert failing.path == "1"
    assert failing.reason == "is labelled 'bird', not 'cat' as when Ada decided on 2026-11-21 to label it 'dog'"
    assert found.report.corrections_without_effect == 1


def test_a_label_that_is_mended_in_the_raw_data_already_is_no_warning() -> None:
    found = decided({"1": ("dog", A)}, correction(A, "cat", "dog"))
    assert found.labels == ["dog"]
    assert found.rules[0].passed
    assert (found.report.corrected, found.report.corrections_without_effect) == ([], 1)


def test_a_label_that_a_person_confirmed_is_counted_as_such() -> None:
    found = decided({"1": ("cat", A)}, correction(A, "cat", "cat"))
    assert (found.labels, found.report.confirmed, found.report.corrections_without_effect) == (["cat"], 1, 0)
    assert not decided({"1": ("dog", A)}, correction(A, "cat", "cat")).rules[0].passed


def test_a_correction_without_its_content_is_kept_and_counted() -> None:
    found = decided({"1": ("dog", A)}, correction(B, "cat", "dog"))
    assert found.report.corrections_without_content == 1
    assert found.rules[0].passed


def test_forgotten_content_is_counted_and_takes_no_part() -> None:
    found = decided(
        {"1": ("dog", A), "2": ("kitten", B)},
        correction(B, "cat", "dog"),
        forgotten=frozenset({B}),
        aliases={"kitten": "cat"},
    )
    assert found.forgotten == [False, True]
    assert (found.report.forgotten, found.report.corrected, found.report.aliased) == (1, [], [])


@pytest.mark.parametrize(
    ("alias", "hint"), [("kiten", "did you mean 'kitten'? known: dog, kitten"), ("zebra", "; known: dog, kitten")]
)
def test_an_alias_for_a_class_that_is_not_there_is_a_warning(alias: str, hint: str) -> None:
    found = decided({"1": ("kitten", A), "2": ("dog", B)}, aliases={alias: "cat"})
    (rule,) = found.rules
    assert (rule.rule, rule.severity, rule.passed) == ("aliases_used", "warning", False)
    assert rule.failing[0].path == alias
    assert rule.failing[0].reason.endswith(hint)


def test_an_alias_that_only_a_correction_speaks_of_is_used() -> None:
    assert decided({"1": ("cat", A)}, correction(A, "cat", "puppy"), aliases={"puppy": "dog"}).rules[1].passed

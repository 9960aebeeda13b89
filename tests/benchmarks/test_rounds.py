"""Rounds are interleaved, ratios are taken within a round, and a section replaces only itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.rounds import (
    BUSY,
    conditions,
    interleaved,
    keep_section,
    machine,
    markdown_table,
    median_ratio,
    spread,
    timed,
)


def test_cases_run_in_turn_within_every_round() -> None:
    order: list[str] = []
    interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The second round's machine was ten times slower for both sides.
    assert median_ratio([1.0, 10.0, 1.0], [2.0, 20.0, 4.0]) == 0.5


def test_a_spread_names_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0 to 3.0)"


def test_a_table_has_one_rule_below_its_header() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_a_section_replaces_only_itself(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("# Results\n\nby hand\n", encoding="utf-8")
    keep_section("embed", "old", page)
    keep_section("validate", "stays", page)
    page.write_text(page.read_text(encoding="utf-8") + "\nby hand too\n", encoding="utf-8")
    keep_section("embed", r"new \1", page)
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert r"new \1" in text
    assert all(kept in text for kept in ("by hand\n", "stays", "by hand too"))
    assert text.index("new") < text.index("stays")


def test_figures_of_a_busy_machine_are_marked_as_provisional() -> None:
    assert "Provisional" in conditions(3, BUSY)
    assert "Provisional" not in conditions(3, 0.0)


def test_the_machine_is_told_without_its_name() -> None:
    import platform

    assert "cores" in machine()
    assert platform.node() not in machine()


def test_a_failing_command_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"exited with 3:\n.*no such pack"):
        timed([sys.executable, "-c", "import sys; print('no such pack', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_a_command_is_told_its_environment_and_its_seconds_are_counted(tmp_path: Path) -> None:
    done = timed([sys.executable, "-c", "import os; print(os.environ['PROBE'])"], tmp_path, {"PROBE": "seen"})
    assert done.stdout == "seen\n"
    assert done.cpu_seconds > 0.0
    assert done.seconds > 0.0

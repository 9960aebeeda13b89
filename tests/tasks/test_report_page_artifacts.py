"""What a run shows in Prefect of training, transfer and calibration."""

from __future__ import annotations

import page_sources
import pytest

from flows import artifacts


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The text of every markdown artifact and table by its key."""
    made: dict[str, str] = {}
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda key, markdown: made.update({key: markdown}))
    monkeypatch.setattr(
        artifacts, "create_table_artifact", lambda key, table, description: made.update({key: str(table)})
    )
    return made


def test_a_trained_run_shows_its_gain_over_no_pretraining_and_its_calibration(shown: dict[str, str]) -> None:
    run = page_sources.trained_run()
    artifacts.show_evaluation(run.evaluation)
    artifacts.show_findings(run.params, run.adaptation, run.evaluation)
    assert set(shown) == {"metrics", "calibration", "confusion-matrix", "findings"}
    assert "Pretraining is worth +0.310 accuracy" in shown["findings"]
    assert "| Calibration error (ECE) | 0.070 |" in shown["calibration"]
    assert "from scratch" in shown["metrics"]


def test_a_network_that_fell_behind_the_probe_is_named_first(shown: dict[str, str]) -> None:
    run = page_sources.trained_run(run_of=page_sources.training(0.941, 0.948), method="linear_probe")
    artifacts.show_findings(run.params, run.adaptation, run.evaluation)
    assert shown["findings"].startswith("- Fine-tuning ended below the linear probe (0.941 against 0.948")


def test_a_plain_probe_shows_neither_findings_nor_calibration(shown: dict[str, str]) -> None:
    run = page_sources.run()
    artifacts.show_evaluation(run.evaluation)
    artifacts.show_findings(run.params, run.adaptation, run.evaluation)
    assert set(shown) == {"metrics", "confusion-matrix"}

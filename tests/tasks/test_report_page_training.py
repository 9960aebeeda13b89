"""What the model page, the model card and Prefect say of training, of transfer and of calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import page_sources
import pytest
from page_reader import PageReader, assert_self_contained
from page_sources import Run, card_of, rule

from tasks.params import Params, parse_params
from tasks.plots.findings import findings
from tasks.plots.markdown import calibration_markdown, findings_markdown, metrics_table, verdict_markdown
from tasks.plots.number_text import MINUS
from tasks.plots.page_rows import rule_row, settings
from tasks.plots.report_page import write_report_page
from tasks.reports import Estimate
from tasks.reports.evaluation import CalibrationReport

TRAINED = page_sources.trained_run()
PROBE = page_sources.run()
BELOW = page_sources.trained_run(run_of=page_sources.training(0.941, 0.948), method="linear_probe")


def page_of(run: Run, folder: Path) -> str:
    workspace = run.write(folder)
    write_report_page(workspace, run.params)
    return workspace.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trained_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(TRAINED, tmp_path_factory.mktemp("trained"))


def told(run: Run) -> list[str]:
    return findings(run.params, run.adaptation, run.evaluation)


def with_gain(run: Run, name: str, low: float, value: float, high: float) -> Run:
    """The run whose gain over one baseline is this."""
    gain = Estimate(value=value, low=low, high=high, method="newcombe, paired")
    changed = [b.model_copy(update={"gain": gain}) if b.name == name else b for b in run.evaluation.baselines]
    return replace(run, evaluation=run.evaluation.model_copy(update={"baselines": changed}))


def with_calibration(run: Run, calibration: CalibrationReport | None) -> Run:
    return replace(run, evaluation=run.evaluation.model_copy(update={"calibration": calibration}))


def test_a_probe_s_page_has_neither_curves_of_training_nor_calibration(tmp_path: Path) -> None:
    page = page_of(PROBE, tmp_path)
    reader = PageReader(page)
    assert told(PROBE) == []
    assert not reader.named("section", id="calibration")
    assert not reader.named("ul", class_="findings")
    said = reader.text[: reader.text.index("Parameters and digests", reader.text.index("Test items"))]
    for word in ("Calibration", "What was trained", "epoch", "from scratch", "Pretraining"):
        assert word not in said
    assert "Linear probe (logistic) on 1,024 frozen features of a 64-pixel image, fitted on 70 items" in reader.text


def test_a_trained_network_s_page_is_whole_and_loads_nothing(trained_page: str) -> None:
    reader = PageReader(trained_page)
    assert_self_contained(trained_page)
    assert reader.named("a", href="#calibration")
    assert reader.named("section", id="calibration")
    assert "fine-tuning on shufflenet_v2_x0_5" in reader.text
    assert "4 of 19 blocks and the head: 1.1 of 2.2 million parameters." in reader.text
    assert "All 19 blocks and the head: all 2.2 million parameters." in reader.text
    assert len(trained_page) < 150_000


def test_equal_reports_of_training_give_equal_bytes(trained_page: str, tmp_path: Path) -> None:
    assert page_of(TRAINED, tmp_path / "else" / "where") == trained_page


def test_the_page_says_what_judged_the_training_and_on_how_many_items(trained_page: str, tmp_path: Path) -> None:
    by_validation = page_sources.trained_run(run_of=page_sources.training(judged_by="validation"))
    unjudged = page_sources.trained_run(run_of=page_sources.training(judged_by="nothing", probe=None))
    assert "Judged on 244 cross-validated items, each while its fold was held out" in trained_page
    assert "Judged on 244 validation items, which it did not learn from." in page_of(by_validation, tmp_path / "b")
    page = page_of(unjudged, tmp_path / "c")
    assert "Nothing was held out to judge it." in page
    assert_self_contained(page)


def test_the_top_of_the_page_says_what_pretraining_is_worth(trained_page: str) -> None:
    reader = PageReader(trained_page)
    sentence = (
        "Pretraining is worth +0.310 accuracy (+0.290 to +0.330) over the same network trained from scratch on the "
        "same labels."
    )
    assert sentence in told(TRAINED)
    assert reader.text.index(sentence) < reader.text.index("Test items") < reader.text.index("Bars are 95% intervals")


@pytest.mark.parametrize(
    ("name", "interval", "begin"),
    [
        ("from_scratch", (-0.02, 0.01, 0.04), "Pretraining shows no sure gain over the same network"),
        ("from_scratch", (0.0, 0.01, 0.04), "Pretraining shows no sure gain over the same network"),
        ("from_scratch", (-0.09, -0.05, -0.01), f"Pretraining costs accuracy here: {MINUS}0.050 accuracy"),
        ("from_scratch", (0.01, 0.05, 0.09), "Pretraining is worth +0.050 accuracy (+0.010 to +0.090)"),
        ("linear_probe", (-0.02, 0.01, 0.04), "Fine-tuning shows no sure gain over the linear probe"),
        ("linear_probe", (-0.09, -0.05, -0.01), f"Fine-tuning is worse than the linear probe: {MINUS}0.050"),
        ("linear_probe", (0.01, 0.05, 0.09), "Fine-tuning is worth +0.050 accuracy (+0.010 to +0.090)"),
    ],
)
def test_a_gain_is_claimed_only_where_its_interval_is_above_zero(
    name: str, interval: tuple[float, float, float], begin: str
) -> None:
    sentences = told(with_gain(TRAINED, name, *interval))
    assert sum(sentence.startswith(begin) for sentence in sentences) == 1
    assert sum("is worth" in sentence and name.replace("_", " ") in sentence for sentence in sentences) == (
        interval[0] > 0
    )


def test_a_network_below_the_probe_is_confessed_and_the_probe_was_kept(tmp_path: Path) -> None:
    sentence = (
        "Fine-tuning ended below the linear probe (0.941 against 0.948 on 244 cross-validated items); "
        "the probe was kept."
    )
    assert told(BELOW)[0] == sentence
    text = PageReader(page_of(BELOW, tmp_path)).text
    assert sentence in text
    assert "linear probe on shufflenet_v2_x0_5" in text
    assert "Fine-tuning, not kept" in text
    assert not any("ended below" in other for other in told(TRAINED))


def test_the_weaker_network_that_was_asked_for_is_named_as_such() -> None:
    weaker = page_sources.trained_run(run_of=page_sources.training(0.941, 0.948))
    assert told(weaker)[0] == (
        "Fine-tuning ended below the linear probe (0.941 against 0.948 on 244 cross-validated items); "
        "it was taken all the same, because adapt.keep_best is false."
    )


def test_a_network_as_accurate_as_the_probe_at_a_worse_loss_is_told_by_both_losses() -> None:
    run = page_sources.training(0.948, 0.948)
    against = run.against_probe.model_copy(update={"loss": 0.4, "probe_loss": 0.3})
    tied = page_sources.trained_run(run_of=run.model_copy(update={"against_probe": against}), method="linear_probe")
    assert told(tied)[0] == (
        "Fine-tuning was no better than the linear probe (accuracy equal, log loss 0.400 against 0.300 on "
        "244 cross-validated items); the probe was kept."
    )


def test_a_network_that_nothing_could_judge_gives_way_and_the_page_says_so() -> None:
    unjudged = page_sources.training(judged_by="nothing", probe=None)
    assert told(page_sources.trained_run(run_of=unjudged, method="linear_probe"))[0] == (
        "Fine-tuning could not be judged, as too few items can be held out; the probe was kept."
    )


def test_the_items_of_the_model_and_of_its_probe_are_told_apart(tmp_path: Path) -> None:
    """Judged by validation, the network learned from the train side alone and the probe from both."""
    run = page_sources.trained_run(run_of=page_sources.training(judged_by="validation"))
    sides = {"fitted_on": ["train"], "fitted_items": 50}
    probe = {"probe_fitted_on": ["train", "validation"], "probe_fitted_items": 70}
    run = replace(run, adaptation=run.adaptation.model_copy(update={**sides, **probe}))
    text = PageReader(page_of(run, tmp_path)).text
    assert "on 64-pixel images, on 50 items (train)." in text
    assert "fitted on 70 items (train, validation)." in text
    card = card_of(run)
    assert "Trained on 50 items; 244 validation items chose the epoch." in card


def test_a_network_from_scratch_claims_no_transfer() -> None:
    params = parse_params({"adapt": {"method": {"name": "from_scratch"}}})
    run = page_sources.trained_run(method="from_scratch", params=params)
    assert not any(sentence.startswith("Pretraining") for sentence in told(run))
    assert any(sentence.startswith("Training from scratch is worth") for sentence in told(run))


def test_what_the_model_says_and_how_often_it_is_right_come_from_its_fullest_bin() -> None:
    calibration = TRAINED.evaluation.calibration
    assert calibration
    fullest = max(calibration.after.bins, key=lambda bin_: bin_.items)
    assert fullest.confidence
    assert told(TRAINED)[-1] == (
        f"When this model says {100 * fullest.confidence:.1f}%, as on {fullest.items} of 400 test items, "
        "it is right 100% of the time."
    )


def test_calibration_stands_before_and_after_with_intervals_and_the_least_error_to_expect(trained_page: str) -> None:
    calibration = TRAINED.evaluation.calibration
    assert calibration
    text = PageReader(trained_page).text
    assert "divided by a temperature of 0.75, which makes the model surer; it was fitted on 70 out-of-fold" in text
    for before, after in (
        (calibration.before.nll, calibration.after.nll),
        (calibration.before.brier, calibration.after.brier),
        (calibration.before.ece, calibration.after.ece),
    ):
        assert f"{before.value:.3f} {before.low:.3f}\N{EN DASH}{before.high:.3f} {after.value:.3f}" in text
    assert "would show an ECE of 0.024 on as many items" in text


def test_a_model_that_held_nothing_out_shows_its_calibration_once(tmp_path: Path) -> None:
    run = with_calibration(TRAINED, page_sources.calibration(page_sources.DIGITS, temperature=1.0))
    reader = PageReader(page_of(run, tmp_path))
    assert "No item could be held out to calibrate on" in reader.text
    assert "Less is better Value Log loss (NLL)" in reader.text
    assert "before" not in reader.text
    assert "before" not in calibration_markdown(run.evaluation)


def test_a_report_of_an_earlier_graft_has_no_section_on_calibration(tmp_path: Path) -> None:
    run = with_calibration(TRAINED, None)
    assert "Calibration" not in PageReader(page_of(run, tmp_path)).text
    assert calibration_markdown(run.evaluation) == ""


def test_a_maximum_reads_as_one_in_the_table_of_rules(tmp_path: Path) -> None:
    broken = rule("calibration_error", 0.13, 0.1).model_copy(
        update={"limit_is": "maximum", "margin": -0.03, "passed": False, "judged_on": "upper_bound"}
    )
    row = rule_row(broken)
    assert (row.value, row.limit, row.margin) == ("0.130", "at most 0.100", f"{MINUS}0.030")
    assert row.judged_on == "upper bound of the interval"
    refused = TRAINED.verdict.model_copy(update={"rules": [broken], "passed": False})
    assert (
        "calibration_ error 0.130 at most 0.100"
        in PageReader(page_of(replace(TRAINED, verdict=refused), tmp_path)).text
    )
    assert "| at most 0.100 |" in verdict_markdown(refused)


def test_baselines_of_training_have_names_that_read_well(trained_page: str) -> None:
    text = PageReader(trained_page).text
    for name in ("largest class", "raw pixels", "linear probe", "trained from scratch"):
        assert name in text
    assert "over no pretraining" in text
    assert "from_scratch 0" not in text
    assert [row["model"] for row in metrics_table(TRAINED.evaluation)][-2:] == ["linear probe", "from scratch"]


@pytest.mark.parametrize("name", ["fine_tune", "from_scratch"])
def test_settings_of_a_method_stand_beside_its_own_defaults(name: str) -> None:
    document: dict[str, Any] = {"adapt": {"method": {"name": name}}}
    changed = [setting.key for setting in settings(parse_params(document)) if setting.changed]
    assert changed == ["adapt.method.name"]
    document["adapt"]["method"]["epochs"] = 3
    assert {setting.key for setting in settings(parse_params(document)) if setting.changed} == {
        "adapt.method.name",
        "adapt.method.epochs",
    }
    assert not any(setting.changed for setting in settings(Params()))


def test_the_model_card_names_depth_calibration_and_transfer() -> None:
    card = card_of(TRAINED)
    assert "| method | fine_tune (4 of 19 blocks and the head: 1.1 of 2.2 million parameters) |" in card
    assert "| calibration error (ECE) | 0.0" in card
    assert "| accuracy of the same network from scratch (baseline) |" in card
    assert "Pretraining is worth +0.310 accuracy" in card
    assert "divided by a temperature of 0.75" in card


def test_the_model_card_of_a_kept_probe_names_the_probe() -> None:
    card = card_of(BELOW)
    assert "| method | linear_probe |" in card
    assert "Fine-tuning ended below the linear probe" in card
    plain = card_of(PROBE)
    assert "ECE" not in plain
    assert "{" not in card + plain


def test_findings_in_markdown_are_those_of_the_page_and_the_depth() -> None:
    lines = findings_markdown(TRAINED.params, TRAINED.adaptation, TRAINED.evaluation).splitlines()
    assert lines[:-1] == [f"- {sentence}" for sentence in told(TRAINED)]
    assert lines[-1].startswith("- Fine-tuning: 4 of 19 blocks and the head: ")
    assert findings_markdown(PROBE.params, PROBE.adaptation, PROBE.evaluation) == ""
    assert "blocks" not in findings_markdown(BELOW.params, BELOW.adaptation, BELOW.evaluation)

"""The section on int8 in RESULTS.md, from what export writes; nothing here asserts a time."""

from __future__ import annotations

from benchmarks.int8 import Case, rows_of, section
from tasks.reports import Estimate, EvaluationReport
from tasks.reports.quantization import Latency, LatencyReport, Quantization, QuantizationReport, VariantReport
from tasks.workspace import Workspace


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01, method="said")


def case_of(workspace: Workspace) -> Case:
    passed = VariantReport(
        name="fp32_stem",
        fp32_nodes=["stem"],
        size_ratio=0.29,
        small_enough=True,
        fast_enough=True,
        as_good=True,
        accuracy=0.98,
        macro_f1=0.97,
        accuracy_gain=estimate(0.0),
        macro_f1_gain=estimate(-0.005),
    )
    slow = passed.model_copy(update={"name": "per_channel", "fast_enough": False, "as_good": None})
    report = QuantizationReport(
        requested="int8",
        released="int8",
        quantization=Quantization(requested="int8", variant="fp32_stem"),
        variants=[passed, slow],
    )
    models = [
        Latency(model=name, median_ms=1.0, speedup=estimate(speed))
        for name, speed in (("fp32", 1.0), ("fp32_stem", 2.1), ("per_channel", 1.05))
    ]
    return Case(
        "cats",
        "mobilenet_v2",
        EvaluationReport.read(workspace.evaluation),
        report,
        LatencyReport(rounds=3, confidence=0.95, models=models),
        True,
    )


def test_every_model_has_its_row(finished_template: Workspace) -> None:
    fp32, stem, channel = rows_of(case_of(finished_template))
    assert (fp32[0], fp32[2]) == ("fp32", "1.0000")
    assert stem == [
        *("fp32_stem", "1", "0.9800", "0.9700", "+0.0000 (-0.0100)", "-0.0050 (-0.0150)"),
        *("2.10 (2.09 to 2.11)", "0.29", "passed"),
    ]
    assert channel[-1] == "not judged, too slow"


def test_the_section_names_what_was_released_and_a_busy_machine(finished_template: Workspace) -> None:
    text = section([case_of(finished_template)], rounds=3, load=0.9)
    assert "Released: **int8, fp32_stem**, and qualified." in text
    assert "Provisional: others used 90%" in text

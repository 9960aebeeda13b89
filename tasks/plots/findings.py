"""What a run found, in sentences: what pretraining and training were worth, and how far probabilities can be believed.

They stand at the top of the model page, in the model card and in Prefect.
"""

from __future__ import annotations

from tasks.params import Params
from tasks.plots.number_text import count_text, counted_text, percent_text, signed_text
from tasks.plots.probe_comparison import no_better_text
from tasks.plots.reliability_chart import filled_bins
from tasks.reports import AdaptationReport, BaselineScore, Estimate, EvaluationReport

METHODS = {"linear_probe": "linear probe", "fine_tune": "fine-tuning", "from_scratch": "training from scratch"}
BASELINES = {
    "majority": "largest class",
    "raw_pixels": "raw pixels",
    "linear_probe": "linear probe",
    "from_scratch": "trained from scratch",
}


def method_name(method: str) -> str:
    """A method as a reader calls it."""
    return METHODS.get(method, method.replace("_", " "))


def baseline_name(name: str) -> str:
    """A baseline as a reader calls it."""
    return BASELINES.get(name, name.replace("_", " "))


def over_name(name: str) -> str:
    """A baseline after the word `over`."""
    return "no pretraining" if name == "from_scratch" else baseline_name(name)


def findings(params: Params, adaptation: AdaptationReport, evaluation: EvaluationReport) -> list[str]:
    """Sentences, the weightiest first; none for a probe without calibration and further baselines."""
    told = (
        _below_probe(params, adaptation),
        _transfer(adaptation, evaluation),
        _over_probe(adaptation, evaluation),
        _belief(evaluation),
    )
    return [sentence for sentence in told if sentence]


def _below_probe(params: Params, adaptation: AdaptationReport) -> str:
    """That the trained network was no better than the probe on the judged items, and which of them was taken."""
    training, kept = adaptation.training, adaptation.method == "linear_probe"
    said = "" if training is None else no_better_text(training)
    if not said:
        return ""
    trained = method_name(params.adapt.method.name if kept else adaptation.method).capitalize()
    end = "the probe was kept" if kept else "it was taken all the same, because adapt.keep_best is false"
    return f"{trained} {said}; {end}."


def _transfer(adaptation: AdaptationReport, evaluation: EvaluationReport) -> str:
    baseline = find_baseline(evaluation, "from_scratch")
    if baseline is None or adaptation.method == "from_scratch":
        return ""
    gain, over = baseline.gain, "over the same network trained from scratch on the same labels"
    if gain.low > 0:
        return f"Pretraining is worth {_gain_text(gain)} {over}."
    if gain.high < 0:
        return f"Pretraining costs accuracy here: {_gain_text(gain)} {over}."
    return f"Pretraining shows no sure gain {over}: {_gain_text(gain)}."


def _over_probe(adaptation: AdaptationReport, evaluation: EvaluationReport) -> str:
    baseline = find_baseline(evaluation, "linear_probe")
    if baseline is None or adaptation.method == "linear_probe":
        return ""
    gain, trained = baseline.gain, method_name(adaptation.method).capitalize()
    if gain.low > 0:
        return f"{trained} is worth {_gain_text(gain)} over the linear probe."
    if gain.high < 0:
        return f"{trained} is worse than the linear probe: {_gain_text(gain)}."
    return f"{trained} shows no sure gain over the linear probe: {_gain_text(gain)}."


def _gain_text(gain: Estimate) -> str:
    return f"{signed_text(gain.value)} accuracy ({signed_text(gain.low)} to {signed_text(gain.high)})"


def _belief(evaluation: EvaluationReport) -> str:
    """Of the bin with the most items, what the model says and how often it is right."""
    if evaluation.calibration is None:
        return ""
    bins = filled_bins(evaluation.calibration.after.bins)
    if not bins:
        return ""
    fullest = max(bins, key=lambda bin_: (bin_.items, bin_.high))
    return (
        f"When this model says {percent_text(fullest.confidence)}, as on "
        f"{count_text(fullest.items)} of {counted_text(evaluation.test_items, 'test item')}, "
        f"it is right {percent_text(fullest.accuracy)} of the time."
    )


def find_baseline(evaluation: EvaluationReport, name: str) -> BaselineScore | None:
    """The baseline of that name, None where it was not measured."""
    return next((baseline for baseline in evaluation.baselines if baseline.name == name), None)

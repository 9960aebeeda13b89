"""Building every int8 variant of a release's graph, measuring them, and releasing the one that earned it, if any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from tasks.digests import bytes_sha256
from tasks.paired_tests import items_to_settle
from tasks.params import Params
from tasks.params.release import Int8Params
from tasks.preprocess import Preprocess
from tasks.quantization.activation_ranges import activation_ranges
from tasks.quantization.answers import FloatMatrix, answers_of, predictions_table
from tasks.quantization.decision import Candidate, Decision, decide, gain_text
from tasks.quantization.judgement import Basis, Judgement, judge_answers
from tasks.quantization.latency import FP32, measured_latencies
from tasks.quantization.learning_items import learning_items, prepared_images
from tasks.quantization.prepared_graph import prepared_graph
from tasks.quantization.runs import distance, logits_of
from tasks.quantization.sensitivity import sensitive_nodes
from tasks.quantization.variants import quantized_graph, variants_of
from tasks.reports import EvaluationReport
from tasks.reports.quantization import LatencyReport, Quantization, QuantizationReport, VariantName, VariantReport
from tasks.stage import say
from tasks.tables import PREDICTIONS, table_bytes
from tasks.workspace import Workspace


@dataclass(frozen=True)
class BuiltVariant:
    """A variant's graph; `distance` of its logits from fp32's on training items."""

    name: VariantName
    graph: bytes
    fp32_nodes: list[str]
    distance: float


@dataclass(frozen=True)
class Built:
    """Every variant, gentlest first, of the same calibration."""

    variants: list[BuiltVariant]
    calibration_items: int
    latencies: LatencyReport


@dataclass(frozen=True)
class Quantized:
    """What export goes on with: the model to release, its own evaluation and answers, and the reports."""

    model: bytes
    evaluation: EvaluationReport
    predictions: pa.Table
    report: QuantizationReport
    latencies: LatencyReport | None


def quantized(workspace: Workspace, params: Params, model: bytes, preprocess: Preprocess, basis: Basis) -> Quantized:
    """The int8 model that is released in the place of `model`, or `model` with the reasons.

    Args:
        model: the fp32 graph with its head.
        basis: what the gate judged of it.
    Raises:
        DataError: a file changed since it was validated.
        StageInputError: there is nothing to calibrate with.
    """
    say("export: int8 is asked for; building and measuring its variants")
    built, why_not = _built(workspace, params, model, preprocess)
    if built is None:
        return fell_back(params, model, basis, [why_not])
    graphs: dict[VariantName, bytes] = {variant.name: variant.graph for variant in built.variants}
    answers = answers_of(workspace, params, graphs, preprocess, basis.gated)
    judgements = {name: judge_answers(basis, answers[name], params) for name in graphs}
    decision = decide(_candidates(built, judgements, len(model), params.export.int8), params.export.int8)
    reports = [_report(variant, judgements[variant.name], decision, len(model)) for variant in built.variants]
    _tell(built.latencies, reports)
    if decision.variant is None:
        reasons = [f"{each.name}: {'; '.join(each.reasons)}" for each in reports]
        return fell_back(params, model, basis, reasons, reports, built)
    name = decision.variant
    chosen = next(each for each in reports if each.name == name)
    taken = _released(
        params, graphs[name], judgements[name], answers[name], chosen, reports, basis, built.calibration_items
    )
    say(f"export: {name} is released in int8")
    return replace(taken, latencies=built.latencies)


def as_it_is(params: Params, model: bytes, evaluation: EvaluationReport) -> Quantized:
    """The fp32 model where nothing else was asked for."""
    report = QuantizationReport(requested=params.export.precision, released="fp32")
    return Quantized(model, evaluation, PREDICTIONS.empty_table(), report, None)


def fell_back(
    params: Params,
    model: bytes,
    basis: Basis,
    reasons: list[str],
    variants: list[VariantReport] | None = None,
    built: Built | None = None,
) -> Quantized:
    """The fp32 model in the place of an int8 one, with the reasons."""
    quantization = Quantization(
        requested=params.export.precision,
        reasons=reasons,
        calibration_items=built.calibration_items if built else 0,
    )
    report = QuantizationReport(
        requested=params.export.precision, released="fp32", quantization=quantization, variants=variants or []
    )
    say("\n".join(["export: fp32 is released, for no int8 model earned its place", *reasons]), "warning")
    latencies = built.latencies if built else None
    return Quantized(model, basis.evaluation, PREDICTIONS.empty_table(), report, latencies)


def _built(workspace: Workspace, params: Params, model: bytes, preprocess: Preprocess) -> tuple[Built | None, str]:
    """Every variant, or None and why the graph cannot be quantised."""
    int8, threads = params.export.int8, params.limits.of("export").threads
    items, root = learning_items(workspace, int8.calibration_items, int8.seed), workspace.data_root(params.data.path)
    calibration = prepared_images(root, items.calibration, preprocess, threads)
    measured = prepared_images(root, items.measured, preprocess, threads)
    reference = logits_of(model, measured, threads)
    try:
        graph = prepared_graph(model)
        ranges = activation_ranges(graph, calibration, threads)
        sensitive = sensitive_nodes(graph, ranges, measured, reference, int8.reduce_range, threads)
        built = []
        for variant in variants_of(graph, sensitive):
            content = quantized_graph(graph, ranges, variant, int8.reduce_range)
            far = distance(logits_of(content, measured, threads), reference)
            left = [name for name in graph.weighted if name in set(variant.fp32)]
            built.append(BuiltVariant(variant.name, content, left, far))
    except (MemoryError, OSError):
        raise
    except Exception as err:
        # Whatever the quantiser cannot do with a network: fp32 is at hand, and is proven. What it says may name a
        # temporary file, and so belongs into no out.
        say(f"export: the network cannot be quantised: {' '.join(str(err).split())[:300]}", "warning")
        return None, f"the network cannot be quantised ({type(err).__name__}; the run's log says more)"
    models: dict[str, bytes] = {FP32: model} | {variant.name: variant.graph for variant in built}
    latencies = measured_latencies(models, calibration[0], int8.timing_rounds, int8.seed)
    return Built(built, len(items.calibration), latencies), ""


def _candidates(
    built: Built, judgements: dict[VariantName, Judgement], fp32_bytes: int, int8: Int8Params
) -> list[Candidate]:
    speedups = {each.model: each.speedup for each in built.latencies.models}
    return [
        Candidate(
            name=variant.name,
            size_ratio=len(variant.graph) / fp32_bytes,
            speedup=speedups[variant.name],
            accuracy_gain=judgements[variant.name].accuracy_gain,
            macro_f1_gain=judgements[variant.name].macro_f1_gain,
            more_items=items_to_settle(judgements[variant.name].counts, int8.accuracy_margin, int8.alpha),
            faults=tuple(judgements[variant.name].faults),
        )
        for variant in built.variants
    ]


def _report(variant: BuiltVariant, judgement: Judgement, decision: Decision, fp32_bytes: int) -> VariantReport:
    judged = decision.judged[variant.name]
    return VariantReport(
        name=variant.name,
        fp32_nodes=variant.fp32_nodes,
        size_ratio=len(variant.graph) / fp32_bytes,
        distance=variant.distance,
        small_enough=judged.small_enough,
        fast_enough=judged.fast_enough,
        as_good=judged.as_good,
        accuracy=judgement.evaluation.accuracy.value,
        macro_f1=judgement.evaluation.macro_f1.value,
        counts=judgement.counts,
        accuracy_gain=judgement.accuracy_gain,
        macro_f1_gain=judgement.macro_f1_gain,
        reasons=judged.reasons,
    )


def _released(
    params: Params,
    model: bytes,
    judgement: Judgement,
    answers: FloatMatrix,
    chosen: VariantReport,
    variants: list[VariantReport],
    basis: Basis,
    calibration_items: int,
) -> Quantized:
    """The int8 model, with its own answers and figures.

    What it says of itself depends on the variant alone: not on which of the others were too slow on this machine.
    """
    predictions = predictions_table(basis.gated, answers, basis.evaluation.labels)
    int8 = params.export.int8
    quantization = Quantization(
        requested=params.export.precision,
        variant=chosen.name,
        reasons=[
            f"{chosen.name} is released: against fp32, accuracy {gain_text(judgement.accuracy_gain)}, allowed to lose "
            f"{int8.accuracy_margin:g}, and macro-F1 {gain_text(judgement.macro_f1_gain)}, {int8.macro_f1_margin:g}",
        ],
        calibration_items=calibration_items,
        size_ratio=chosen.size_ratio,
        accuracy_gain=judgement.accuracy_gain,
        macro_f1_gain=judgement.macro_f1_gain,
        predictions=bytes_sha256(table_bytes(predictions)),
        rules=judgement.rules,
        champion=judgement.champion,
    )
    report = QuantizationReport(
        requested=params.export.precision,
        released="int8",
        quantization=quantization,
        variants=variants,
        evaluation=judgement.evaluation,
    )
    return Quantized(model, judgement.evaluation, predictions, report, None)


def _tell(latencies: LatencyReport, variants: list[VariantReport]) -> None:
    """A line for each variant in the log, which may tell times."""
    speedups = {each.model: each.speedup for each in latencies.models}
    for each in variants:
        speed = speedups[each.name]
        figures = f"{speed.value:.2f} times as fast ({speed.low:.2f} to {speed.high:.2f}), size {each.size_ratio:.2f}"
        if each.accuracy_gain and each.macro_f1_gain:  # Measured with every variant.
            figures += f", accuracy {gain_text(each.accuracy_gain)}, macro-F1 {gain_text(each.macro_f1_gain)}"
        say(f"  {each.name}: {figures}{': no, ' if each.reasons else ''}{'; '.join(each.reasons)}")

"""int8 against fp32: accuracy, macro-F1, latency and size of every variant, and what is released.

    python -m benchmarks.int8 HYMENOPTERA DOGS_CATS --weights MOBILENET_V2.pth SQUEEZENET1_0.pth [--rounds 60]

Runs the corridor with `export.precision=int8` for each pair of backbone and pack, stage by stage in this process, in
workspaces of their own, and reads what export wrote: reports/int8.json and reports/int8_timings.json. About five
minutes; latencies are processor time of one thread, in random order, as ratios within a round.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.rounds import command_line, conditions, keep_section, load_now, markdown_table
from flows.inputs import write_inputs
from tasks.adapt import adapt
from tasks.embed import embed
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.gate import gate
from tasks.params import load_params
from tasks.qualify import qualify
from tasks.reports import Estimate, EvaluationReport
from tasks.reports.qualification import Qualification
from tasks.reports.quantization import LatencyReport, QuantizationReport, VariantReport
from tasks.review import review
from tasks.split import split
from tasks.validate import validate
from tasks.workspace import Workspace

CHECKOUT = Path(__file__).resolve().parents[1]
STAGES = (validate, embed, split, review, adapt, evaluate, gate, export, qualify)
HEADER = (
    *("model", "left in fp32", "accuracy", "macro-F1", "accuracy gained (lower bound)"),
    *("macro-F1 gained (lower bound)", "times as fast (95% interval)", "size", "judged"),
)

INTRODUCTION = """Linear probes. Gains are of int8 over fp32 on the same test items; their lower bounds (one-sided, 95%)
must lie above -0.02. Latency is processor time of one image on one thread, as the ratio of fp32's to the model's in the
same round; its lower bound must reach 1.1. Size is a share of fp32's bytes, 0.6 at most. Variants are judged from the
gentlest on, until one fails; `left in fp32` counts layers with weights, beside the head."""


@dataclass(frozen=True)
class Case:
    """One backbone on one pack, after its corridor."""

    pack: str
    backbone: str
    evaluation: EvaluationReport
    report: QuantizationReport
    latencies: LatencyReport
    qualified: bool


def run_case(root: Path, data: Path, weights: Path, rounds: int) -> Case:
    """Run every stage in a workspace of its own below `root`."""
    backbone = weights.name.partition("-")[0]
    workspace = Workspace(root / f"{backbone}-{data.name}")
    workspace.root.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(workspace.root)], check=True)
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(CHECKOUT / name, workspace.root / name)
    yaml = YAML()
    document = yaml.load(workspace.params.read_text("utf-8"))
    document["data"]["path"] = str(data)
    document["backbone"] = {"name": backbone, "weights": str(weights)}
    document["export"]["precision"] = "int8"
    document["export"]["int8"]["timing_rounds"] = rounds
    with workspace.params.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    params = load_params(workspace.params)
    write_inputs(workspace, params)
    for stage in STAGES:
        stage(workspace, params)
    return Case(
        pack=data.name,
        backbone=backbone,
        evaluation=EvaluationReport.read(workspace.evaluation),
        report=QuantizationReport.read(workspace.quantization),
        latencies=LatencyReport.read(workspace.int8_timings),
        qualified=Qualification.read(workspace.qualification).passed,
    )


def rows_of(case: Case) -> Iterator[list[str]]:
    """fp32 and every variant, gentlest first."""
    speedups = {each.model: each.speedup for each in case.latencies.models}
    fp32 = case.evaluation
    yield ["fp32", "all", f"{fp32.accuracy.value:.4f}", f"{fp32.macro_f1.value:.4f}", "", "", "1", "1", ""]
    for each in case.report.variants:
        speed = speedups[each.name]
        yield [
            each.name,
            str(len(each.fp32_nodes)),
            f"{each.accuracy:.4f}",
            f"{each.macro_f1:.4f}",
            _gain(each.accuracy_gain),
            _gain(each.macro_f1_gain),
            f"{speed.value:.2f} ({speed.low:.2f} to {speed.high:.2f})",
            f"{each.size_ratio:.2f}",
            _judged(each),
        ]


def section(cases: list[Case], rounds: int, load: float) -> str:
    """The text of RESULTS.md."""
    parts = [
        "## int8 against fp32",
        "    python -m benchmarks.int8 HYMENOPTERA DOGS_CATS --weights MOBILENET_V2.pth SQUEEZENET1_0.pth",
        INTRODUCTION,
        conditions(rounds, load),
    ]
    for case in cases:
        items = case.evaluation.test_items
        parts += [f"### {case.backbone} on {case.pack}, {items} test items", _outcome(case)]
        parts.append(markdown_table(HEADER, rows_of(case)))
    return "\n\n".join(parts)


def _outcome(case: Case) -> str:
    quantization = case.report.quantization
    released = quantization.variant if quantization else None
    judged = "and qualified" if case.qualified else "and did not qualify"
    return f"Released: **{f'int8, {released}' if released else 'fp32'}**, {judged}."


def _judged(each: VariantReport) -> str:
    failed = [
        *(["not as good"] if each.as_good is False else []),
        *(["not judged"] if each.as_good is None else []),
        *([] if each.fast_enough else ["too slow"]),
        *([] if each.small_enough else ["too large"]),
    ]
    return ", ".join(failed) or "passed"


def _gain(gain: Estimate | None) -> str:
    return f"{gain.value:+.4f} ({gain.low:+.4f})" if gain else ""


def main() -> None:
    parser = command_line(__doc__)
    parser.set_defaults(rounds=60)
    parser.add_argument("packs", nargs="+", type=Path)
    parser.add_argument("--weights", nargs="+", type=Path, required=True)
    arguments = parser.parse_args()
    load, cases = load_now(), []
    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder:
        for weights in arguments.weights:
            for data in arguments.packs:
                cases.append(run_case(Path(folder), data.resolve(), weights.resolve(), arguments.rounds))
                print(f"{weights.name} on {data.name}: {_outcome(cases[-1])}", file=sys.stderr, flush=True)
    keep_section("int8", section(cases, arguments.rounds, load), arguments.results)


if __name__ == "__main__":
    main()

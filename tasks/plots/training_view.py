"""A training run as the model page shows it: its sentence, its curves, its picture and its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.params import Params
from tasks.plots.block_picture import block_picture, depth_text
from tasks.plots.charts import Chart
from tasks.plots.findings import method_name
from tasks.plots.number_text import count_text, counted_text, ratio_text
from tasks.plots.probe_comparison import judged_text
from tasks.plots.training_charts import learning_curves
from tasks.reports import AdaptationReport, BlockState, EpochScore, TrainingReport

_JUDGED = {
    "validation": "Judged on {items}, which it did not learn from.",
    "cross_validation": "Judged on {items}, each while its fold was held out; the model itself was then trained on all "
    "of them up to the chosen epoch.",
    "nothing": "Nothing was held out to judge it.",
}


@dataclass(frozen=True)
class TrainingView:
    """Charts and words of one run; `kept` is whether it is the model's own; a baseline has no picture."""

    title: str
    depth: str
    says: list[str]
    curves: list[Chart]
    picture: Chart | None
    blocks: list[BlockState]
    kept: bool


def training_views(params: Params, adaptation: AdaptationReport) -> list[TrainingView]:
    """The run that was asked for, then the one from scratch that it is held against; none for a probe alone."""
    views = []
    if adaptation.training is not None:
        kept = adaptation.method != "linear_probe"
        name = adaptation.method if kept else params.adapt.method.name
        title = f"{method_name(name).capitalize()}{'' if kept else ', not kept'}"
        views.append(_view(adaptation.training, title, name, block_picture(adaptation.training, name), kept=kept))
    if adaptation.from_scratch is not None:
        title = "The same network from scratch"
        views.append(_view(adaptation.from_scratch, title, "scratch baseline", None, kept=False))
    return views


def _view(training: TrainingReport, title: str, name: str, picture: Chart | None, *, kept: bool) -> TrainingView:
    return TrainingView(
        title=title,
        depth=depth_text(training.blocks) if training.blocks else "",
        says=_says(training),
        curves=learning_curves(training, name),
        picture=picture,
        blocks=training.blocks,
        kept=kept,
    )


def _says(training: TrainingReport) -> list[str]:
    lines = [_chosen_text(training), _JUDGED[training.judged_by].format(items=judged_text(training))]
    if any(block.trained for block in training.blocks[:-1]):
        lines.append(f"Batch-norm statistics of trained blocks: {training.batch_norm}.")
    if training.kept_views:
        views = counted_text(training.kept_views, "view")
        lines.append(f"The frozen part was computed once, for {views} of each image.")
    device = {"cpu": "the CPU", "cuda": "a GPU (CUDA)"}.get(training.device, training.device)
    lines.append(f"Computed in {training.precision}, {training.memory_format.replace('_', ' ')}, on {device}.")
    return lines


def _chosen_text(training: TrainingReport) -> str:
    last = max((score.epoch for score in training.epochs), default=0)
    if training.judged_by == "nothing":
        return f"Trained for {counted_text(last, 'epoch')}."
    if training.best_epoch == 0:
        chosen = f"No epoch of {count_text(last)} was better than the start, which was taken"
    else:
        chosen = f"Epoch {count_text(training.best_epoch)} of {count_text(last)} was chosen"
    score = _score_at(training, training.best_epoch)
    if score is not None and score.accuracy is not None and score.loss is not None:
        chosen += f": accuracy {ratio_text(score.accuracy)}, log loss {ratio_text(score.loss)}"
    early = " Training ended early, as the loss no longer fell." if training.stopped_early else ""
    return f"{chosen}.{early}"


def _score_at(training: TrainingReport, epoch: int) -> EpochScore | None:
    return next((score for score in training.epochs if score.epoch == epoch), None)

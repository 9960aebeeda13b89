"""Of all items, what may be learned from: by the linear probe, and by a network that is trained."""

from __future__ import annotations

from tasks.methods.features import LabelledItems
from tasks.methods.network_contract import LabelledImages
from tasks.params import AdaptParams, FromScratchParams, LinearProbeParams, Params
from tasks.reports.backbone import BackboneReport
from tasks.reports.training import TrainingReport
from tasks.workspace import Workspace

LEARNABLE = ["train", "validation"]
"""The sides of which a network learns or is judged on."""


def labelled_images(
    workspace: Workspace, params: Params, backbone: BackboneReport, items: LabelledItems
) -> LabelledImages:
    """What a network may be trained on: every item but those of the test side."""
    root, learnable = workspace.data_root(params.data.path), items.on(LEARNABLE)
    return LabelledImages(
        items=learnable,
        files=[root / path for path in learnable.paths],
        backbone=params.backbone,
        root=workspace.root,
        preprocess=backbone.preprocess,
        weights_sha256=backbone.weights_sha256,
        checkpoints=workspace.checkpoints,
        cache=workspace.cache,
        threads=params.limits.of("adapt").threads,
    )


def probe_of(settings: AdaptParams) -> LinearProbeParams:
    """The settings of the linear probe: the method itself, or what training starts from and is held against."""
    method = settings.method
    if isinstance(method, LinearProbeParams):
        return method
    return LinearProbeParams() if isinstance(method, FromScratchParams) else method.probe


def fitted_sides(settings: LinearProbeParams) -> list[str]:
    """The sides that the probe learns from."""
    return LEARNABLE if settings.fit_on_validation else ["train"]


def trained_sides(training: TrainingReport) -> list[str]:
    """The sides that the trained network learned from: a validation side that judged it is not one of them."""
    return ["train"] if training.judged_by == "validation" else LEARNABLE


def items_on(items: LabelledItems, sides: list[str]) -> int:
    """How many items lie on these sides."""
    return sum(side in sides for side in items.sides)

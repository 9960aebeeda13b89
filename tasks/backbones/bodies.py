"""A torchvision network without its head: where the head is, what takes its place, weights loaded."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model

from tasks.backbones.registry import Backbone
from tasks.backbones.weights import LoadedWeights
from tasks.errors import WeightsError

_BESIDE_THE_LAST_LAYER = (nn.Dropout, nn.Flatten, nn.ReLU, nn.AdaptiveAvgPool2d)
"""What goes with the last layer when it alone is wanted gone: no weights, no use without it (pooling is put back)."""
_OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)$")


def body_of(backbone: Backbone, weights: LoadedWeights, seed: int = 0) -> nn.Module:
    """The architecture with these weights and without its heads, in evaluation mode.

    Args:
        seed: of the random weights, where there are no others.
    Raises:
        WeightsError: the architecture cannot be built for the weights' crop, or the state dict is not of it; the first
            differing names are listed.
    """
    torch.manual_seed(seed)
    body = build(backbone, weights.preprocess.crop, initialise=weights.state is None)
    head, layer = head_of(body, backbone)
    _replace(body, head, nn.AdaptiveAvgPool2d(1) if isinstance(layer, nn.Conv2d) else nn.Identity())
    if weights.state is not None:
        _load_state(body, backbone, head, weights.state)
    return body.eval()


def build(backbone: Backbone, crop: int, initialise: bool = True) -> nn.Module:
    """The whole network, its head included and its auxiliary heads left out.

    Args:
        crop: side of its input, pixels.
        initialise: False spares the slow truncated normal of the Inception networks, where weights will be loaded.
    Raises:
        WeightsError: the architecture takes no input of that side.
    """
    options: dict[str, Any] = {}
    if backbone.auxiliary:
        # Pretrained Inception weights want their input shifted again, as torchvision does when it loads them itself.
        options = {"aux_logits": False, "init_weights": initialise, "transform_input": True}
    if backbone.size_argument:
        options[backbone.size_argument] = crop if backbone.size_argument == "image_size" else (crop, crop)
    try:
        network: nn.Module = get_model(backbone.name, weights=None, **options)
    except (AssertionError, ValueError) as err:
        raise WeightsError(
            f"{backbone.name} takes no images of {crop} pixels ({' '.join(str(err).split())[:200]}); "
            "set backbone.preprocess.crop to null"
        ) from err
    return network


def head_of(network: nn.Module, backbone: Backbone) -> tuple[str, nn.Module]:
    """The name of the head, and its first layer with weights, which says how wide the features are.

    A head is the last linear layer or convolution, and the module around it where nothing else there has weights
    (dropout and the like); a row of the registry may name another one.
    """
    layers = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    if backbone.head:
        return backbone.head, next(layers[name] for name in layers if name.startswith(f"{backbone.head}."))
    head = last = list(layers)[-1]
    while "." in head:
        above = head.rpartition(".")[0]
        beside = [module for name, module in network.get_submodule(above).named_children() if f"{above}.{name}" != head]
        if not all(isinstance(module, _BESIDE_THE_LAST_LAYER) for module in beside):
            break
        head = above
    return head, layers[last]


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(network.get_submodule(above), own, module)


def _load_state(body: nn.Module, backbone: Backbone, head: str, state: Mapping[str, torch.Tensor]) -> None:
    heads = tuple(f"{name}." for name in (head, *backbone.auxiliary))
    kept = OrderedDict(
        (_OLD_DENSENET_NAME.sub(r"\1\2", name), value.float() if value.is_floating_point() else value)
        for name, value in state.items()
        if not name.startswith(heads)
    )
    # MNASNet refuses a state dict that does not tell its layout; a plain one is of today's.
    kept._metadata = {"": {"version": body._version}}  # type: ignore[attr-defined]
    damaged = [name for name, value in kept.items() if not bool(torch.isfinite(value).all())]
    if damaged:
        raise WeightsError(f"the weights of {backbone.name} hold values that are no numbers: {damaged[:3]}")
    try:
        result = body.load_state_dict(kept, strict=False)
    except RuntimeError as err:
        mend = "; they are for another backbone.preprocess.crop" if "pos_embedding" in str(err) else ""
        raise WeightsError(f"the weights do not fit {backbone.name}: {' '.join(str(err).split())[:300]}{mend}") from err
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise WeightsError(
            f"the weights are not of {backbone.name}: missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}; "
            "set backbone.name to their architecture"
        )

"""Finding, checking and loading a backbone's weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tasks.backbones.registry import Backbone, find_backbone
from tasks.digests import bytes_sha256, file_sha256
from tasks.errors import WeightsError, did_you_mean
from tasks.params import BackboneParams
from tasks.preprocess import Preprocess
from tasks.workspace import expanded

if TYPE_CHECKING:
    import torch

BUNDLED_ARCHITECTURE = "shufflenet_v2_x0_5"
SUFFIXES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from, known without torch.

    Attributes:
        name: how reports call them: bundled, none, a torchvision name or a file's name; never a path.
        file: the local file, if there is one already.
        identity: sha256 of the local file, or the name where there is none yet.
    """

    name: str
    file: Path | None
    identity: str


@dataclass(frozen=True)
class LoadedWeights:
    """A state dict (None: random, seeded), the file's sha256 and the preprocessing that belongs to it."""

    state: Mapping[str, torch.Tensor] | None
    sha256: str
    preprocess: Preprocess


class _About(BaseModel):
    """What a safetensors file of ours says of itself, in its metadata."""

    architecture: str | None = None
    preprocess: Preprocess | None = None


def bundled_file() -> Path:
    """The weights that come with Graft."""
    return Path(str(resources.files("tasks.backbones") / "bundled" / "glyphs.safetensors"))


def locate(params: BackboneParams, root: Path) -> WeightsSource:
    """Find the weights that params name; relative paths start at `root`.

    Raises:
        WeightsError: no such file or weights name, or bundled weights for another architecture.
    """
    backbone, text = find_backbone(params.name), params.weights
    if text == "none":
        return WeightsSource("none", None, "none")
    if text == "bundled":
        if backbone.name != BUNDLED_ARCHITECTURE:
            raise WeightsError(
                f"the bundled weights are for {BUNDLED_ARCHITECTURE}, not {backbone.name}; set backbone.weights to a "
                f"torchvision weights name (IMAGENET1K_V1) or a local .pth or .safetensors file"
            )
        return WeightsSource("bundled", bundled_file(), file_sha256(bundled_file()))
    if text.endswith(SUFFIXES):
        file = (root / expanded(text)).absolute()
        if not file.is_file():
            raise WeightsError(f"backbone.weights: {file} does not exist or is no file")
        return WeightsSource(file.name, file, file_sha256(file))
    if "/" in text:
        raise WeightsError(f"backbone.weights: {text!r} must end in one of {', '.join(SUFFIXES)}")
    family, _, name = text.rpartition(".")
    if family and family.removesuffix("_Weights").lower() != backbone.name:
        raise WeightsError(f"backbone.weights: {text!r} is not of {backbone.name}; set backbone.name to match")
    if name not in backbone.weights:
        raise _unknown_name(backbone, name)
    return WeightsSource(name, None, f"torchvision:{name}")


def _unknown_name(backbone: Backbone, name: str) -> WeightsError:
    own = ["bundled", "none"] if backbone.name == BUNDLED_ARCHITECTURE else ["none"]
    return WeightsError(
        f"backbone.weights: {name!r} is no torchvision weights name of {backbone.name}"
        f"{did_you_mean(name, [*backbone.weights, *own])}, or a local {' or '.join(SUFFIXES)} file"
    )


def load(params: BackboneParams, source: WeightsSource) -> LoadedWeights:
    """Read, and where necessary download, the weights. Imports torch.

    Raises:
        WeightsError: unreadable or unsafe file, unknown weights name, failed download, or a wrong sha256.
    """
    backbone = find_backbone(params.name)
    if source.name == "none":
        return LoadedWeights(None, bytes_sha256(b"none"), _with_overrides(_imagenet_preprocess(backbone), params))
    if source.file is None:
        file, preprocess = _download(backbone, source.name)
    else:
        file, preprocess = source.file, None
    if file.suffix == ".safetensors":
        state, recorded = _read_safetensors(file, backbone)
        preprocess = recorded or preprocess
    else:
        state = _read_pickle(file)
    return LoadedWeights(
        state, file_sha256(file), _with_overrides(preprocess or _imagenet_preprocess(backbone), params)
    )


def _read_pickle(file: Path) -> Mapping[str, torch.Tensor]:
    import torch

    try:
        document = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as err:
        raise WeightsError(
            f"{file} cannot be read as plain weights (torch.load with weights_only): {_brief(err)}; "
            "save the model's state_dict() and name that file"
        ) from err
    for wrapper in ("state_dict", "model"):
        if isinstance(document, dict) and isinstance(document.get(wrapper), dict):
            document = document[wrapper]
    if not isinstance(document, dict) or not all(isinstance(value, torch.Tensor) for value in document.values()):
        raise WeightsError(f"{file} holds no state dict (names to tensors); save the model's state_dict()")
    return {name.removeprefix("module."): value for name, value in document.items()}


def _read_safetensors(file: Path, backbone: Backbone) -> tuple[Mapping[str, torch.Tensor], Preprocess | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            about = _About.model_validate_json((tensors.metadata() or {}).get("graft", "{}"))
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as err:
        raise WeightsError(f"{file} is no readable safetensors file: {_brief(err)}") from err
    if about.architecture not in (None, backbone.name):
        raise WeightsError(
            f"{file} holds weights of {about.architecture}, not {backbone.name}; set backbone.name to match"
        )
    return state, about.preprocess


def _download(backbone: Backbone, name: str) -> tuple[Path, Preprocess]:
    import torch
    from torchvision.models import get_model_weights

    known = {weights.name: weights for weights in get_model_weights(backbone.name)}
    if name not in known:
        raise _unknown_name(backbone, name)
    weights = known[name]
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    # Before torchvision reads it: its cache is trusted by name alone.
    _check_named_sha256(file)
    try:
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, HTTPException, UnpicklingError) as err:
        raise WeightsError(
            f"{name} of {backbone.name} cannot be had from {weights.url}: {_brief(err)}; "
            "download that file elsewhere and set backbone.weights to its path"
        ) from err
    _check_named_sha256(file)
    return file, _from_transforms(weights.transforms())


def _check_named_sha256(file: Path) -> None:
    """torchvision's files carry the beginning of their sha256 in their name."""
    expected = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if expected and file.is_file() and not file_sha256(file).startswith(expected[1]):
        raise WeightsError(f"{file} is damaged: its sha256 does not start with {expected[1]}; delete it and run again")


def _imagenet_preprocess(backbone: Backbone) -> Preprocess:
    from torchvision.models import get_model_weights

    return _from_transforms(get_model_weights(backbone.name)["IMAGENET1K_V1"].transforms())


def _from_transforms(preset: Any) -> Preprocess:
    return Preprocess(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _with_overrides(preprocess: Preprocess, params: BackboneParams) -> Preprocess:
    changes = {key: value for key, value in params.preprocess.model_dump().items() if value is not None}
    changed = preprocess.model_copy(update=changes)
    if changed.crop > changed.resize:
        raise WeightsError(
            f"backbone.preprocess: crop {changed.crop} exceeds resize {changed.resize}; raise resize or lower crop"
        )
    return changed


def _brief(err: BaseException) -> str:
    return " ".join(str(err).split())[:200] or type(err).__name__

"""The backbone's graph: exported once, the same bytes every time, and nothing local in them."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from small_workspace import REPOSITORY, RUN, change_params

from tasks.backbones import graph as graph_module
from tasks.backbones.engine import installed_engine
from tasks.backbones.graph import cached_backbone
from tasks.backbones.registry import Backbone, find_backbone
from tasks.backbones.torch_export import export_features
from tasks.backbones.weights import LoadedWeights, load, locate
from tasks.digests import file_sha256, value_sha256
from tasks.params import BackboneParams, load_params
from tasks.workspace import Workspace


@pytest.fixture
def params(finished: Workspace) -> BackboneParams:
    return load_params(finished.params).backbone


def exports(monkeypatch: pytest.MonkeyPatch, data: bytes = b"") -> list[str]:
    """Names of the architectures that are exported from now on; each export gives `data`."""
    from tasks.backbones import torch_export

    seen: list[str] = []

    def counting(backbone: Backbone, weights: LoadedWeights) -> bytes:
        seen.append(backbone.name)
        return data

    monkeypatch.setattr(torch_export, "export_features", counting)
    return seen


def test_a_graph_that_is_in_the_cache_is_not_exported_again(
    finished: Workspace, params: BackboneParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = exports(monkeypatch)
    report, graph = cached_backbone(params, finished.root, finished.cache)
    assert seen == []
    assert file_sha256(graph) == report.graph_sha256
    engine = installed_engine().model_dump(mode="json", exclude={"schema_version"})
    assert report.engine_sha256 == value_sha256(engine)
    assert (report.architecture, report.weights, report.feature_width) == ("squeezenet1_0", "none", 512)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "report"])
def test_a_damaged_graph_in_the_cache_is_exported_anew(
    finished: Workspace, params: BackboneParams, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    before, graph = cached_backbone(params, finished.root, finished.cache)
    data = graph.read_bytes()
    if damage == "missing":
        graph.unlink()
    elif damage == "report":
        (graph.parent / "backbone.json").write_text("{")
    else:
        graph.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flipped" else data[:-1])
    seen = exports(monkeypatch, data)
    after, again = cached_backbone(params, finished.root, finished.cache)
    assert seen == ["squeezenet1_0"]
    assert (after, again.read_bytes()) == (before, data)


def test_other_weights_or_preprocessing_have_a_graph_of_their_own(finished: Workspace, params: BackboneParams) -> None:
    source = locate(params, finished.root)
    other = load_params(finished.params).model_copy()
    crop = change_params(finished, {"backbone": {"preprocess": {"crop": 30}}}).backbone
    keys = {
        graph_module._cache_key(params, source),
        graph_module._cache_key(crop, source),
        graph_module._cache_key(params, graph_module.WeightsSource("x.pth", None, "another sha256")),
    }
    assert len(keys) == 3
    assert other.backbone == params


def test_the_graph_holds_no_path_user_host_or_stack_trace(finished: Workspace, params: BackboneParams) -> None:
    data = cached_backbone(params, finished.root, finished.cache)[1].read_bytes()
    home, prefix = str(Path.home()), sys.prefix
    for local in (str(finished.root), str(REPOSITORY), prefix, home, tempfile.gettempdir(), "site-packages", ".py"):
        assert local.encode() not in data, local
    for trace in (b"stack_trace", b'File "', b"line ", b"pkg.torch"):
        assert trace not in data, trace
    for name in (getpass.getuser(), socket.gethostname(), os.uname().release):
        assert len(name) < 5 or name.encode() not in data, name


def test_the_same_weights_give_the_same_bytes(finished: Workspace, params: BackboneParams) -> None:
    cached = cached_backbone(params, finished.root, finished.cache)[1].read_bytes()
    weights = load(params, locate(params, finished.root))
    assert export_features(find_backbone(params.name), weights) == cached


def test_with_the_graph_in_the_cache_no_stage_imports_torch(finished: Workspace) -> None:
    script = f"""
import sys
from importlib import import_module
from pathlib import Path
from tasks.params import load_params
from tasks.workspace import Workspace
workspace = Workspace(Path({str(finished.root)!r}))
params = load_params(workspace.params)
for name in {[stage for stage in RUN if stage != "validate"]!r}:
    getattr(import_module(f"tasks.{{name}}"), name)(workspace, params)
    heavy = {{"torch", "torchvision", "great_expectations", "prefect", "dvc"}} & sys.modules.keys()
    assert not heavy, (name, heavy)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

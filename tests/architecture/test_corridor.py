"""One stage = one verb = one file = one block of dvc.yaml = one section of params; DVC knows its real imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from tasks.params import Params
from tasks.workspace import STAGES, Workspace

ROOT = Path(__file__).parents[2]
WORDS = ("digests", "errors", "log_lines", "params", "release", "reports", "stage", "tables", "threads", "workspace")
"""Modules that change no result: named in docs/decisions/0003; a change to them recomputes nothing."""


def pipeline() -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))
    return document["stages"]


def code_closure(stage: str) -> set[str]:
    graph = grimp.build_graph("tasks")
    modules = graph.find_upstream_modules(f"tasks.{stage}") | {f"tasks.{stage}"}
    names = {module for module in modules if module != "tasks" and module.split(".")[1] not in WORDS}
    return {f"{name.replace('.', '/')}.py" for name in names if (ROOT / f"{name.replace('.', '/')}.py").exists()}


def test_dvc_stages_are_the_corridor_in_order() -> None:
    assert tuple(pipeline()) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_file_a_section_and_a_command_of_its_name(stage: str) -> None:
    sections = {field.alias or name for name, field in Params.model_fields.items()}

    assert (ROOT / "tasks" / f"{stage}.py").is_file()
    assert stage in sections
    assert pipeline()[stage]["cmd"] == f"python -m tasks.{stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_knows_exactly_the_code_that_a_stage_imports(stage: str) -> None:
    declared = {path for path in pipeline()[stage]["deps"] if path.endswith(".py")}

    assert declared == code_closure(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_exist(stage: str) -> None:
    document = Params().model_dump(mode="json", by_alias=True)
    for key in pipeline()[stage]["params"]:
        place: Any = document
        for part in key.split("."):
            assert part in place, f"{stage} declares {key}, which params.yaml does not know"
            place = place[part]


def outs_of(block: dict[str, Any]) -> set[str]:
    outs = [out for kind in ("outs", "metrics", "plots") for out in block.get(kind, [])]
    return {next(iter(out)) if isinstance(out, dict) else out for out in outs}


def test_every_input_of_a_stage_is_pinned_or_made_before_it() -> None:
    workspace = Workspace(Path())
    pinned = {workspace.engine, workspace.weights_pin, workspace.source_pin, workspace.splits_lock}
    pinned |= {workspace.corrections, workspace.forgotten, workspace.champion_pin, workspace.test_use}
    made = {path.as_posix() for path in pinned} | {"${data.path}", "requirements.lock"}
    for stage, block in pipeline().items():
        for path in block["deps"]:
            ours = path.startswith("tasks/") and (ROOT / path).exists()
            known = ours or any(path == one or path.startswith(f"{one}/") for one in made)
            assert known, f"{stage} reads {path}, which nothing made"
        made |= outs_of(block)


def test_params_yaml_spells_out_the_defaults() -> None:
    from tasks.params import load_params

    assert load_params(ROOT / "params.yaml") == Params()

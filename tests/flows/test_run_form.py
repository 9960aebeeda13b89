"""The form of a deployed run: made from the models of params.yaml, judged by Prefect's own validator."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate
from pydantic import Field

from flows.params_file import Edit, edited_params
from flows.run_form import NOT_IN_THE_FORM, SET_TITLE, UNSET_TITLE, Settings, edits_of
from tasks.errors import ParamsError
from tasks.params import Params, load_params
from tasks.params.backbone import BackboneName
from tasks.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]


def form(why: Annotated[str, Field(min_length=1)], settings: Settings = Settings()) -> None:  # noqa: B008
    """As the deployed flow has it."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return parameter_schema(form).model_dump()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Nothing but this repository's params.yaml and dvc.yaml."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return Workspace(tmp_path)


def everything() -> dict[str, Any]:
    """Every group set to its defaults, as the page sends it once all are opened."""
    groups = Params().model_dump(mode="json", by_alias=True)
    for *place, name in NOT_IN_THE_FORM:
        del (groups[place[0]] if place else groups)[name]
    return groups


def nodes(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from nodes(inner)


def refused(schema: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        validate({"why": "to see", "settings": settings}, schema, raise_on_error=True)
    return str(caught.value)


def test_every_section_of_params_is_a_group_in_its_order_with_its_description(schema: dict[str, Any]) -> None:
    groups = schema["definitions"]["Settings"]["properties"]
    expected = {field.alias or name: field.description for name, field in Params.model_fields.items()}
    del expected["schema_version"], expected["promotion"], expected["serve"]
    assert list(groups) == list(expected)
    assert {name: group["description"] for name, group in groups.items()} == expected


def test_a_group_is_not_set_unless_somebody_opens_it(schema: dict[str, Any]) -> None:
    for group in schema["definitions"]["Settings"]["properties"].values():
        own, unset = group["anyOf"]
        assert group["default"] is None
        assert unset == {"type": "null", "title": UNSET_TITLE}
        assert schema["definitions"][own["$ref"].rpartition("/")[2]]["title"] == SET_TITLE


def test_every_setting_has_a_literal_default(schema: dict[str, Any]) -> None:
    """A page shows an empty field for a default that only code knows."""
    bare = [
        f"{name}.{key}"
        for name, definition in schema["definitions"].items()
        for key, field in definition["properties"].items()
        if "default" not in field
    ]
    assert bare == []


def test_backbones_are_a_list_to_choose_from(schema: dict[str, Any]) -> None:
    assert schema["definitions"]["BackboneParamsForm"]["properties"]["name"]["enum"] == list(get_args(BackboneName))


def test_methods_are_a_choice_by_name_in_the_only_form_that_the_pages_render(schema: dict[str, Any]) -> None:
    method = schema["definitions"]["AdaptParamsForm"]["properties"]["method"]
    members = [schema["definitions"][member["$ref"].rpartition("/")[2]] for member in method["anyOf"]]
    assert [member["title"] for member in members] == ["linear_probe", "fine_tune", "from_scratch"]
    assert not [node for node in nodes(schema) if "oneOf" in node]


def test_what_only_a_commit_decides_is_not_in_the_form(schema: dict[str, Any]) -> None:
    """A group that is opened brings its defaults along, which would switch approval off and reset the rule."""
    definitions = schema["definitions"]
    assert "promotion" not in definitions["Settings"]["properties"]
    assert "champion" not in definitions["GateParamsForm"]["properties"]
    assert "store" not in definitions["PublishParamsForm"]["properties"]
    assert not {"ChampionRule", "ChampionRuleForm", "PromotionParamsForm"} & set(definitions)
    assert "accuracy" in definitions["GateParamsForm"]["properties"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"promotion": {"approval": False}}, "promotion.approval"),
        ({"gate": {"champion": {"margin": 0.2}}}, "gate.champion.margin"),
        ({"publish": {"store": "/elsewhere"}}, "publish.store"),
    ],
)
def test_nobody_sets_it_for_a_single_run_by_the_rest_api_either(
    schema: dict[str, Any], settings: dict[str, Any], key: str
) -> None:
    """The server judges by the form's schema; a deployment that was told not to is judged by the run."""
    assert "was unexpected" in refused(schema, **settings)
    with pytest.raises(ParamsError, match=rf"settings\.{key} is not for a single run to set.*params\.yaml"):
        edits_of(settings)


def test_the_whole_group_gate_leaves_the_commits_rule_and_promotion_alone(workspace: Workspace) -> None:
    rule = [Edit(("gate", "champion", "margin"), 0.03), Edit(("promotion", "approval"), True)]
    edited_params(workspace, rule).keep()
    before = load_params(workspace.params)
    edited_params(workspace, edits_of(everything())).keep()
    after = load_params(workspace.params)
    assert (after.gate.champion, after.promotion) == (before.gate.champion, before.promotion)
    assert (after.gate.champion.margin, after.promotion.approval) == (0.03, True)


def test_nothing_set_and_everything_set_are_both_valid(schema: dict[str, Any]) -> None:
    validate({"why": "to see"}, schema, raise_on_error=True)
    validate({"why": "to see", "settings": dict.fromkeys(everything())}, schema, raise_on_error=True)
    validate({"why": "to see", "settings": everything()}, schema, raise_on_error=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"gate": {"accuracy": {"minimum": 1.5}}},
            ["settings.gate.accuracy.minimum", "1.5 is greater than the maximum"],
        ),
        ({"validate": {"min_items_per_class": 0}}, ["settings.validate.min_items_per_class", "less than the minimum"]),
        ({"backbone": {"name": "resnet19"}}, ["settings.backbone.name", "'resnet19' is not one of"]),
        ({"adapt": {"method": {"name": "fine_tune", "epochs": -1}}}, ["settings.adapt.method.epochs", "-1"]),
        ({"adapt": {"method": {"name": "linear_probe", "head": "tree"}}}, ["settings.adapt.method.head", "'tree'"]),
        ({"adapt": {"method": {"name": "linear_probe", "epochs": 3}}}, ["settings.adapt.method", "'epochs'"]),
        ({"gate": {"acuracy": {"minimum": 0.9}}}, ["settings.gate", "'acuracy' was unexpected"]),
        ({"gates": {}}, ["settings", "'gates' was unexpected"]),
    ],
)
def test_the_server_names_the_wrong_key_and_what_is_allowed(
    schema: dict[str, Any], settings: dict[str, Any], words: list[str]
) -> None:
    message = refused(schema, **settings)
    assert all(word in message for word in words), message


def test_a_run_without_a_reason_is_refused(schema: dict[str, Any]) -> None:
    for parameters in ({}, {"why": ""}):
        with pytest.raises(ValidationError, match="why"):
            validate(parameters, schema, raise_on_error=True)


def test_groups_that_are_not_set_change_nothing(workspace: Workspace) -> None:
    assert edits_of(dict.fromkeys(everything())) == []
    assert edited_params(workspace, edits_of({})).diff == ""


def test_what_is_set_is_written_into_params_yaml_and_nothing_else(workspace: Workspace) -> None:
    before = load_params(workspace.params)
    edited = edited_params(workspace, edits_of({"gate": {"accuracy": {"minimum": 0.9}}, "split": None}))
    edited.keep()
    after = load_params(workspace.params)
    assert after.gate.accuracy.minimum == 0.9
    assert after.gate.accuracy.judged_on == before.gate.accuracy.judged_on
    changed = {name for name in Params.model_fields if getattr(after, name) != getattr(before, name)}
    assert changed == {"gate"}
    assert "# over all decisions on one test set" in workspace.params.read_text()


def test_all_groups_set_to_their_defaults_give_the_default_params(workspace: Workspace) -> None:
    assert edited_params(workspace, edits_of(everything())).params == Params()


def test_another_method_leaves_no_key_of_the_one_before(workspace: Workspace) -> None:
    method = {"name": "fine_tune", "epochs": 3}
    edited = edited_params(workspace, edits_of({"adapt": {"method": method}}))
    assert edited.params.adapt.method.name == "fine_tune"
    assert "head:" not in edited.text


def test_a_table_of_names_is_replaced_as_a_whole(workspace: Workspace) -> None:
    edited_params(workspace, edits_of({"data": {"label_aliases": {"cat": "feline", "dog": "canine"}}})).keep()
    edited = edited_params(workspace, edits_of({"data": {"label_aliases": {"cat": "feline"}}}))
    assert edited.params.data.label_aliases == {"cat": "feline"}


def test_what_only_our_own_check_finds_is_an_error_of_ours(schema: dict[str, Any], workspace: Workspace) -> None:
    settings = {"data": {"label_aliases": {"cat": "feline", "feline": "animal"}}}
    validate({"why": "to see", "settings": settings}, schema, raise_on_error=True)
    with pytest.raises(ParamsError, match=r"settings.*data\.label_aliases.*chain"):
        edited_params(workspace, edits_of(settings), "settings")

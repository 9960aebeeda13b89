"""Editing params.yaml: comments stay, the change is shown, and nothing is written that would not load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.desk import prepare_data
from flows.params_file import Edit, data_edits, edit_params, parse_override
from tasks.errors import DataError, ParamsError
from tasks.params import FineTuneParams, Params, load_params
from tasks.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path.resolve() / "workspace"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root / name)
    return Workspace(root)


def set_key(workspace: Workspace, *texts: str) -> str:
    """The diff of `--set` with each text, from the workspace's root."""
    return edit_params(workspace, [parse_override(text, workspace, workspace.root) for text in texts])[1]


def test_an_edit_changes_its_line_alone_and_keeps_the_comments(workspace: Workspace) -> None:
    before = workspace.params.read_text().splitlines()
    diff = set_key(workspace, "sample.labels_per_class=7")
    after = workspace.params.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        (
            "  labels_per_class: 5      # labelled training images per class; the rest is the test set",
            "  labels_per_class: 7      # labelled training images per class; the rest is the test set",
        )
    ]
    assert f"-{changed[0][0]}\n+{changed[0][1]}\n" in diff


def test_an_edit_that_changes_nothing_shows_nothing_and_leaves_the_file_alone(workspace: Workspace) -> None:
    before = workspace.params.stat()
    assert set_key(workspace, "sample.labels_per_class=5", "data.table=null", "flow.stage_timeout_seconds=14400") == ""
    assert workspace.params.stat().st_mtime_ns == before.st_mtime_ns
    assert workspace.params.stat().st_ino == before.st_ino


def test_null_stays_null(workspace: Workspace) -> None:
    set_key(workspace, "split.seed=3")
    text = workspace.params.read_text()
    assert "  table: null  " in text
    assert "preprocess: {resize: null, crop: null}" in text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gate.accuracy.minimum=0.9", 0.9),
        ("gate.accuracy.minimum=1", 1),
        ("qualify.max_probability_difference=1e-3", 1e-3),
        ("evaluate.baselines=[majority]", ["majority"]),
        ("gate.accuracy={minimum: 0.7, judged_on: lower_bound}", {"minimum": 0.7, "judged_on": "lower_bound"}),
        ("data.table=null", None),
        ("data.table=", None),
        ("export.licence=CC BY 4.0 = free", "CC BY 4.0 = free"),
        ("adapt.method.fit_on_validation=false", False),
    ],
)
def test_values_are_read_as_yaml(workspace: Workspace, text: str, value: Any) -> None:
    edit = parse_override(text, workspace, workspace.root)
    assert edit.value == value
    assert type(edit.value) is type(value)
    edit_params(workspace, [edit])
    params: Any = load_params(workspace.params).model_dump(by_alias=True)
    for part in edit.key:
        params = params[part]
    assert params == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gate.accuracy.minimum", "not of the form section.key=value"),
        ("=1", "not of the form section.key=value"),
        ("gate.acuracy.minimum=1", r"unknown key 'gate.acuracy'; did you mean 'accuracy'\?"),
        ("gates.accuracy=1", r"unknown key 'gates'; did you mean 'gate'\?"),
        ("split.seed.x=1", "holds a value, not keys"),
        ("evaluate.baselines=[majority", "not readable as YAML"),
    ],
)
def test_a_wrong_override_is_named(workspace: Workspace, text: str, complaint: str) -> None:
    with pytest.raises(ParamsError, match=complaint):
        parse_override(text, workspace, workspace.root)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("split.test_share=2", r"split.test_share: 2 is not allowed"),
        ("backbone.name=resnet19", r"did you mean 'resnet18'\?"),
        ("gate.accuracy={minimun: 0.9}", r"unknown key 'gate.accuracy.minimun'; did you mean 'minimum'\?"),
        ("export=5", "export: 5 is not allowed"),
    ],
)
def test_a_value_that_would_not_load_leaves_the_file_untouched(workspace: Workspace, text: str, complaint: str) -> None:
    before = workspace.params.read_bytes()
    with pytest.raises(ParamsError, match=complaint):
        set_key(workspace, "split.seed=9", text)
    assert workspace.params.read_bytes() == before


def test_relative_paths_start_at_the_callers_folder(workspace: Workspace, tmp_path: Path) -> None:
    inside, outside = workspace.root / "notes", tmp_path.resolve()
    assert parse_override("data.path=../data/raw", workspace, inside).value == "data/raw"
    assert parse_override("data.path=photos", workspace, outside).value == str(outside / "photos")
    assert parse_override("publish.store=./store", workspace, inside).value == "notes/store"
    assert parse_override("backbone.weights=w/net.pth", workspace, outside).value == str(outside / "w" / "net.pth")
    assert parse_override("backbone.weights=net.safetensors", workspace, inside).value == "notes/net.safetensors"


@pytest.mark.parametrize("word", ["bundled", "none", "IMAGENET1K_V1", "MobileNet_V2_Weights.IMAGENET1K_V1"])
def test_words_that_name_weights_are_no_paths(workspace: Workspace, word: str) -> None:
    assert parse_override(f"backbone.weights={word}", workspace, workspace.root / "deep").value == word


def test_data_names_a_folder_and_forgets_an_earlier_table(workspace: Workspace, tmp_path: Path) -> None:
    set_key(workspace, "data.table=items.csv")
    (tmp_path / "photos").mkdir()
    params, _ = edit_params(workspace, data_edits("photos", workspace, tmp_path.resolve()))
    assert params.data.path == str(tmp_path.resolve() / "photos")
    assert params.data.table is None


def test_data_names_a_table_and_the_folder_that_it_stands_in(workspace: Workspace) -> None:
    (workspace.root / "photos").mkdir()
    (workspace.root / "photos" / "items.csv").write_text("path,label\n")
    params, _ = edit_params(workspace, data_edits("photos/items.csv", workspace, workspace.root))
    assert (params.data.path, params.data.table) == ("photos", "photos/items.csv")


def test_data_that_are_not_there_are_named(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"--data photos: .*/workspace/photos does not exist"):
        data_edits("photos", workspace, workspace.root)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mk.py", r"mk\.py is a file; only \.csv, \.parquet and \.tsv files are tables"),
        ("list.csv", "set data.path to its folder and data.table to the table"),
    ],
)
def test_a_file_for_a_folder_is_told_what_a_table_is(workspace: Workspace, name: str, told: str) -> None:
    (workspace.root / name).write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(DataError, match=told):
        prepare_data(workspace, Params.model_validate({"data": {"path": name}}))


def test_a_folder_whose_name_ends_like_a_table_is_a_folder(workspace: Workspace) -> None:
    (workspace.root / "odd.csv").mkdir()
    params, _ = edit_params(workspace, data_edits("odd.csv", workspace, workspace.root))
    assert (params.data.path, params.data.table) == ("odd.csv", None)


def test_sections_that_dvc_wants_are_spelled_out(workspace: Workspace) -> None:
    workspace.params.write_text("# mine\nexport:\n  name: mine  # the name\n")
    params, diff = edit_params(workspace, [])
    text = workspace.params.read_text()
    assert text.startswith("# mine\nexport:\n  name: mine  # the name\n")
    assert "gate:" in text
    assert "+data:\n" in diff
    assert load_params(workspace.params) == params
    assert edit_params(workspace, []) == (params, "")


def test_an_edit_reaches_a_section_that_the_file_leaves_out(workspace: Workspace) -> None:
    workspace.params.write_text("schema_version: 2\n")
    params, _ = edit_params(workspace, [Edit(("split", "near_duplicates", "max_hamming"), 4)])
    assert params.split.near_duplicates.max_hamming == 4
    assert load_params(workspace.params) == params


@pytest.mark.parametrize(
    "texts",
    [
        ["data.label_aliases={cat: dog, hen: bird}"],
        ["data.label_aliases={cat: dog}", "data.label_aliases={}"],
        ["limits.stages.embed.threads=1", "limits.stages.validate.threads=1"],
        ["evaluate.baselines=[majority]", "evaluate.baselines=[raw_pixels]"],
    ],
    ids=["children", "children and none again", "children of children", "a list"],
)
def test_sections_stay_apart_and_a_key_stays_with_its_children(workspace: Workspace, texts: list[str]) -> None:
    before = workspace.params.read_text().split("\n\n")
    for text in texts:
        set_key(workspace, text)
    after = workspace.params.read_text().split("\n\n")
    assert [part.split(":")[0] for part in after] == [part.split(":")[0] for part in before]
    assert sum(old != new for old, new in zip(before, after, strict=True)) == (0 if "{}" in texts[-1] else 1)


OWN_WORDS = """adapt:
  # how to adapt
  method:
    name: linear_probe  # the quick one
    # the head of choice
    head: ridge  # exact
    folds: 4  # ours
    class_weight: balanced  # few cats

    # about to keep
  keep_best: false  # always what was asked for

  # the baseline
  from_scratch: never
"""


def method_of(workspace: Workspace) -> dict[str, Any]:
    return load_params(workspace.params).adapt.method.model_dump(exclude_unset=True)


def test_another_method_drops_the_keys_that_it_does_not_know_and_keeps_the_others(workspace: Workspace) -> None:
    workspace.params.write_text(OWN_WORDS)
    edit_params(workspace, [])
    before = workspace.params.read_text()
    diff = set_key(workspace, "adapt.method.name=fine_tune")
    assert method_of(workspace) == {"name": "fine_tune", "folds": 4}
    gone = ["    head: ridge  # exact", "    class_weight: balanced  # few cats"]
    assert all(f"-{line}\n" in diff for line in gone)
    expected = before.replace("name: linear_probe ", "name: fine_tune    ")  # Comments keep their column.
    for line in gone:
        expected = expected.replace(f"{line}\n", "")
    assert workspace.params.read_text() == expected


def test_the_repositorys_file_turns_to_fine_tuning_and_back(workspace: Workspace) -> None:
    before = workspace.params.read_text()
    set_key(workspace, "adapt.method.name=fine_tune", "adapt.method.blocks=2", "adapt.method.probe.head=ridge")
    assert method_of(workspace) == {"name": "fine_tune", "blocks": 2, "probe": {"head": "ridge"}}
    set_key(workspace, "adapt.method.name=from_scratch", "adapt.method.epochs=9")
    assert method_of(workspace) == {"name": "from_scratch", "epochs": 9}
    set_key(workspace, "adapt.method.name=linear_probe")
    assert method_of(workspace) == {"name": "linear_probe"}
    stock = (
        "    head: logistic         # or ridge (exact leave-one-out)\n",
        "    class_weight: none     # or balanced\n",
    )
    assert workspace.params.read_text() == before.replace(stock[0], "").replace(stock[1], "")


def test_the_order_of_edits_does_not_matter_to_another_method(workspace: Workspace) -> None:
    texts = ["adapt.method.name=fine_tune", "adapt.method.blocks=all", "adapt.method.probe.class_weight=balanced"]
    before, results = workspace.params.read_bytes(), []
    for ordered in (texts, texts[::-1], [texts[1], texts[0], texts[2]]):
        workspace.params.write_bytes(before)
        set_key(workspace, *ordered)
        results.append(method_of(workspace))
    assert results[0] == {"name": "fine_tune", "blocks": "all", "probe": {"class_weight": "balanced"}}
    assert results[1] == results[2] == results[0]


def test_a_method_may_be_given_as_a_whole(workspace: Workspace) -> None:
    set_key(workspace, "adapt.method={name: fine_tune, blocks: 2}")
    assert method_of(workspace) == {"name": "fine_tune", "blocks": 2}


@pytest.mark.parametrize("first", ["{head: ridge, name: linear_probe}", "{name: linear_probe, head: ridge}"])
def test_a_method_in_flow_style_turns_too(workspace: Workspace, first: str) -> None:
    workspace.params.write_text(f"adapt:\n  method: {first}  # short\n  keep_best: false\n")
    set_key(workspace, "adapt.method.name=fine_tune")
    line = workspace.params.read_text().splitlines()[1]
    assert line.split("#")[0].rstrip() == "  method: {name: fine_tune}"
    assert line.endswith(" # short")


def test_a_first_line_that_goes_leaves_the_comment_behind_it(workspace: Workspace) -> None:
    workspace.params.write_text("adapt:\n  method:\n    head: ridge\n    # which\n    name: linear_probe\n")
    set_key(workspace, "adapt.method.name=fine_tune")
    assert workspace.params.read_text().startswith("adapt:\n  method:\n    name: fine_tune\n    # which\n")


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["adapt.method.blocks=4"], r"--set: unknown key 'adapt\.method\.blocks' of linear_probe; it belongs to fine"),
        (["adapt.method.head=ridge", "adapt.method.name=fine_tune"], r"'adapt\.method\.head' of fine_tune; it belongs"),
        (["adapt.method.name=finetune"], r"adapt\.method\.name: unknown value 'finetune'; did you mean 'fine_tune'\?"),
    ],
)
def test_a_key_of_another_method_is_refused_and_the_file_left_alone(
    workspace: Workspace, texts: list[str], complaint: str
) -> None:
    before = workspace.params.read_bytes()
    with pytest.raises(ParamsError, match=complaint):
        set_key(workspace, *texts)
    assert workspace.params.read_bytes() == before


def test_a_method_that_the_file_leaves_out_brings_nothing_of_the_default_one(workspace: Workspace) -> None:
    workspace.params.write_text("backbone: {name: resnet18}\n")
    params, _ = edit_params(workspace, [Edit(("adapt", "method", "name"), "fine_tune")])
    assert params.adapt.method == FineTuneParams()
    assert edit_params(workspace, []) == (params, "")


def test_a_method_with_an_anchor_turns_too(workspace: Workspace) -> None:
    workspace.params.write_text("adapt:\n  method: &m {name: linear_probe, head: ridge}\n")
    set_key(workspace, "adapt.method.name=fine_tune")
    assert method_of(workspace) == {"name": "fine_tune"}

"""params.yaml: what is accepted, and how a wrong key or value is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.backbones.registry import BACKBONES
from tasks.errors import ParamsError
from tasks.params import Limits, LinearProbeParams, Params, load_params, parse_params
from tasks.params.document import check_key, known_keys, literal_values, path_rule
from tasks.params.identity import result_params_sha256
from tasks.workspace import STAGES

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_the_repositorys_params_are_the_defaults() -> None:
    assert load_params(ROOT / "params.yaml") == Params()


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_params(write(tmp_path, "# nothing yet\n")) == Params()


def test_an_unknown_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ParamsError, match=r"unknown key 'gate.acuracy'; did you mean 'accuracy'\? known: accuracy"):
        parse_params({"gate": {"acuracy": {"minimum": 0.9}}})


def test_an_unknown_section_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ParamsError, match=r"unknown key 'valdate'; did you mean 'validate'\?"):
        parse_params({"valdate": {}})


def test_an_unknown_backbone_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ParamsError, match=r"backbone.name: unknown value 'resnet19'; did you mean 'resnet18'\?"):
        parse_params({"backbone": {"name": "resnet19"}})


def test_an_unknown_method_is_named_with_what_is_known() -> None:
    with pytest.raises(ParamsError, match=r"adapt.method.name: unknown value 'probe'.*known: .*linear_probe"):
        parse_params({"adapt": {"method": {"name": "probe"}}})


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ({"name": "probe"}, "adapt.method.name: unknown value 'probe'; known: fine_tune, from_scratch, linear_probe"),
        ({"name": "fine_tun"}, "adapt.method.name: unknown value 'fine_tun'; did you mean 'fine_tune'? known: "),
        ({"name": None}, "adapt.method.name: unknown value None; known: "),
        ({"name": ["fine_tune"]}, "adapt.method.name: unknown value ['fine_tune']; "),
        (
            {"name": "linear_probe", "blocks": 4},
            "unknown key 'adapt.method.blocks' of linear_probe; it belongs to fine_tune (adapt.method.name)",
        ),
        (
            {"learning_rate": 0.1},
            "unknown key 'adapt.method.learning_rate' of linear_probe; it belongs to fine_tune and from_scratch (",
        ),
        (
            {"name": "fine_tune", "head": "ridge"},
            "unknown key 'adapt.method.head' of fine_tune; it belongs to linear_probe (adapt.method.name)",
        ),
        (
            {"name": "fine_tune", "blcks": 4},
            "unknown key 'adapt.method.blcks' of fine_tune; did you mean 'blocks'? known: augmentation, average, ",
        ),
        (
            {"name": "fine_tune", "probe": {"hed": "ridge"}},
            "unknown key 'adapt.method.probe.hed'; did you mean 'head'? known: class_weight, fit_on_validation, ",
        ),
        ({"name": "fine_tune", "learning_rate": 20}, "adapt.method.learning_rate: 20 is not allowed: input should be"),
        (
            {"name": "fine_tune", "schedule": "cosin"},
            "adapt.method.schedule: unknown value 'cosin'; did you mean 'cosine'? known: constant, cosine, plateau, ",
        ),
        (
            {"name": "fine_tune", "probe": {"head": "rdge"}},
            "adapt.method.probe.head: unknown value 'rdge'; did you mean 'ridge'? known: logistic, ridge",
        ),
        (
            {"name": "fine_tune", "blocks": "half"},
            "adapt.method.blocks: 'half' is not allowed: input should be a valid integer, unable to parse string as an "
            "integer, or input should be 'all'",
        ),
        (
            {"name": "fine_tune", "probe": 3},
            "adapt.method.probe: 3 is not allowed: it must be a section of keys (name, head, strengths, ",
        ),
    ],
)
def test_a_fault_inside_a_method_names_the_key_as_the_user_writes_it(method: object, complaint: str) -> None:
    with pytest.raises(ParamsError) as refused:
        parse_params({"adapt": {"method": method}})
    assert str(refused.value).startswith(f"params.yaml: {complaint}")
    assert len(str(refused.value).splitlines()) == 1


def test_every_fault_inside_a_method_is_named_at_once() -> None:
    with pytest.raises(ParamsError) as refused:
        parse_params({"adapt": {"method": {"name": "from_scratch", "epochs": 0, "blocks": 2, "folds": 1}}})
    keys = [line.split(": ")[1].split(" ")[-1].strip("'") for line in str(refused.value).splitlines()]
    assert len(keys) == 3
    assert "adapt.method.epochs: 0 is not allowed" in str(refused.value)
    assert "unknown key 'adapt.method.blocks' of from_scratch; it belongs to fine_tune" in str(refused.value)


def test_a_method_that_is_not_named_is_the_linear_probe() -> None:
    params = parse_params({"adapt": {"method": {"head": "ridge"}}})
    assert params.adapt.method == LinearProbeParams(head="ridge")


def test_the_keys_of_every_method_are_known() -> None:
    for key in ("head", "blocks", "learning_rate", "augmentation", "probe"):
        check_key(("adapt", "method", key))
    check_key(("adapt", "method", "probe", "head"))
    assert known_keys(("adapt", "method"))[:3] == ["name", "head", "strengths"]
    assert known_keys(("adapt", "method", "probe")) == list(LinearProbeParams.model_fields)
    assert literal_values(("adapt", "method", "name")) == ["linear_probe", "fine_tune", "from_scratch"]
    assert literal_values(("adapt", "method", "augmentation")) == ["none", "light", "standard", "strong"]
    with pytest.raises(ParamsError, match=r"unknown key 'adapt\.method\.blcks'; did you mean 'blocks'\?"):
        check_key(("adapt", "method", "blcks"))
    with pytest.raises(ParamsError, match=r"unknown key 'adapt\.method\.probe\.hed'; did you mean 'head'\?"):
        check_key(("adapt", "method", "probe", "hed"))
    with pytest.raises(ParamsError, match=r"'adapt\.method\.blocks' holds a value, not keys"):
        check_key(("adapt", "method", "blocks", "x"))


def test_an_unknown_item_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(ParamsError, match=r"evaluate.baselines.1: unknown value 'pixels'; did you mean 'raw_pixels'"):
        parse_params({"evaluate": {"baselines": ["majority", "pixels"]}})


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ParamsError) as caught:
        parse_params({"split": {"test_share": 2}, "embed": {"batch_size": 0}}, "params.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["params.yaml", "embed.batch_size"],
        ["params.yaml", "split.test_share"],
    ]
    assert "less than or equal to 1" in lines[1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gate: [", "not readable as YAML"),
        ("- a\n- b\n", "must hold sections such as `data:`; it holds a list"),
        ("gate: {}\ngate: {}\n", "not readable as YAML"),
    ],
)
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ParamsError, match=complaint):
        load_params(write(tmp_path, text))


def test_a_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match="not readable as YAML"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_comes_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"does not exist; `git checkout params\.yaml`"):
        load_params(tmp_path / "params.yaml")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read"):
        load_params(tmp_path / "params.yaml")


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"unknown key 'data\.path\.x'; 'data\.path' holds a value, not keys"):
        check_key(("data", "path", "x"))


def test_params_offer_exactly_the_registered_backbones() -> None:
    assert literal_values(("backbone", "name")) == list(BACKBONES)


def test_every_section_knows_its_keys() -> None:
    assert known_keys(())[:3] == ["schema_version", "data", "sample"]
    assert "validate" in known_keys(())
    assert known_keys(("gate", "accuracy")) == ["minimum", "judged_on"]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (("data", "path"), "always"),
        (("data", "table"), "always"),
        (("publish", "store"), "always"),
        (("validate", "suite"), "always"),
        (("backbone", "weights"), "with_suffix"),
        (("export", "name"), None),
        (("adapt", "method", "head"), None),
        (("gate", "accuracy", "minimum"), None),
    ],
)
def test_paths_are_told_from_other_texts(key: tuple[str, ...], rule: str | None) -> None:
    assert path_rule(key) == rule


def test_paths_and_machine_settings_leave_the_digest_of_a_result_alone() -> None:
    elsewhere = parse_params(
        {
            "data": {"path": "/elsewhere", "table": "/elsewhere/items.csv"},
            "validate": {"suite": "/elsewhere/suite.json"},
            "backbone": {"weights": "/elsewhere/weights.pth"},
            "embed": {"batch_size": 3},
            "publish": {"store": "/elsewhere/releases"},
            "promotion": {"automatic": True, "equivalent": True, "approval": True, "approval_hours": 3},
            "limits": {"threads": 1, "memory_gb": 2, "stages": {"embed": {"threads": 3}}},
            "flow": {"retries": 0, "log_format": "json"},
        }
    )
    assert result_params_sha256(elsewhere) == result_params_sha256(Params())


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"preprocess": {"crop": 64}}},
        {"data": {"columns": {"label": "kind"}}},
        {"validate": {"min_items_per_class": 6}},
        {"split": {"seed": 1}},
        {"adapt": {"method": {"head": "ridge"}}},
        {"evaluate": {"confidence": 0.9}},
        {"gate": {"accuracy": {"minimum": 0.81}}},
        {"export": {"licence": "MIT"}},
        {"qualify": {"max_size_mb": 5}},
    ],
)
def test_whatever_determines_a_result_moves_its_digest(changes: dict[str, object]) -> None:
    assert result_params_sha256(parse_params(changes)) != result_params_sha256(Params())


def test_params_cannot_be_changed_after_reading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Params().gate.min_test_items = 0


def test_limits_hold_for_every_stage_unless_one_says_otherwise() -> None:
    params = parse_params(
        {
            "limits": {
                "memory_gb": 8,
                "threads": 2,
                "stages": {"embed": {"memory_gb": 4}, "publish": {"free_disk_gb": 9}},
            }
        }
    )
    assert params.limits.of("embed") == Limits(memory_gb=4, threads=2, free_disk_gb=1)
    assert params.limits.of("validate") == Limits(memory_gb=8, threads=2, free_disk_gb=1)
    assert params.limits.of("publish").free_disk_gb == 9


def test_every_stage_can_be_limited() -> None:
    assert all(Params().limits.of(stage) == Limits(None, 0, 1.0) for stage in (*STAGES, "publish"))


def test_a_limit_of_no_stage_names_the_nearest_stage() -> None:
    with pytest.raises(ParamsError, match=r"limits\.stages\.embedd.*did you mean 'embed'"):
        parse_params({"limits": {"stages": {"embedd": {"threads": 1}}}})


@pytest.mark.parametrize(
    ("aliases", "complaint"),
    [
        (
            {"a": "b", "b": "c"},
            r"data\.label_aliases: .*a -> b -> c is a chain; lead both straight to the last \(a: c\)",
        ),
        ({"a": "b", "b": "a"}, r"a -> b -> a goes round in a circle"),
        ({"a": "b", "b": "c", "c": "b"}, r"a -> b -> c -> b goes round in a circle"),
        ({"a": "a"}, r"a -> a goes round in a circle"),
        ({7: "seven"}, "class names are texts, 7 is none; put it into quotes"),
        ({"seven": 7}, "class names are texts, 7 is none; put it into quotes"),
        ({"": "b"}, "class names are texts, '' is none"),
        (["a"], r"data\.label_aliases: \['a'\] is not allowed: it must be a section of keys and values"),
    ],
)
def test_an_alias_leads_straight_to_another_name(aliases: object, complaint: str) -> None:
    with pytest.raises(ParamsError, match=complaint):
        parse_params({"data": {"label_aliases": aliases}})


def test_several_classes_may_be_merged_into_one() -> None:
    assert parse_params({"data": {"label_aliases": {"a": "c", "b": "c"}}}).data.label_aliases == {"a": "c", "b": "c"}


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (1, r"params\.yaml has schema_version 1, this Graft reads 2; run `graft migrate`, which keeps your settings"),
        (3, r"schema_version 3, this Graft reads 2: it was written for a newer Graft; upgrade Graft"),
        (0, "schema_version 0 is none"),
        (True, "schema_version True is none"),
    ],
)
def test_another_schema_version_names_what_to_do(version: object, complaint: str) -> None:
    with pytest.raises(ParamsError, match=complaint):
        parse_params({"schema_version": version, "embed": {"threads": 1}})


def test_a_key_that_moved_names_its_new_place() -> None:
    moved = (
        r"unknown key 'embed\.threads'; it is limits\.stages\.embed\.threads and limits\.stages\.qualify\.threads now"
    )
    with pytest.raises(ParamsError, match=moved):
        parse_params({"embed": {"threads": 1}})
    with pytest.raises(ParamsError, match=moved):
        check_key(("embed", "threads"))


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"backbone": 3}, "backbone: 3 is not allowed: it must be a section of keys (name, weights, preprocess)"),
        ({"limits": {"stages": []}}, "limits.stages: [] is not allowed: it must be a section of keys (validate, embed"),
        ({"adapt": {"method": 3}}, "adapt.method: 3 is not allowed: it must be a section of keys (name, "),
        ({"data": {"label_aliases": {"Cat": "Cat"}}}, "{'Cat': 'Cat'} is not allowed: Cat -> Cat goes round"),
    ],
)
def test_a_complaint_names_keys_and_never_our_types(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(ParamsError) as refused:
        parse_params(document)
    assert complaint in str(refused.value)
    assert "Params" not in str(refused.value)
    assert "alue error" not in str(refused.value)

"""The whole of params.yaml, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.errors import ParamsError, did_you_mean
from tasks.params.adapt import AdaptParams
from tasks.params.backbone import BackboneParams
from tasks.params.data import DataParams, SampleParams
from tasks.params.embed import EmbedParams
from tasks.params.evaluate import EvaluateParams
from tasks.params.flow import FlowParams
from tasks.params.gate import GateParams
from tasks.params.limits import LimitsParams
from tasks.params.release import ExportParams, PublishParams, QualifyParams
from tasks.params.report import ReportParams
from tasks.params.review import ReviewParams
from tasks.params.section import Section
from tasks.params.split import SplitParams
from tasks.params.validate import ValidateParams
from tasks.params.versions import PARAMS_VERSION, check_params_version, moved_hint


class Params(Section):
    """One field per section of params.yaml; a missing section takes its defaults."""

    schema_version: Literal[2] = PARAMS_VERSION
    data: DataParams = Field(DataParams(), description="Where the labelled data lie.")
    sample: SampleParams = Field(SampleParams(), description="The embedded sample.")
    validate_: ValidateParams = Field(ValidateParams(), alias="validate", description="What the data must fulfil.")
    backbone: BackboneParams = Field(BackboneParams(), description="The pretrained network.")
    embed: EmbedParams = Field(EmbedParams(), description="How frozen features are computed.")
    split: SplitParams = Field(SplitParams(), description="Train, validation and test.")
    review: ReviewParams = Field(ReviewParams(), description="Which items a person is asked to look at.")
    adapt: AdaptParams = Field(AdaptParams(), description="The adaptation method.")
    evaluate: EvaluateParams = Field(EvaluateParams(), description="How the model is measured.")
    gate: GateParams = Field(GateParams(), description="What the model must reach.")
    export: ExportParams = Field(ExportParams(), description="The release's name and licence.")
    report: ReportParams = Field(ReportParams(), description="What the pages in reports/ show.")
    qualify: QualifyParams = Field(QualifyParams(), description="What the release itself must fulfil.")
    publish: PublishParams = Field(PublishParams(), description="Where releases are kept.")
    limits: LimitsParams = Field(LimitsParams(), description="What a stage may take of the machine.")
    flow: FlowParams = Field(FlowParams(), description="Time limits, retries and logs.")


def load_params(path: Path) -> Params:
    """Read params.yaml.

    Raises:
        ParamsError: the file is missing, is no YAML, or holds a wrong key or value; all faults are named at once.
    """
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ParamsError(f"{path} does not exist; `git checkout params.yaml` brings the default back") from err
    except OSError as err:
        raise ParamsError(f"{path} cannot be read ({err.strerror})") from err
    except (YAMLError, UnicodeDecodeError) as err:
        raise ParamsError(f"{path} is not readable as YAML: {err}") from err
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ParamsError(f"{path} must hold sections such as `data:`; it holds a {type(document).__name__}")
    return parse_params(document, path.name)


def parse_params(document: Mapping[str, Any], source: str = "params.yaml") -> Params:
    """Check a document that was already read; `source` names it in errors.

    Raises:
        ParamsError: naming every wrong key or value, what is allowed, and the nearest known name; or the document is
            of another schema version.
    """
    check_params_version(document, source)
    try:
        return Params.model_validate(document)
    except ValidationError as err:
        faults = [_fault(fault["loc"], fault) for fault in err.errors()]
        raise ParamsError(f"{source}: " + f"\n{source}: ".join(faults)) from err


def _fault(location: Sequence[str | int], fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in location)
    value = fault.get("input")
    if fault["type"] == "extra_forbidden":
        if moved := moved_hint(location):
            return f"unknown key {key!r}; {moved}"
        return f"unknown key {key!r}{did_you_mean(str(location[-1]), known_keys(location[:-1]))}"
    if fault["type"] == "literal_error":
        allowed = literal_values(location)
        return f"{key}: unknown value {value!r}{did_you_mean(str(value), allowed)}"
    return f"{key}: {value!r} is not allowed: {_complaint(location, fault)}"


def _complaint(location: Sequence[str | int], fault: Mapping[str, Any]) -> str:
    """What is wanted instead, without the names of our types."""
    if fault["type"] == "model_type":
        return f"it must be a section of keys ({', '.join(known_keys(location))})"
    if fault["type"] == "dict_type":
        return "it must be a section of keys and values, such as {old: new}"
    text = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # A class name that stands first keeps its case.
    return text if text != fault["msg"] else f"{text[0].lower()}{text[1:]}"


def known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys that a section (by its place in the document) may hold."""
    model: type[BaseModel] = Params
    for part in location:
        model = _field_models(model)[str(part)]
    return [field.alias or name for name, field in model.model_fields.items()]


def literal_values(location: Sequence[str | int]) -> list[str]:
    """The allowed values of a key that takes one of a fixed set."""
    schema: Any = Params.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for part in location:
        schema = schema["items"] if isinstance(part, int) else schema["properties"][part]
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    return [str(value) for value in schema.get("enum", [schema.get("const")])]


def check_key(location: Sequence[str]) -> None:
    """Refuse a key that params.yaml does not know.

    Raises:
        ParamsError: naming the key and the nearest known one.
    """
    if moved := moved_hint(location):
        raise ParamsError(f"unknown key {'.'.join(location)!r}; {moved}")
    for depth, part in enumerate(location):
        try:
            known = known_keys(location[:depth])
        except KeyError as err:
            holder = ".".join(location[:depth])
            raise ParamsError(f"unknown key {'.'.join(location)!r}; {holder!r} holds a value, not keys") from err
        if part not in known:
            key = ".".join(location[: depth + 1])
            raise ParamsError(f"unknown key {key!r}{did_you_mean(part, known)}")


def path_rule(location: Sequence[str]) -> str | None:
    """How a key's text may be a path: `always`, `with_suffix` (a file, or else a word), or None."""
    model: type[BaseModel] = Params
    for part in location[:-1]:
        model = _field_models(model)[part]
    schema = model.model_json_schema(by_alias=True)["properties"].get(location[-1], {})
    choices = [schema, *schema.get("anyOf", [])]
    return next((choice["path"] for choice in choices if "path" in choice), None)


def _field_models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        field.alias or name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }

"""The whole of params.yaml, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
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
from tasks.params.keys import Place, choices, keys_of, models_at, place_of, tagged_union
from tasks.params.limits import LimitsParams
from tasks.params.release import ExportParams, PromotionParams, PublishParams, QualifyParams
from tasks.params.report import ReportParams
from tasks.params.review import ReviewParams
from tasks.params.section import Section
from tasks.params.serve import ServeParams
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
    publish: PublishParams = Field(PublishParams(), description="Where releases are kept, and what is pushed.")
    promotion: PromotionParams = Field(PromotionParams(), description="When a published version takes over production.")
    serve: ServeParams = Field(ServeParams(), description="How a release is served.")
    limits: LimitsParams = Field(LimitsParams(), description="What a stage may take of the machine.")
    flow: FlowParams = Field(FlowParams(), description="Time limits, retries and logs.")

    @model_validator(mode="before")
    @classmethod
    def _with_the_default_method(cls, document: Any) -> Any:
        """A method that is not named is the default one, as every other key that is left out."""
        adapt = document.get("adapt") if isinstance(document, Mapping) else None
        method = adapt.get("method") if isinstance(adapt, Mapping) else None
        if not isinstance(method, Mapping) or "name" in method:
            return document
        named = {"name": AdaptParams().method.name, **method}
        return {**document, "adapt": {**adapt, "method": named}} if isinstance(adapt, Mapping) else document


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
        faults: dict[Place, list[Mapping[str, Any]]] = {}
        for fault in err.errors():
            faults.setdefault(place_of(Params, fault["loc"]), []).append(fault)
        lines = [_fault(place, found) for place, found in faults.items()]
        raise ParamsError(f"{source}: " + f"\n{source}: ".join(lines)) from err


def _fault(place: Place, faults: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with one key; a key that takes one of several types has a fault for each."""
    key = ".".join(str(part) for part in place.key)
    kind, value = faults[0]["type"], faults[0].get("input")
    if kind == "extra_forbidden":
        return _unknown_key(place, key)
    if kind in ("union_tag_invalid", "union_tag_not_found") and (union := tagged_union(Params, place.key)):
        given = value.get(union.tag) if isinstance(value, Mapping) else value
        return f"{key}.{union.tag}: unknown value {given!r}{did_you_mean(str(given), union.models)}"
    if kind == "literal_error" and len(faults) == 1:
        return f"{key}: unknown value {value!r}{did_you_mean(str(value), choices(Params, place.key, place.method))}"
    complaints = dict.fromkeys(_complaint(place, fault) for fault in faults)
    return f"{key}: {value!r} is not allowed: {', or '.join(complaints)}"


def _unknown_key(place: Place, key: str) -> str:
    if moved := moved_hint(place.key):
        return f"unknown key {key!r}; {moved}"
    union = tagged_union(Params, place.key[:-1])
    if union is None or place.method is None:
        return f"unknown key {key!r}{did_you_mean(str(place.key[-1]), known_keys(place.key[:-1]))}"
    holder = ".".join(str(part) for part in place.key[:-1])
    owners = [name for name, model in union.models.items() if place.key[-1] in keys_of([model])]
    if owners:
        belongs = f"it belongs to {' and '.join(owners)} ({holder}.{union.tag}); set that too"
        return f"unknown key {key!r} of {place.method}; {belongs}"
    known = keys_of([union.models[place.method]])
    return f"unknown key {key!r} of {place.method}{did_you_mean(str(place.key[-1]), known)}"


def _complaint(place: Place, fault: Mapping[str, Any]) -> str:
    """What is wanted instead, without the names of our types."""
    if fault["type"] in ("model_type", "model_attributes_type"):
        union = tagged_union(Params, place.key)
        known = f"{union.tag}, and those of {', '.join(union.models)}" if union else ", ".join(known_keys(place.key))
        return f"it must be a section of keys ({known})"
    if fault["type"] == "dict_type":
        return "it must be a section of keys and values, such as {old: new}"
    text = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # A class name that stands first keeps its case.
    return text if text != fault["msg"] else f"{text[0].lower()}{text[1:]}"


def known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys that a section (by its place in the document) may hold; of a method, those of every method.

    Raises:
        KeyError: no section stands there.
    """
    return keys_of(models_at(Params, location))


def literal_values(location: Sequence[str | int]) -> list[str]:
    """The allowed values of a key that takes one of a fixed set."""
    return choices(Params, location)


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


def unknown_to_method(key: Sequence[str], method: object) -> list[str]:
    """The keys beside `key` that other methods have and `method` has not; none unless `key` names a method."""
    union = tagged_union(Params, key[:-1])
    if union is None or union.tag != key[-1] or method not in union.models:
        return []
    known = keys_of([union.models[str(method)]])
    return [name for name in keys_of(list(union.models.values())) if name not in known]


def path_rule(location: Sequence[str]) -> str | None:
    """How a key's text may be a path: `always`, `with_suffix` (a file, or else a word), or None."""
    for model in models_at(Params, location[:-1]):
        schema = model.model_json_schema(by_alias=True)["properties"].get(location[-1], {})
        for choice in (schema, *schema.get("anyOf", [])):
            if "path" in choice:
                return str(choice["path"])
    return None

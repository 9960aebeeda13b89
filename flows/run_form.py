"""What a deployed run can be told: one optional group per section of params.yaml, made from the models of params.yaml.

Prefect makes the form of it and the schema by which its server judges values. A group that is not set leaves the
section as params.yaml says at the run's commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.fields import FieldInfo

from flows.params_file import Edit
from tasks.errors import ParamsError
from tasks.params import Params
from tasks.params.keys import models_at, tagged_union

NOT_IN_THE_FORM = (
    ("schema_version",),
    ("promotion",),
    ("serve",),
    ("gate", "champion"),
    ("publish", "store"),
    ("publish", "signing_key"),
)
"""What only a commit decides: by which rule a model takes over production, where production is, who signs for it."""

UNSET_TITLE = "as the commit says"
SET_TITLE = "set here"

Unset = Annotated[None, WithJsonSchema({"type": "null", "title": UNSET_TITLE})]


def settings_form() -> type[BaseModel]:
    """One optional group per section of `Params`, in its order, with its description and its literal defaults."""
    fields: dict[str, Any] = {}
    for name, field in Params.model_fields.items():
        if (name,) not in NOT_IN_THE_FORM:
            section = _titled(field.annotation, SET_TITLE, (field.alias or name,))
            shown = Field(
                None,
                alias=field.alias,
                title=field.alias or name,
                description=field.description,
                json_schema_extra=_judged_where_set,
            )
            fields[name] = (section | Unset, shown)
    return create_model("Settings", __config__=ConfigDict(extra="forbid"), **fields)


def _judged_where_set(schema: dict[str, Any]) -> None:
    """The `if` lets the server name the wrong key; of `anyOf` alone it says that nothing fits the whole group."""
    schema.update({"if": {"type": "object"}, "then": dict(schema["anyOf"][0])})


def _titled(section: Any, title: str, place: tuple[str, ...]) -> Any:
    """The same section under a title of the form's, with every choice between methods as a choice that forms know."""
    shown: dict[str, Any] = {
        name: _choice(field, place, name) if field.discriminator else (field.annotation, field)
        for name, field in section.model_fields.items()
        if (*place, name) not in NOT_IN_THE_FORM
    }
    config = ConfigDict(title=title, frozen=True, extra="forbid")
    return create_model(f"{section.__name__}Form", __config__=config, __doc__=section.__doc__, **shown)


def _choice(field: FieldInfo, place: tuple[str, ...], name: str) -> tuple[Any, FieldInfo]:
    """A union of methods whose members bear the methods' names; Prefect's forms know `anyOf`, not `oneOf`."""
    union = tagged_union(Params, (*place, name))
    assert union is not None
    members = [_titled(model, tag, (*place, name)) for tag, model in union.models.items()]
    shown = copy(field)
    shown.json_schema_extra = _as_any_of
    return reduce(or_, members), shown


def _as_any_of(schema: dict[str, Any]) -> None:
    """`oneOf` with a discriminator, as forms render it; the `if` lets the server name the wrong key of a method."""
    schema["anyOf"], chosen = schema.pop("oneOf"), schema.pop("discriminator")
    judged: dict[str, Any] = {}
    for tag, reference in chosen["mapping"].items():
        named = {"properties": {chosen["propertyName"]: {"const": tag}}, "required": [chosen["propertyName"]]}
        judged = {"if": named, "then": {"$ref": reference}, **({"else": judged} if judged else {})}
    schema.update(judged)


if TYPE_CHECKING:

    class Settings(BaseModel):
        """Made at run time, by `settings_form`."""
else:
    Settings = settings_form()


def edits_of(settings: Mapping[str, Any]) -> list[Edit]:
    """What the form changes in params.yaml: every key that it gives; groups that are null give none.

    Raises:
        ParamsError: a key that the form does not have; a server that judges no schema lets it through.
    """
    edits = [edit for name, value in settings.items() if value is not None for edit in _edits((name,), value)]
    for edit in edits:
        if any(edit.key[: len(key)] == key for key in NOT_IN_THE_FORM):
            raise ParamsError(
                f"settings.{'.'.join(edit.key)} is not for a single run to set: a run takes it from params.yaml of its "
                "commit; commit the change, and start the run from that commit"
            )
    return edits


def _edits(key: tuple[str, ...], value: Any) -> list[Edit]:
    if not isinstance(value, Mapping) or not _is_section(key):
        return [Edit(key, value)]
    return [edit for name, inner in value.items() for edit in _edits((*key, str(name)), inner)]


def _is_section(key: tuple[str, ...]) -> bool:
    try:
        return bool(models_at(Params, key))
    except KeyError:
        return False

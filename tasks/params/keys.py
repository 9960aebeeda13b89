"""The tree of keys that a model of params.yaml spans; a union of sections is told apart by a tag such as `name`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = type[BaseModel]


@dataclass(frozen=True)
class TaggedUnion:
    """Sections of which one holds: the key that says which, and each section by what that key says."""

    tag: str
    models: Mapping[str, Model]


@dataclass(frozen=True)
class Place:
    """A key as the user writes it, and the section of a tagged union that it was read as (None outside of one)."""

    key: tuple[str | int, ...]
    method: str | None


def models_at(root: Model, location: Sequence[str | int]) -> list[Model]:
    """The section at a place; the sections, where a union stands there.

    Raises:
        KeyError: no section stands there.
    """
    models = [root]
    for part in location:
        models = [inner for field in _fields(models, str(part)) for inner in _sections(field.annotation)]
        if not models:
            raise KeyError(part)
    return models


def keys_of(models: Sequence[Model]) -> list[str]:
    """Every key that one of these sections may hold, in their order."""
    return list(dict.fromkeys(field.alias or name for model in models for name, field in model.model_fields.items()))


def tagged_union(root: Model, location: Sequence[str | int]) -> TaggedUnion | None:
    """The tagged union at a place; None where something else stands, or nothing."""
    try:
        fields = _fields(models_at(root, location[:-1]), str(location[-1])) if location else []
    except KeyError:
        return None
    return next((union for field in fields if (union := _tagged(field))), None)


def choices(root: Model, location: Sequence[str | int], method: str | None = None) -> list[str]:
    """The allowed values of a key that takes one of a fixed set; of one section of a union where `method` names it."""
    names = [part for part in location if isinstance(part, str)]
    union = tagged_union(root, names[:-1])
    models = [union.models[method]] if union and method else models_at(root, names[:-1])
    values = [value for field in _fields(models, names[-1]) for value in _literals(field.annotation)]
    return [str(value) for value in dict.fromkeys(values)]


def place_of(root: Model, location: Sequence[str | int]) -> Place:
    """Where the user looks for what pydantic reports at `location`: without the names of unions' members."""
    models, key, method = [root], list[str | int](), None
    parts = iter(location)
    for part in parts:
        key.append(part)
        fields = _fields(models, str(part))
        union = next((found for field in fields if (found := _tagged(field))), None)
        models = [inner for field in fields for inner in _sections(field.annotation)]
        if union:
            method = str(tag) if (tag := next(parts, None)) is not None else None
            models = [union.models[method]] if method else models
        if not models:
            named = any(get_origin(field.annotation) is dict for field in fields)
            key += [rest for rest in parts if named or isinstance(rest, int)]
    return Place(tuple(key), method)


def _fields(models: Sequence[Model], key: str) -> list[FieldInfo]:
    return [field for model in models for name, field in model.model_fields.items() if (field.alias or name) == key]


def _sections(annotation: Any) -> list[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in _alternatives(annotation) for model in _sections(part)]


def _tagged(field: FieldInfo) -> TaggedUnion | None:
    tag = field.discriminator
    if not isinstance(tag, str):
        return None
    models = {value: model for model in _sections(field.annotation) for value in _tag_values(model, tag)}
    return TaggedUnion(tag, models)


def _tag_values(model: Model, tag: str) -> list[str]:
    return [str(value) for value in _literals(model.model_fields[tag].annotation)]


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()

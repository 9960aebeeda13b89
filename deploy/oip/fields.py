"""Fields of a request's JSON, each of the kind that it must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.oip.number_arrays import Numbers
from deploy.oip.refused import Refused
from deploy.oip.strict_json import Encoded
from deploy.oip.tensors import Tensor

_KINDS = {
    dict: "an object", list: "an array", Numbers: "an array", str: "a text", Encoded: "a text",
    bool: "true or false", int: "a number", float: "a number with a fraction",
}  # fmt: skip


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """An object; one that is missing or null is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object, not {_kind(value)}")
    return value


def listed(value: Any, name: str) -> list[Any]:
    """An array."""
    if not isinstance(value, list):
        raise Refused(f"{name} must be an array, not {_kind(value)}")
    return value


def text(value: Any, name: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Refused(f"{name} must be a text, not {_kind(value)}")
    return value


def integer(value: Any, name: str) -> int:
    """A whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(f"{name} must be a whole number, not {_kind(value)}")
    if value < 0:
        raise Refused(f"{name} must not be negative, it is {value}")
    return value


def optional_bool(value: Any, name: str) -> bool | None:
    """true, false, or missing."""
    if value is not None and not isinstance(value, bool):
        raise Refused(f"{name} must be true or false, not {_kind(value)}")
    return value


def shape_of(value: Any, tensor: Tensor, most_images: int) -> tuple[int, ...]:
    """The shape of an input, where it fits the model and holds one image up to `most_images`."""
    name = f"shape of input {tensor.name!r}"
    shape = tuple(integer(size, name) for size in listed(value, name))
    if len(shape) != len(tensor.shape) or shape[1:] != tuple(tensor.shape[1:]):
        raise Refused(f"input {tensor.name!r} has shape {list(shape)[:8]}, the model takes {tensor.shape}")
    if not 1 <= shape[0] <= most_images:
        raise Refused(f"input {tensor.name!r} holds {shape[0]} images; 1 to {most_images} are allowed in one request")
    return shape


def _kind(value: Any) -> str:
    return "null or missing" if value is None else _KINDS.get(type(value), "something else")

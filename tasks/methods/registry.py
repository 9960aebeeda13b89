"""The methods by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.errors import DataError, ParamsError, did_you_mean
from tasks.methods.contract import DataNeed, Method
from tasks.methods.fine_tune import FineTune
from tasks.methods.from_scratch import FromScratch
from tasks.methods.linear_probe import LinearProbe
from tasks.methods.network_contract import NetworkMethod


def register(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by their name.

    Raises:
        ValueError: two methods have one name.
    """
    known: dict[str, Method] = {}
    for method in methods:
        if method.name in known:
            raise ValueError(f"two methods are named {method.name!r}: {known[method.name]} and {method}")
        known[method.name] = method
    return known


METHODS = register([LinearProbe(), FineTune(), FromScratch()])
LABELLED: frozenset[DataNeed] = frozenset({"source_labels"})


def find_method(name: str, regime: frozenset[DataNeed] = LABELLED, methods: dict[str, Method] = METHODS) -> Method:
    """The method of that name, if the data have what it needs.

    Args:
        name: as in params.yaml, adapt.method.name.
        regime: what the data at hand offer.
    Raises:
        ParamsError: no method has that name.
        DataError: the method needs what the data do not offer.
    """
    if name not in methods:
        raise ParamsError(f"adapt.method.name: unknown method {name!r}{did_you_mean(name, methods)}")
    missing = methods[name].needs - regime
    if missing:
        offered = ", ".join(sorted(regime)) or "nothing"
        raise DataError(f"method {name!r} needs {', '.join(sorted(missing))}; the data offer {offered}")
    return methods[name]


def find_network_method(name: str) -> NetworkMethod[Any]:
    """The method of that name, which trains the network itself.

    Raises:
        ParamsError: no method has that name, or it trains no network.
        DataError: as `find_method`.
    """
    method = find_method(name)
    if not isinstance(method, NetworkMethod):
        raise ParamsError(f"adapt.method.name: {name!r} trains no network")
    return method

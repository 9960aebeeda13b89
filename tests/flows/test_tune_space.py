"""What is searched, and which searches are one and the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from flows.tune_space import (
    Choice,
    Range,
    combinations,
    present_settings,
    search_space,
    study_digest,
    with_settings,
)
from tasks.methods.features import LabelledItems
from tasks.params import LimitsParams, Params

METHODS = ("linear_probe", "fine_tune", "from_scratch")
SIDES = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4


def params_of(method: str, **settings: Any) -> Params:
    return Params.model_validate({"adapt": {"method": {"name": method, **settings}}})


def items() -> LabelledItems:
    generator = np.random.default_rng(0)
    return LabelledItems(
        names=["cat", "dog"],
        paths=[f"{number}.png" for number in range(12)],
        sha256=[f"{number:064x}" for number in range(12)],
        sides=list(SIDES),
        labels=np.arange(12) % 2,
        groups=np.arange(12),
        features=generator.normal(size=(12, 3)).astype(np.float32),
    )


def digest(params: Params, found: LabelledItems) -> str:
    return study_digest(params, search_space(params), found)


@pytest.mark.parametrize("method", METHODS)
def test_every_space_holds_the_default_settings(method: str) -> None:
    params = params_of(method)
    space = search_space(params)
    present = present_settings(params, space)
    assert present.keys() == space.keys()
    assert [name for name, dimension in space.items() if not dimension.holds(present[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_every_end_of_a_space_is_a_setting_that_the_method_takes(method: str) -> None:
    params = params_of(method)
    for name, dimension in search_space(params).items():
        for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
            assert getattr(with_settings(params, {name: value}).adapt.method, name) == value


def test_the_rate_is_searched_where_the_optimizer_has_it() -> None:
    rates = [search_space(params_of("fine_tune", optimizer=name))["learning_rate"] for name in ("adamw", "sgd")]
    assert rates[0] == Range(1e-4, 1e-2, log=True)
    assert rates[1] == Range(1e-3, 1e-1, log=True)


def test_a_small_space_of_choices_is_listed_and_a_large_one_is_not() -> None:
    probe = search_space(params_of("linear_probe"))
    assert combinations(probe) == [
        {"head": head, "class_weight": weight} for head, weight in product(("logistic", "ridge"), ("none", "balanced"))
    ]
    assert combinations(search_space(params_of("fine_tune"))) == []
    assert combinations({name: Choice(tuple(range(5))) for name in "abc"}) == []


def test_test_items_have_no_part_in_which_search_it_is() -> None:
    params, here = params_of("fine_tune"), items()
    labels, features, groups = here.labels.copy(), here.features.copy(), here.groups + 5
    labels[8:], features[8:] = 1 - labels[8:], np.nan
    other = replace(here, labels=labels, features=features, groups=groups, sha256=here.sha256[:8] + ["f" * 64] * 4)
    assert digest(params, other) == digest(params, here)


@pytest.mark.parametrize("part", ["labels", "features", "groups", "sides", "sha256"])
def test_whatever_a_trial_learns_from_makes_another_search(part: str) -> None:
    params, here = params_of("linear_probe"), items()
    changed = {
        "labels": np.roll(here.labels, 1),
        "features": here.features + np.float32(1e-3),
        "groups": np.where(here.groups == 1, 0, here.groups),
        "sides": ["validation", *here.sides[1:]],
        "sha256": ["f" * 64, *here.sha256[1:]],
    }
    assert digest(params, replace(here, **{part: changed[part]})) != digest(params, here)


def test_searched_settings_leave_the_search_the_same_and_fixed_ones_do_not() -> None:
    here = items()
    first = digest(params_of("fine_tune"), here)
    assert digest(params_of("fine_tune", learning_rate=0.3, blocks="all", epochs=6), here) == first
    assert digest(params_of("fine_tune", batch_size=16), here) != first
    assert digest(params_of("fine_tune", seed=1), here) != first
    assert digest(params_of("fine_tune", probe={"head": "ridge"}), here) != first
    assert digest(params_of("from_scratch"), here) != first
    slower = params_of("fine_tune").model_copy(update={"limits": LimitsParams(threads=1)})
    assert digest(slower, here) == first

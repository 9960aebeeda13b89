"""The level of a test set's k-th decision, such that all of its decisions together err with chance alpha at most."""

from __future__ import annotations

import math
from functools import lru_cache

WARN_AFTER = 0.75
"""Share of a test set's uses after which fresh test items are asked for in good time."""


def level_of_use(use: int, uses: int, alpha: float) -> float:
    """One-sided level of a test set's k-th decision: alpha / (k (1 + 1/2 + ... + 1/uses)).

    It falls with every use, the levels of all uses add up to alpha, and the first one hardly depends on how many are
    allowed. By Bonferroni's inequality the chance of any false promotion is at most alpha, however the models are
    related, if no two decisions share a place. After the last use nothing is left.

    Args:
        use: place of the decision, from 1 on.
        uses: decisions that the test set may make (gate.champion.test_set_uses).
        alpha: chance of any false promotion (gate.champion.alpha), in (0, 1).
    Returns:
        In [0, alpha]; 0 after the last use.
    Raises:
        ValueError: use or uses below 1.

    >>> [round(level_of_use(use, 20, 0.05), 5) for use in (1, 2, 10, 20, 21)]
    [0.0139, 0.00695, 0.00139, 0.00069, 0.0]
    """
    if use < 1 or uses < 1:
        raise ValueError(f"use {use} of {uses} is not counted from 1 on")
    return alpha / (use * _harmonic(uses)) if use <= uses else 0.0


def warning_use(uses: int) -> int:
    """The first use from which on a fresh test set is advised.

    >>> warning_use(20), warning_use(1)
    (15, 1)
    """
    return math.ceil(WARN_AFTER * uses)


@lru_cache(maxsize=64)
def _harmonic(uses: int) -> float:
    return math.fsum(1 / use for use in range(1, uses + 1))

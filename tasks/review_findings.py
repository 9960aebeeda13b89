"""What is worth a person's look: contradictions, doubted labels, outliers and near ties, as ranked rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.confident_learning import expected_errors
from tasks.metrics import BoolVector, FloatVector, IntVector
from tasks.out_of_fold import OutOfFold
from tasks.outliers import far_out
from tasks.reports import KINDS, ReviewKind

NEAR_TIE = 0.2
"""Two most probable classes this close leave an item undecided."""


@dataclass(frozen=True)
class Finding:
    """Row `row` is worth a look; `suggested` is a class index, `other` the row that it contradicts."""

    kind: ReviewKind
    row: int
    score: float
    reason: str
    suggested: int | None = None
    other: int | None = None


def knows_the_classes(probe: OutOfFold, labels: IntVector) -> bool:
    """Whether the probe is right more often than the largest class alone would be; otherwise its doubts say nothing."""
    right, scored = accuracy(probe, labels), labels[probe.scored]
    return right is not None and right > np.bincount(scored).max() / len(scored)


def expected_wrong(probe: OutOfFold, labels: IntVector) -> int:
    """How many of the scored items' labels are wrong, as confident learning estimates."""
    held = probe.scored[probe.learned]
    counts = np.bincount(labels[probe.scored], minlength=probe.probabilities.shape[1])
    return int(np.rint(expected_errors(probe.probabilities[held], labels[probe.learned][held], counts).sum()))


def doubted(probe: OutOfFold, labels: IntVector, wrong: int, names: Mapping[int, str]) -> list[Finding]:
    """The `wrong` items whose own label is least probable and not the most probable one."""
    rows = np.flatnonzero(probe.scored & (probe.best != labels))
    rows = rows[np.argsort(probe.given[rows], kind="stable")][:wrong]
    return [
        Finding(
            "likely_wrong",
            int(row),
            float(1 - probe.given[row]),
            f"the other images speak for {names[int(probe.best[row])]!r} ({probe.top[row]:.0%}), "
            f"not {names[int(labels[row])]!r} ({probe.given[row]:.0%})",
            suggested=int(probe.best[row]),
        )
        for row in rows
    ]


def near_ties(probe: OutOfFold, labels: IntVector, names: Mapping[int, str]) -> list[Finding]:
    """Items between two classes, the closest first."""
    gap = probe.top - probe.second
    rows = np.flatnonzero(probe.scored & (gap < NEAR_TIE))
    return [
        Finding(
            "uncertain",
            int(row),
            float(1 - gap[row]),
            f"between {names[int(probe.best[row])]!r} ({probe.top[row]:.0%}) and "
            f"{names[int(probe.runner_up[row])]!r} ({probe.second[row]:.0%})",
            suggested=int(probe.best[row]) if probe.best[row] != labels[row] else None,
        )
        for row in rows[np.argsort(gap[rows], kind="stable")]
    ]


def outliers(distances: npt.NDArray[np.float32]) -> list[Finding]:
    """Items far from all others, the farthest first."""
    rows = np.flatnonzero(far_out(distances))
    usual = max(float(np.median(distances)), np.finfo(np.float32).tiny)
    return [
        Finding(
            "outlier",
            int(row),
            min(1.0, float(distances[row])),
            f"unlike the other images: its nearest ones are {distances[row] / usual:.1f} times as far away as usual",
        )
        for row in rows[np.argsort(-distances[rows], kind="stable")]
    ]


@dataclass(frozen=True)
class Pair:
    """Two rows that show one picture; `alike` is their cosine, in [0, 1]."""

    first: int
    second: int
    alike: float


def contradictions(
    pairs: Sequence[Pair], labels: IntVector, best: IntVector | None, names: Mapping[int, str], paths: Mapping[int, str]
) -> list[Finding]:
    """Both items of every pair that bears two labels, the most alike first.

    Args:
        best: (items,) the class that the probe says, which of the two is suggested to the other; None without one.
    """
    found = []
    for pair in sorted(pairs, key=lambda one: (-one.alike, one.first, one.second)):
        for row, other in ((pair.first, pair.second), (pair.second, pair.first)):
            if labels[pair.first] == labels[pair.second]:
                continue
            speaks = best is not None and best[row] == labels[other]
            found.append(
                Finding(
                    "conflicting_near_duplicate",
                    row,
                    pair.alike,
                    f"nearly the same picture as {paths[other]}, which is labelled {names[int(labels[other])]!r}",
                    suggested=int(labels[other]) if speaks else None,
                    other=other,
                )
            )
    return found


def ranked(
    findings: Sequence[Finding], decided: BoolVector, max_items: int
) -> tuple[list[Finding], dict[ReviewKind, int]]:
    """Each row once, under the first kind that names it, and at most `max_items` of a kind.

    Args:
        findings: the best of each kind first.
        decided: (items,) rows that a person has decided on already; they are not named again.
    Returns:
        The findings kind by kind, and how many of each kind there were.
    """
    kept: dict[ReviewKind, list[Finding]] = {kind: [] for kind in KINDS}
    named: set[int] = set()
    for kind in KINDS:
        for finding in findings:
            if finding.kind == kind and finding.row not in named and not decided[finding.row]:
                named.add(finding.row)
                kept[kind].append(finding)
    counts = {kind: len(rows) for kind, rows in kept.items()}
    return [finding for kind in KINDS for finding in kept[kind][:max_items]], counts


def accuracy(probe: OutOfFold, labels: IntVector) -> float | None:
    """Share of the scored items whose most probable class is their label; None where none was scored."""
    right: FloatVector = (probe.best == labels)[probe.scored].astype(np.float64)
    return float(right.mean()) if len(right) else None

"""What a linear probe that did not see an item says of it: every item held out once, a million of them in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.feature_rows import Features
from tasks.metrics import BoolVector, FloatMatrix, FloatVector, IntVector, log_loss, softmax
from tasks.principal_axes import Standardisation
from tasks.ridge import RidgePath, logit_scale

STRENGTHS = np.geomspace(1e3, 1e-2, 11)
"""Ridge strengths to choose from, for features standardised to rows of length 1."""

FEWEST_GROUPS = 20
"""So many groups of each class are learned from first, where not all can be."""

BLOCK = 8192
"""Items that are predicted at once."""


@dataclass(frozen=True)
class OutOfFold:
    """Of every item: the probability of its own label (`given`), the most probable class (`best`) and the second
    (`runner_up`) with theirs (`top`, `second`), all (items,); meaningless where `scored` is False.

    `learned` (fitted,) are the items that were fitted, `probabilities` (fitted, classes) theirs.
    """

    given: FloatVector
    best: IntVector
    top: FloatVector
    runner_up: IntVector
    second: FloatVector
    scored: BoolVector
    learned: IntVector
    probabilities: FloatMatrix


def out_of_fold(features: Features, labels: IntVector, groups: IntVector, classes: int, max_fitted: int) -> OutOfFold:
    """Ridge on one-hot labels with exact leave-one-group-out, its scores scaled to logits.

    One decomposition serves every strength and every held-out group, so that this costs a tenth of k logistic fits;
    with one label in twenty flipped it also ranks wrong labels higher (docs/decisions/0012). Items beyond `max_fitted`
    are never fitted and get the probabilities of the model of those that are. The class of a single group cannot be
    held out and learned at once: its items are not scored.

    Args:
        features: (items, width); blocks of it are read where it lies on disk.
        labels: (items,) in 0..classes-1.
        groups: (items,) in 0..groups-1; items of one group are held out together.
        max_fitted: most items to learn from; whole groups are taken.
    """
    learned = items_to_learn_from(labels, groups, classes, max_fitted)
    known, members = labels[learned], groups[learned]
    scorable = _groups_per_class(known, members, classes) >= 2
    scored = scorable[labels]
    sample = np.asarray(features[learned], dtype=np.float64)
    standardisation = Standardisation.of(sample)
    path = RidgePath.of(standardisation.apply(sample), known, np.ones(len(known)), classes, members)
    strength, scale = _choice(path, known, np.flatnonzero(scored[learned]))
    model = path.model(strength)
    weight, bias = standardisation.fold_in(scale * model.weight, scale * model.bias)
    found = OutOfFold(
        given=np.empty(len(labels)),
        best=np.empty(len(labels), dtype=np.int64),
        top=np.empty(len(labels)),
        runner_up=np.empty(len(labels), dtype=np.int64),
        second=np.empty(len(labels)),
        scored=scored,
        learned=learned,
        probabilities=softmax(scale * path.left_out(strength)),
    )
    others = np.setdiff1d(np.arange(len(labels)), learned, assume_unique=True)
    for rows in np.array_split(others, 1 + len(others) // BLOCK) if len(others) else []:
        block = np.asarray(features[rows], dtype=np.float64)
        _note(found, rows, labels[rows], softmax(block @ weight.T + bias))
    _note(found, learned, known, found.probabilities)
    return found


def items_to_learn_from(labels: IntVector, groups: IntVector, classes: int, max_fitted: int) -> IntVector:
    """Ascending rows of whole groups, at most `max_fitted` items: of every class some, the others by chance.

    All rows where they are not more. Arguments as `out_of_fold`.
    """
    if len(labels) <= max_fitted:
        return np.arange(len(labels))
    sizes = np.bincount(groups)
    _, first = np.unique(groups, return_index=True)
    order = np.random.default_rng(0).permutation(len(sizes))
    place = _places_within(labels[first][order], classes)
    order = order[np.argsort(place >= FEWEST_GROUPS, kind="stable")]
    order = order[sizes[order] <= max(1, max_fitted // 10)]
    taken = np.zeros(len(sizes), dtype=np.bool_)
    taken[order[np.cumsum(sizes[order]) <= max_fitted]] = True
    return np.flatnonzero(taken[groups])


def _places_within(classes_of: IntVector, classes: int) -> IntVector:
    """The number of earlier entries of the same class, for each entry."""
    by_class = np.argsort(classes_of, kind="stable")
    starts = np.cumsum(np.bincount(classes_of, minlength=classes)) - np.bincount(classes_of, minlength=classes)
    places = np.empty(len(classes_of), dtype=np.int64)
    places[by_class] = np.arange(len(classes_of)) - np.repeat(starts, np.bincount(classes_of, minlength=classes))
    return places


def _groups_per_class(labels: IntVector, groups: IntVector, classes: int) -> IntVector:
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    return np.bincount(pairs[0], minlength=classes)


def _choice(path: RidgePath, labels: IntVector, held: IntVector) -> tuple[float, float]:
    """The strength of least left-out log-loss, and the factor from its scores to logits."""
    best = (np.inf, float(STRENGTHS[0]), 1.0)
    weight = np.ones(len(held))
    for strength in STRENGTHS if len(held) else ():
        scores = path.left_out(float(strength))[held]
        scale = logit_scale(scores, labels[held], weight)
        best = min(best, (log_loss(scale * scores, labels[held], weight), float(strength), scale))
    return best[1], best[2]


def _note(found: OutOfFold, rows: IntVector, labels: IntVector, probabilities: FloatMatrix) -> None:
    each, rest = np.arange(len(rows)), probabilities.copy()
    found.given[rows] = probabilities[each, labels]
    found.best[rows] = best = rest.argmax(axis=1)
    found.top[rows] = rest[each, best]
    rest[each, best] = -1.0
    found.runner_up[rows] = second = rest.argmax(axis=1)
    found.second[rows] = rest[each, second]

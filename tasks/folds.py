"""Folds for cross-validation: stratified by class, groups never straddle."""

from __future__ import annotations

import numpy as np

from tasks.metrics import IntVector

ALWAYS_TRAINING = -1
"""Fold of items whose class would be missing from the training part if they were held out."""


def deal_folds(labels: IntVector, groups: IntVector, folds: int, seed: int) -> IntVector:
    """The fold in which each item is held out.

    Groups are dealt largest first, each to the fold that holds least of its classes; the seed orders equals. A class
    with fewer groups than folds lies in that many folds, down to leave-one-out. A class that has one group only can
    never be held out and learned at once: its group is always in training.

    Args:
        labels: (items,) class indices.
        groups: (items,) group indices; items of one group share a fold.
        folds: number of folds, at least 2.
    Returns:
        (items,) fold indices in 0..folds-1, or ALWAYS_TRAINING; held out, each item's class is in training.
    """
    counts = _class_counts(labels, groups)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].max(axis=1), kind="stable")]
    held, totals = np.zeros((folds, counts.shape[1])), counts.sum(axis=0)
    fold_of_group = np.empty(len(counts), dtype=np.int64)
    for group in order:
        crowding = held @ (counts[group] / totals)
        fold = np.lexsort((held.sum(axis=1), crowding))[0]
        held[fold] += counts[group]
        fold_of_group[group] = fold
    fold_of_group[_never_held_out(counts, held, fold_of_group)] = ALWAYS_TRAINING
    return fold_of_group[np.unique(groups, return_inverse=True)[1]]


def _class_counts(labels: IntVector, groups: IntVector) -> IntVector:
    """(groups, classes) item counts of the classes and groups that occur."""
    classes, label = np.unique(labels, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), dtype=np.int64)
    np.add.at(counts, (group, label), 1)
    return counts


def _never_held_out(counts: IntVector, held: np.ndarray, fold_of_group: IntVector) -> IntVector:
    """Groups that hold items of a class which lies wholly in one fold."""
    lonely = (held > 0).sum(axis=0) < 2
    return np.flatnonzero((counts[:, lonely] > 0).any(axis=1))

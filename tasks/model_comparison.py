"""The new model and an earlier release on the same test items, measured from what each calls them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.errors import StageInputError
from tasks.metrics import IntVector, accuracy, confusion_matrix, macro_f1
from tasks.paired_bootstrap import paired_macro_f1_interval
from tasks.paired_tests import accuracy_gain, mcnemar_p, paired_counts
from tasks.params import EvaluateParams
from tasks.reports import PairedComparison


def measured(
    pair: PairedComparison, true: IntVector, ours: IntVector, theirs: IntVector, classes: int, params: EvaluateParams
) -> PairedComparison:
    """`pair` with every figure.

    Args:
        true, ours, theirs: (items,) class indices in 0..classes-1; of `theirs` the release's answers.
    """
    counts = paired_counts(ours == true, theirs == true)
    confusion = confusion_matrix(true, theirs, classes)
    figures = {
        "counts": counts,
        "accuracy": accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "gain": accuracy_gain(counts, params.confidence),
        "macro_f1_gain": paired_macro_f1_interval(
            true, ours, theirs, classes, params.bootstrap_samples, params.confidence, params.seed
        ),
        "mcnemar_p": mcnemar_p(counts),
    }
    return pair.model_copy(update=figures)


def measured_again(
    pair: PairedComparison, answers: pa.Table, ours: Sequence[str], names: Sequence[str], params: EvaluateParams
) -> PairedComparison:
    """A comparison with the same release's answers and other ones of ours; one without figures stays as it is.

    Args:
        answers: CHAMPION_PREDICTIONS of the test items.
        ours: what we call each of them.
        names: every class name.
    Raises:
        StageInputError: the release's answers are not of these items or classes.
    """
    if pair.counts is None:
        return pair
    columns = answers["label"].to_pylist(), list(ours), answers[pair.against].to_pylist()
    index = {name: place for place, name in enumerate(names)}
    if any(len(column) != len(ours) or not index.keys() >= set(column) for column in columns):
        raise StageInputError(
            f"reports/champion_predictions.parquet has no answers of v{pair.version} to these {len(ours)} test items; "
            "run `graft adapt` (stage evaluate)"
        )
    true, mine, theirs = (np.array([index[name] for name in column], dtype=np.int64) for column in columns)
    return measured(pair, true, mine, theirs, len(names), params)

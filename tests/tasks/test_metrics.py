"""Metrics against scikit-learn and scipy, on awkward counts too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics as reference

from tasks import metrics

LABELS = st.integers(1, 6).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40),
    )
)


@pytest.mark.filterwarnings("ignore:A single label")
@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_every_metric_agrees_with_scikit_learn_even_for_classes_without_items(
    drawn: tuple[int, list[tuple[int, int]]],
) -> None:
    classes, pairs = drawn
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    confusion, names = metrics.confusion_matrix(actual, predicted, classes), range(classes)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(actual, predicted, labels=names))
    assert metrics.accuracy(confusion) == pytest.approx(reference.accuracy_score(actual, predicted))
    expected = reference.precision_recall_fscore_support(actual, predicted, labels=names, zero_division=0)
    for ours, theirs in zip((metrics.precision, metrics.recall, metrics.f1), expected, strict=False):
        np.testing.assert_allclose(ours(confusion), theirs, atol=1e-12)
    macro = reference.f1_score(actual, predicted, labels=names, average="macro", zero_division=0)
    assert metrics.macro_f1(confusion) == pytest.approx(macro)


def test_a_row_of_the_confusion_matrix_is_a_true_class() -> None:
    confusion = metrics.confusion_matrix(np.array([0, 0, 0]), np.array([0, 1, 1]), 2)
    assert confusion.tolist() == [[1, 2], [0, 0]]


@settings(max_examples=30, deadline=None)
@given(LABELS, st.data())
def test_mending_one_mistake_lowers_neither_accuracy_nor_macro_f1_nor_any_recall(
    drawn: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    classes, pairs = drawn
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    before = metrics.confusion_matrix(actual, predicted, classes)
    row = data.draw(st.integers(0, len(actual) - 1))
    predicted[row] = actual[row]
    after = metrics.confusion_matrix(actual, predicted, classes)
    assert metrics.accuracy(after) >= metrics.accuracy(before)
    assert metrics.macro_f1(after) >= metrics.macro_f1(before) - 1e-12
    assert (metrics.recall(after) >= metrics.recall(before)).all()


@pytest.mark.parametrize("shape", [(0, 0), (2, 3), (4,)])
def test_a_matrix_that_is_empty_or_not_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be square and not empty"):
        metrics.macro_f1(np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize(("actual", "predicted"), [([0, 2], [0, 1]), ([0, 1], [-1, 1])])
def test_a_class_index_out_of_range_is_refused(actual: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"is not within 0\.\.1"):
        metrics.confusion_matrix(np.array(actual), np.array(predicted), 2)


def test_vectors_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="two vectors of one length"):
        metrics.confusion_matrix(np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64), 1)


def test_softmax_and_log_loss_agree_with_the_libraries_on_extreme_logits_too() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50, 4)) * np.geomspace(0.1, 300, 50)[:, None]
    actual, weight = generator.integers(0, 4, 50), generator.uniform(0.5, 2, 50)
    np.testing.assert_allclose(metrics.log_softmax(logits), special.log_softmax(logits, axis=1), atol=1e-12)
    np.testing.assert_allclose(metrics.softmax(logits).sum(axis=1), 1.0)
    mild = logits[:20]
    expected = reference.log_loss(actual[:20], metrics.softmax(mild), sample_weight=weight[:20], labels=range(4))
    assert metrics.log_loss(mild, actual[:20], weight[:20]) == pytest.approx(expected)
    assert np.isfinite(metrics.log_loss(logits, actual))

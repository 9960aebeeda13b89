"""Figures and their intervals from a confusion matrix; how the stage uses them is tested with evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from head_scene import FAST

from tasks.intervals import wilson_interval
from tasks.scores import accuracy_estimate, class_scores, macro_f1_estimate


def test_a_test_set_without_a_mistake_is_not_called_certain() -> None:
    estimate = macro_f1_estimate(np.diag([10, 10]), FAST)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(wilson_interval(20, 20)[0])


def test_a_higher_confidence_widens_every_interval() -> None:
    confusion = np.array([[18, 2], [4, 16]])
    for estimate in (accuracy_estimate, macro_f1_estimate):
        narrow, wide = (estimate(confusion, FAST.model_copy(update={"confidence": level})) for level in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high
    narrow_class, wide_class = (class_scores(["a", "b"], confusion, level)[0] for level in (0.8, 0.99))
    assert wide_class.recall_low < narrow_class.recall_low

"""The linear probe: the exact solution, chosen out of fold, the same bits every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from tasks.errors import DataError, StageInputError
from tasks.methods import linear_probe
from tasks.methods.contract import LabelledFeatures
from tasks.methods.linear_probe import DEFAULT_STRENGTH, LinearProbe, class_weights, strength_grid
from tasks.params import LinearProbeParams
from tasks.principal_axes import Standardisation

PROBE = LinearProbe()
HEADS = pytest.mark.parametrize("head", ["logistic", "ridge"])


def made_up(
    per_class: int, width: int, classes: int = 3, distance: float = 3.0, seed: int = 0, group_size: int = 1
) -> LabelledFeatures:
    """Classes around means that lie `distance` apart, features of unlike scale, one of them constant."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    directions, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(width, classes)))
    features = distance / np.sqrt(2) * directions.T[labels] + generator.normal(size=(len(labels), width))
    features = features * np.geomspace(0.5, 2, width) + 5.0
    features[:, -1] = 4.2
    return LabelledFeatures(features.astype(np.float32), labels, np.arange(len(labels)) // group_size, classes)


@HEADS
@pytest.mark.parametrize(("per_class", "width"), [(30, 8), (10, 64)])
def test_unseen_items_are_predicted_well_from_raw_features(head: str, per_class: int, width: int) -> None:
    learned = PROBE.adapt(made_up(per_class, width, distance=6.0), LinearProbeParams(head=head))
    unseen = made_up(100, width, distance=6.0, seed=1)
    logits = learned.head.logits(unseen.features)
    assert np.mean(logits.argmax(axis=1) == unseen.labels) >= 0.95
    assert logits.dtype == learned.head.weight.dtype == learned.head.bias.dtype == np.float32


@pytest.mark.parametrize(("per_class", "width"), [(30, 8), (10, 64)])
def test_the_logistic_head_is_scikit_learns_probe_of_the_same_strength(per_class: int, width: int) -> None:
    data = made_up(per_class, width)
    learned = PROBE.adapt(data, LinearProbeParams())
    features = data.features.astype(np.float64)
    standardised = Standardisation.of(features).apply(features)
    regression = LogisticRegression(C=1 / learned.strength, tol=1e-10, max_iter=50_000).fit(standardised, data.labels)
    centred = regression.decision_function(standardised)
    logits = features @ learned.head.weight.T.astype(np.float64) + learned.head.bias
    np.testing.assert_allclose(logits - logits.mean(axis=1, keepdims=True), centred, atol=5e-3)
    np.testing.assert_allclose(learned.head.weight[:, -1], 0, atol=1e-6)


@HEADS
def test_the_strength_has_the_least_out_of_fold_loss_and_ties_go_to_the_stronger(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, params = made_up(12, 10), LinearProbeParams(head=head)
    learned = PROBE.adapt(data, params)
    losses = {score.strength: score.loss for score in learned.scores}
    assert losses[learned.strength] == min(losses.values())
    monkeypatch.setattr(linear_probe, "log_loss", lambda *_: 1.0)
    assert PROBE.adapt(data, params).strength == strength_grid(params.strengths)[0]


def test_out_of_fold_logits_come_from_models_that_saw_no_item_of_the_group() -> None:
    """Every group of four is one picture under a random label: only a leak could predict it."""
    generator = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 4)
    labels = np.repeat(generator.permutation(np.arange(40) % 2), 4)
    features = generator.normal(size=(40, 30))[groups] + 0.01 * generator.normal(size=(160, 30))
    data = LabelledFeatures(features.astype(np.float32), labels, groups, 2)
    for head in ("logistic", "ridge"):
        learned = PROBE.adapt(data, LinearProbeParams(head=head))
        assert np.mean(learned.out_of_fold.argmax(axis=1) == labels[learned.scored]) < 0.7
    leaky = LabelledFeatures(data.features, labels, np.arange(160), 2)
    learned = PROBE.adapt(leaky, LinearProbeParams())
    assert np.mean(learned.out_of_fold.argmax(axis=1) == labels) > 0.95


def test_out_of_fold_accuracy_is_that_of_scikit_learns_cross_validation() -> None:
    data = made_up(40, 12, distance=2.0, group_size=2)
    learned = PROBE.adapt(data, LinearProbeParams())
    ours = np.mean(learned.out_of_fold.argmax(axis=1) == data.labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (learned.strength * 12), max_iter=5000))
    theirs = cross_val_predict(model, data.features, data.labels, groups=data.groups, cv=GroupKFold(5))
    assert ours == pytest.approx(np.mean(theirs == data.labels), abs=0.06)


@HEADS
def test_one_item_per_class_takes_the_default_strength_and_has_no_scores(head: str) -> None:
    learned = PROBE.adapt(made_up(1, 16, distance=20.0), LinearProbeParams(head=head))
    assert learned.strength == DEFAULT_STRENGTH
    assert learned.scores == []
    assert learned.out_of_fold.shape == (0, 3)
    unseen = made_up(20, 16, distance=20.0, seed=9)
    assert np.mean(learned.head.logits(unseen.features).argmax(axis=1) == unseen.labels) > 0.9


@HEADS
@pytest.mark.parametrize("per_class", [2, 3])
def test_few_items_per_class_are_left_out_one_by_one(head: str, per_class: int) -> None:
    data = made_up(per_class, 16, distance=12.0)
    learned = PROBE.adapt(data, LinearProbeParams(head=head))
    assert learned.scored.tolist() == list(range(3 * per_class))


@HEADS
def test_balanced_weights_raise_the_recall_of_the_rare_class(head: str) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 15])
    data = LabelledFeatures(
        (1.2 * labels[:, None] + generator.normal(size=(315, 3))).astype(np.float32), labels, np.arange(315), 2
    )
    recalls = {}
    for scheme in ("none", "balanced"):
        learned = PROBE.adapt(data, LinearProbeParams(head=head, class_weight=scheme))
        predicted = learned.head.logits(data.features).argmax(axis=1)
        recalls[scheme] = np.mean(predicted[labels == 1] == 1)
    assert recalls["balanced"] > recalls["none"] + 0.2


def test_class_weights_agree_with_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [10, 3, 5])
    np.testing.assert_allclose(class_weights(labels, 3, "balanced"), compute_sample_weight("balanced", labels))
    assert (class_weights(labels, 3, "none") == 1).all()


def test_the_grid_runs_from_the_strongest_and_one_alone_is_the_default() -> None:
    grid = strength_grid(13)
    assert grid[0] == pytest.approx(1e3)
    assert grid[-1] == pytest.approx(1e-3)
    assert strength_grid(1).tolist() == [DEFAULT_STRENGTH]


def test_one_class_or_a_class_without_items_is_refused() -> None:
    data = made_up(4, 5, classes=2)
    for classes in (1, 3):
        labels = data.labels if classes == 3 else np.zeros_like(data.labels)
        with pytest.raises(DataError, match="needs two classes with items"):
            PROBE.adapt(LabelledFeatures(data.features, labels, data.groups, classes), LinearProbeParams())


def test_features_that_are_not_finite_are_refused_with_their_row() -> None:
    data = made_up(4, 5)
    data.features[7, 2] = np.nan
    with pytest.raises(StageInputError, match="item 7 are not finite"):
        PROBE.adapt(data, LinearProbeParams())


FINGERPRINT = """
import hashlib, sys
sys.path[:0] = {path!r}
from test_linear_probe import made_up
from tasks.methods.linear_probe import LinearProbe
from tasks.params import LinearProbeParams
from tasks.principal_axes import Standardisation
digest = hashlib.sha256()
for head in ("logistic", "ridge"):
    learned = LinearProbe().adapt(made_up(40, 200, classes=4), LinearProbeParams(head=head))
    digest.update(learned.head.weight.tobytes() + learned.head.bias.tobytes() + learned.out_of_fold.tobytes())
print(digest.hexdigest(), "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def fingerprints() -> set[str]:
    """What separate processes with one and with two BLAS threads learn from the same data."""
    script = FINGERPRINT.format(path=[str(Path(__file__).parent), *sys.path])
    return {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }


def test_the_same_input_gives_the_same_bits_whatever_the_number_of_threads(fingerprints: set[str]) -> None:
    assert len(fingerprints) == 1
    digest = hashlib.sha256()
    for head in ("logistic", "ridge"):
        learned = PROBE.adapt(made_up(40, 200, classes=4), LinearProbeParams(head=head))
        digest.update(learned.head.weight.tobytes() + learned.head.bias.tobytes() + learned.out_of_fold.tobytes())
    assert fingerprints.pop().split()[0] == digest.hexdigest()


def test_the_probe_never_imports_torch(fingerprints: set[str]) -> None:
    assert all(line.split()[1] == "False" for line in fingerprints)


def test_a_small_data_set_is_learned_in_about_a_second() -> None:
    data = made_up(122, 1280, classes=2)
    started = time.process_time()
    PROBE.adapt(data, LinearProbeParams())
    assert time.process_time() - started < 5.0

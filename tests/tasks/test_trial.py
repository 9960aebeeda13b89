"""A trial judges settings on held-out items of the train and validation sides, and knows nothing of the test side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from small_workspace import copy_workspace

from flows.tune_space import with_settings
from tasks.errors import DataError
from tasks.params import Params, load_params
from tasks.reports.adaptation import AdaptationReport
from tasks.reports.trials import TRIAL_MARK, TrialEpoch, TrialOutcome, TrialWord
from tasks.tables import SPLITS, table_bytes
from tasks.trial import judge
from tasks.workspace import Workspace

SHORT = {"name": "fine_tune", "epochs": 2, "blocks": 1, "batch_size": 8, "folds": 2}


def judged(workspace: Workspace, params: Params, heard: list[TrialEpoch] | None = None) -> TrialOutcome:
    checkpoints = workspace.private / "tune" / "trial"
    return judge(workspace, params, checkpoints, (heard if heard is not None else []).append)


def with_method(workspace: Workspace, **method: Any) -> Params:
    document = load_params(workspace.params).model_dump(mode="json", by_alias=True)
    document["adapt"]["method"] = method
    return Params.model_validate(document)


def poison_test_side(workspace: Workspace) -> int:
    """Swap the labels of test items, spoil their features and delete their files; returns how many there are."""
    rows = parquet.read_table(workspace.splits).to_pydict()
    test = [row for row, side in enumerate(rows["side"]) if side == "test"]
    names = sorted(set(zip(rows["label"], rows["label_index"], strict=True)))
    index = parquet.read_table(workspace.embedding_index).to_pydict()
    features = np.load(workspace.features)
    for row in test:
        other = next(pair for pair in names if pair[0] != rows["label"][row])
        rows["label"][row], rows["label_index"][row] = other
        features[index["path"].index(rows["path"][row])] = np.nan
        (workspace.root / "data" / "raw" / rows["path"][row]).unlink()
    workspace.splits.write_bytes(table_bytes(pa.table(rows, schema=SPLITS)))
    np.save(workspace.features, features)
    return len(test)


@pytest.mark.parametrize(
    "method", [{"name": "linear_probe"}, pytest.param(SHORT, marks=pytest.mark.slow)], ids=["linear_probe", "fine_tune"]
)
def test_test_items_have_no_part_in_a_trial(finished: Workspace, tmp_path: Path, method: dict[str, Any]) -> None:
    poisoned = copy_workspace(finished, tmp_path / "poisoned")
    assert poison_test_side(poisoned) >= 4
    params = with_method(finished, **method)
    assert judged(poisoned, params) == judged(finished, params)


def test_the_linear_probe_is_judged_as_adapt_judges_it(finished: Workspace) -> None:
    adapted = AdaptationReport.read(finished.adapted / "adapted.json")
    found = judged(finished, load_params(finished.params))
    assert found.accuracy == adapted.out_of_fold_accuracy
    assert 0 < found.loss <= adapted.out_of_fold_loss  # at the temperature that suits
    assert (found.judged_by, found.items) == ("cross_validation", adapted.fitted_items)


def test_the_loss_weighs_every_item_alike_whatever_the_probe_learned_by(finished: Workspace) -> None:
    rows = parquet.read_table(finished.splits).to_pydict()
    ember = [row for row, label in enumerate(rows["label"]) if label == "ember" and rows["side"][row] == "train"]
    for row in ember[:-5]:
        rows["side"][row] = "left_out"
    finished.splits.write_bytes(table_bytes(pa.table(rows, schema=SPLITS)))
    params = load_params(finished.params)
    plain, balanced = (judged(finished, with_settings(params, {"class_weight": each})) for each in ("none", "balanced"))
    assert plain.items == balanced.items
    assert plain.loss != balanced.loss


def test_where_nothing_can_be_held_out_the_reason_is_named(finished: Workspace) -> None:
    rows = parquet.read_table(finished.splits).to_pydict()
    for label in ("ember", "ocean"):
        train = [row for row, side in enumerate(rows["side"]) if side == "train" and rows["label"][row] == label]
        for row in train[1:]:
            rows["side"][row] = "left_out"
    finished.splits.write_bytes(table_bytes(pa.table(rows, schema=SPLITS)))
    with pytest.raises(DataError, match="too few items can be held out to judge settings by"):
        judged(finished, load_params(finished.params))


def test_as_a_process_it_ends_with_its_outcome_or_its_fault_and_without_torch(finished: Workspace) -> None:
    file = finished.root / "trial.json"
    file.write_text(load_params(finished.params).model_dump_json(by_alias=True))
    script = (
        "import sys; from pathlib import Path; from tasks.trial import main\n"
        f"code = main(Path({str(file)!r}), Path('checkpoints'))\n"
        "assert not {'torch', 'optuna', 'prefect', 'dvc'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    repository = str(Path(__file__).resolve().parents[2])

    def ended() -> tuple[int, TrialWord]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=finished.root,
            env={"PYTHONPATH": repository, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.stdout, done.stderr
        return done.returncode, TrialWord.model_validate_json(done.stdout.splitlines()[-1].removeprefix(TRIAL_MARK))

    code, word = ended()
    assert (code, word.outcome) == (0, judged(finished, load_params(finished.params)))
    assert not (finished.root / "checkpoints").exists()
    finished.features.unlink()
    code, word = ended()
    assert code == 1
    assert "cannot be read" in (word.fault or "")


@pytest.mark.slow
def test_a_training_is_judged_on_held_out_items_beside_its_probe(finished: Workspace) -> None:
    heard: list[TrialEpoch] = []
    found = judged(finished, with_method(finished, **SHORT), heard)
    probe = judged(finished, with_method(finished, name="linear_probe", folds=2))
    assert (found.judged_by, found.items, found.epochs) == ("cross_validation", probe.items, 2)
    assert found.probe_accuracy is not None
    assert [one.epoch for one in heard if one.epoch] == [1, 2]
    assert {(one.epochs, one.trainings) for one in heard} == {(2, 2)}
    assert not finished.checkpoints.exists()
    assert judged(finished, with_method(finished, **SHORT)) == found

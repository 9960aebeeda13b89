"""What the processes of a training say reaches the stage once, and their errors are the stage's own."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from training_scene import fine_tune, made_items, made_network

from tasks.errors import DataError, GraftError, ParamsError, StageFailed, WorkspaceError
from tasks.methods.contract import LinearHead
from tasks.methods.features import LabelledItems
from tasks.methods.network_contract import LabelledImages
from tasks.methods.training_launch import TrainingWord, _death, _Hearer, train_in_processes
from tasks.methods.training_order import TrainingOrder, read_order, write_order
from tasks.methods.training_rank import is_loss_of_another
from tasks.params import AdaptParams, BackboneParams, FineTuneParams, FromScratchParams, TrainingParams
from tasks.preprocess import Preprocess
from tasks.reports.training import EpochScore
from tasks.training.determinants import training_key
from tasks.training.loop import train
from tasks.training.precision import numerics_of


class Told:
    """What a stage heard."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.epochs: list[int] = []
        self.hearer = _Hearer(self.steps.append, lambda score: self.epochs.append(score.epoch))

    def hear(self, *words: TrainingWord) -> None:
        for word in words:
            assert self.hearer.hear(f"graft-training {word.model_dump_json(exclude_none=True)}")


def epoch(number: int) -> TrainingWord:
    return TrainingWord(epoch=EpochScore(epoch=number, rate=0.1, training_loss=0.5, loss=0.4, accuracy=0.9))


def test_what_is_told_again_after_a_restart_is_heard_once() -> None:
    told = Told()
    told.hear(epoch(0), TrainingWord(steps=8), TrainingWord(steps=16), epoch(1), TrainingWord(steps=24))
    told.hear(epoch(0), epoch(1), TrainingWord(steps=16), TrainingWord(steps=24), TrainingWord(steps=32), epoch(2))
    assert told.steps == [8, 8, 8, 8]
    assert told.epochs == [0, 1, 2]


def test_other_lines_are_no_words() -> None:
    told = Told()
    assert not told.hearer.hear("W1121 torch/distributed/run.py: a line of a library")
    assert not told.hearer.hear("graft-training {cut off")
    assert (told.steps, told.epochs) == ([], [])


@pytest.mark.parametrize("kind", [DataError, ParamsError])
def test_an_error_of_a_process_is_the_stages_own(kind: type[GraftError]) -> None:
    with pytest.raises(kind, match="is gone"):
        Told().hear(TrainingWord(fault=(kind.__name__, "cat/1.jpg is gone")))


def test_a_defect_of_a_process_is_told_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    trace = "Traceback (most recent call last):\n  somewhere\nZeroDivisionError: division by zero\n"
    with pytest.raises(RuntimeError, match=r"^ZeroDivisionError: division by zero$"):
        Told().hear(TrainingWord(defect=trace))
    assert "somewhere" in capsys.readouterr().err


def test_a_process_that_was_killed_is_said_to_be() -> None:
    text = _death(2, 1, deque(["  rank      : 1 (local_rank: 1)", "  exitcode  : -9 (pid: 77)"]))
    assert "one of the 2 processes of the training was killed by SIGKILL (often the machine ran out of memory" in text
    lost = deque(["  exitcode  : 1 (pid: 76)", "  exitcode  : -9 (pid: 77)"])
    assert "was killed by SIGKILL" in _death(2, 1, lost), "a process that lost another is no cause"
    assert "exit code 3" in _death(2, 1, deque(["  exitcode  : 3 (pid: 77)"]))


def test_that_another_process_is_gone_is_no_defect_of_this_one() -> None:
    text = "[/x/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:22660: Connection reset by peer"
    assert is_loss_of_another(RuntimeError(text))
    assert is_loss_of_another(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    assert not is_loss_of_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_loss_of_another(ZeroDivisionError("division by zero"))


@pytest.mark.parametrize(
    "settings", [FineTuneParams(blocks="all", seed=3), FromScratchParams(passes=7)], ids=["fine", "scratch"]
)
@pytest.mark.parametrize("judged", [True, False])
def test_an_order_comes_back_to_the_bit(tmp_path: Path, settings: TrainingParams, judged: bool) -> None:
    labels = np.array([0, 1, 2, 0], dtype=np.int64)
    items = LabelledItems(
        ["a", "b", "c"], ["a/1", "b/ü", "c/3", "a/4"], ["0" * 64] * 4, ["train"] * 4, labels, labels + 5, np.eye(4)
    )
    data = LabelledImages(
        items,
        [tmp_path / path for path in items.paths],
        BackboneParams(weights="none"),
        tmp_path,
        Preprocess(resize=32, crop=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)),
        "f" * 64,
        tmp_path / "checkpoints",
        tmp_path / "cache",
        threads=3,
    )
    weight = np.float32(1) / np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    order = TrainingOrder(
        data=data,
        run_settings=settings,
        pretrained=judged,
        section="adapt.method",
        kept="key" if judged else None,
        learn=np.array([0, 2], dtype=np.int64),
        judge=np.array([1], dtype=np.int64) if judged else None,
        head=LinearHead(weight, weight[:, 0]) if judged else None,
        until=4 if judged else None,
        settings=settings.model_copy(update={"patience": 2}),
        multipliers=[1.0, 0.1] if judged else None,
    )
    write_order(order, tmp_path / "order.pt")
    found = read_order(tmp_path / "order.pt")
    for name in ("run_settings", "settings", "pretrained", "section", "kept", "until", "multipliers"):
        assert getattr(found, name) == getattr(order, name), name
    assert np.array_equal(found.learn, order.learn)
    assert (found.judge is None, found.head is None) == (not judged, not judged)
    if found.head is not None:
        assert found.head.weight.tobytes() == weight.tobytes()
        assert found.head.bias.tobytes() == np.ascontiguousarray(weight[:, 0]).tobytes()
    assert found.data.items.labels.tolist() == labels.tolist()
    assert found.data.items.features.shape == (4, 0)
    plain = ("files", "backbone", "root", "preprocess", "weights_sha256", "checkpoints", "cache", "threads")
    assert all(getattr(found.data, name) == getattr(data, name) for name in plain)


def test_every_process_needs_two_items_a_step() -> None:
    with pytest.raises(ValueError, match=r"batch_size \(6\) gives 4 processes fewer than 2 items each .* 8 or more"):
        AdaptParams.model_validate({"method": {"name": "fine_tune", "batch_size": 6, "processes": 4}})


def test_more_processes_than_gpus_are_refused_by_the_name_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.methods.network_run import NetworkRun

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = object.__new__(NetworkRun)
    run._section = "adapt.method"
    nothing = np.arange(0)
    with pytest.raises(
        ParamsError, match=r"adapt\.method\.processes is 4, one a GPU, and this machine has 2; set it to 2"
    ):
        run._spread(nothing, None, None, None, FineTuneParams(processes=4), None, print, print)


PROGRAM = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / f"{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}").touch()
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), 9)
import time; time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_that_dies_twice_ends_the_stage_and_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying_rank.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StageFailed, match="one of the 2 processes of the training was killed by SIGKILL"):
        train_in_processes(tmp_path, 2, 1, print, print, "dying_rank")
    assert {"0-0", "1-0", "0-1", "1-1"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processes_that_are_started_again_do_not_wait_for_the_addresses_of_those_that_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    steps: list[int] = []
    train_in_processes(tmp_path, 2, 1, steps.append, print, "restarted_rank")
    assert steps == [2]


def test_what_several_processes_trained_has_to_be_kept(tmp_path: Path) -> None:
    network, depth = made_network()
    called: list[bool] = []
    with pytest.raises(
        WorkspaceError, match=r"what 2 processes trained could not be kept in .*set adapt\.method\.proc"
    ):
        train(
            network,
            depth,
            made_items(),
            fine_tune(processes=2),
            folder=tmp_path,
            determinants={},
            spread=lambda: called.append(True),
        )
    assert called == [True]


def test_the_number_of_processes_makes_another_training() -> None:
    keys = []
    for processes in (1, 2):
        (network, depth), settings = made_network(), fine_tune(processes=processes)
        keys.append(training_key(network, depth, made_items(), settings, numerics_of(settings), 4, {}))
    assert keys[0] != keys[1]


def test_processes_share_the_threads_that_a_stage_may_use() -> None:
    from tasks.methods.network_run import training_threads

    assert [training_threads(FineTuneParams(processes=number), 224, 8) for number in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert training_threads(FineTuneParams(processes=4, threads=3), 224, 8) == 3
    assert training_threads(FineTuneParams(processes=4), 64, 8) == 1

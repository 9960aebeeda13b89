"""Which epoch is chosen, when training ends, what it reports, and that it learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_scene import fine_tune, made_items, made_network, trained

from tasks.errors import ParamsError
from tasks.temperature import calibrated_log_losses
from tasks.training import history, loop
from tasks.training.freezing import digest_of
from tasks.training.network import tensors_of


def scored(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Have the judge give these losses, one for the start and one for each epoch."""
    given = iter(losses)
    monkeypatch.setattr(history, "log_loss_and_accuracy", lambda *_: (next(given), 0.5))


def test_the_network_learns_and_the_history_has_a_row_for_the_start(tmp_path: Path) -> None:
    network, outcome = trained(tmp_path, blocks="all", epochs=6)
    first, *_, last = outcome.history
    assert [row.epoch for row in outcome.history] == list(range(7))
    assert first.training_loss is None
    assert first.rate == 0
    assert last.loss is not None
    assert first.loss is not None
    assert last.loss < 0.5 * first.loss
    assert last.accuracy is not None
    assert last.accuracy >= 0.9
    assert not network.training
    assert outcome.judged_logits.shape == (7, 10, 3)
    assert outcome.judged_logits.dtype == np.float32


def test_the_start_is_judged_as_it_came(tmp_path: Path) -> None:
    items = made_items()
    network, _ = made_network()
    assert items.judge is not None
    with torch.no_grad():
        expected = network.eval()(*items.examples.plain(items.judge))
    _, outcome = trained(tmp_path, items)
    np.testing.assert_allclose(outcome.judged_logits[0], expected.numpy(), atol=1e-6)
    loss = calibrated_log_losses(expected.numpy(), items.labels[items.judge]).mean()
    assert outcome.history[0].loss == pytest.approx(loss, abs=1e-6)


def test_the_epoch_of_least_judged_loss_is_chosen_and_its_weights_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = made_items()
    scored(monkeypatch, [0.1, 0.9, 0.5, 0.6, 0.5])
    network, outcome = trained(tmp_path, items)
    assert outcome.chosen_epoch == 2
    assert items.judge is not None
    with torch.no_grad():
        logits = network(*items.examples.plain(items.judge)).numpy()
    np.testing.assert_allclose(logits, outcome.judged_logits[2], atol=1e-5)
    assert not np.allclose(logits, outcome.judged_logits[4], atol=1e-5)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (0, 8)])
def test_training_ends_after_so_many_epochs_without_a_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, epochs: int
) -> None:
    scored(monkeypatch, [9.0, 0.9, 0.5, 0.6, 0.4, 0.6, 0.4, 0.7, 0.8])
    _, outcome = trained(tmp_path, patience=patience, epochs=8)
    assert len(outcome.history) - 1 == epochs
    assert outcome.stopped_early == (patience > 0)
    assert outcome.chosen_epoch == (2 if patience == 1 else 4)


def test_without_a_judge_the_last_epoch_is_kept_and_until_ends_on_the_same_schedule(tmp_path: Path) -> None:
    items = made_items(judged=0)
    _, whole = trained(tmp_path, items, epochs=4)
    _, part = trained(tmp_path, items, epochs=4, until=2)
    assert (whole.chosen_epoch, part.chosen_epoch) == (4, 2)
    assert part.history == whole.history[:3]
    assert not part.stopped_early
    assert all(row.loss is None and row.accuracy is None for row in whole.history)
    assert len(whole.judged_logits) == 5
    assert whole.judged_logits.size == 0


def test_judging_changes_nothing_that_is_learned(tmp_path: Path) -> None:
    items = made_items(judged=10)
    judged, outcome = trained(tmp_path, items)
    assert outcome.chosen_epoch == 4
    unjudged, _ = trained(tmp_path, type(items)(items.examples, items.labels, items.identities, items.learn))
    assert digest_of(tensors_of(judged)) == digest_of(tensors_of(unjudged))


def test_training_leaves_torchs_random_numbers_and_settings_as_they_were(tmp_path: Path) -> None:
    network, depth = made_network()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loop.train(network, depth, made_items(), fine_tune(), folder=tmp_path, determinants={})
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_random_numbers_before_a_training_do_not_matter(tmp_path: Path) -> None:
    digests = set()
    for seed in (1, 2):
        network, depth = made_network()
        torch.manual_seed(seed)
        loop.train(network, depth, made_items(), fine_tune(), folder=tmp_path / str(seed), determinants={})
        digests.add(digest_of(tensors_of(network)))
    assert len(digests) == 1


@pytest.mark.parametrize("judged", [0, 10])
def test_a_diverging_training_is_the_callers_and_names_the_rate(tmp_path: Path, judged: int) -> None:
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 10.0, "clip_norm": None, "warmup_epochs": 0}
    items = made_items(judged=judged)
    items.examples.images[3] = 1e30  # type: ignore[attr-defined]
    with pytest.raises(ParamsError, match=r"adapt\.method\.learning_rate is 10"):
        trained(tmp_path, items, **settings)


def test_divergence_of_the_baseline_names_the_baselines_rate(tmp_path: Path) -> None:
    items, (network, depth) = made_items(), made_network()
    items.examples.images[3] = float("inf")  # type: ignore[attr-defined]
    given: dict[str, Any] = {"folder": tmp_path, "determinants": {}, "section": "adapt.from_scratch_settings"}
    with pytest.raises(ParamsError, match=r"adapt\.from_scratch_settings\.learning_rate is 0\.01"):
        loop.train(network, depth, items, fine_tune(), **given)


def test_a_plateau_is_replayed_by_a_training_that_nothing_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"schedule": "plateau", "step_epochs": 1, "epochs": 5, "warmup_epochs": 0}
    items = made_items()
    with monkeypatch.context() as patch:
        scored(patch, [9.0, 0.5, 0.6, 0.7, 0.8, 0.9])
        _, judged = trained(tmp_path, items, **settings)
    assert judged.multipliers == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1])
    _, found = trained(tmp_path, items, **settings)
    assert found.multipliers == judged.multipliers
    alone = dataclasses.replace(items, judge=None)
    network, depth = made_network()
    given: dict[str, Any] = {"folder": tmp_path, "determinants": {}, "until": 4}
    outcome = loop.train(network, depth, alone, fine_tune(**settings), multipliers=judged.multipliers, **given)
    assert [row.rate for row in outcome.history] == [row.rate for row in judged.history[:5]]
    assert [row.training_loss for row in outcome.history] == [row.training_loss for row in judged.history[:5]]
    with pytest.raises(ValueError, match="3 multipliers for 4 epochs"):
        loop.train(network, depth, alone, fine_tune(**settings), multipliers=[1.0, 1.0, 1.0], **given)


def test_a_clipped_gradient_moves_plain_sgd_no_further_than_the_rate_times_its_norm(tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in tensors_of(made_network()[0]).items()}
    settings: dict[str, Any] = {"optimizer": "sgd", "epochs": 1, "batch_size": 64, "weight_decay": 0, "layer_decay": 1}
    moved = []
    for clip in (1e-3, None):
        network, _ = trained(tmp_path, warmup_epochs=0, clip_norm=clip, **settings)
        squares = [float((tensor - before[name]).square().sum()) for name, tensor in tensors_of(network).items()]
        moved.append(sum(squares) ** 0.5)
    assert moved[0] == pytest.approx(0.01 * 1e-3, rel=1e-2)
    assert moved[1] > 10 * moved[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_every_way_to_compute_learns_the_same_and_is_repeated_to_the_bit(
    tmp_path: Path, precision: str, memory_format: str
) -> None:
    settings: dict[str, Any] = {"precision": precision, "memory_format": memory_format, "blocks": "all", "epochs": 6}
    network, outcome = trained(tmp_path / "a", **settings)
    again, _ = trained(tmp_path / "b", **settings)
    assert digest_of(tensors_of(network)) == digest_of(tensors_of(again))
    assert (outcome.numerics.precision, outcome.numerics.memory_format) == (precision, memory_format)
    assert all(tensor.is_contiguous() and tensor.dtype != torch.bfloat16 for tensor in tensors_of(network).values())
    _, plain = trained(tmp_path, **{**settings, "precision": "fp32", "memory_format": "contiguous"})
    found, expected = outcome.history[-1].loss, plain.history[-1].loss
    assert found is not None
    # Dropout draws its mask in the order of memory, so that the two formats drop other values.
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("schedule", ["cosine", "step", "plateau", "constant"])
@pytest.mark.parametrize("balance", ["none", "weighted", "sampled"])
def test_progress_counts_every_item_of_every_epoch_once(tmp_path: Path, schedule: str, balance: str) -> None:
    settings = fine_tune(schedule=schedule, class_balance=balance, epochs=2)
    network, depth = made_network()
    counted: list[int] = []
    loop.train(network, depth, made_items(), settings, folder=tmp_path, determinants={}, on_step=counted.append)
    assert sum(counted) == 2 * 30

"""Latencies as ratios: their interval against scipy, and how the measurement is arranged; nothing asserts a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from tasks.quantization import latency
from tasks.quantization.latency import measured_latencies, speedup
from tasks.workspace import Workspace


def test_a_ratio_is_taken_within_a_round() -> None:
    fp32 = np.array([1.0, 10.0, 2.0, 4.0, 100.0] * 4)
    found = speedup(fp32, fp32 / 2)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("rounds", "confidence"), [(10, 0.95), (40, 0.95), (41, 0.9), (100, 0.99)])
def test_the_interval_holds_the_median_at_the_level(rounds: int, confidence: float) -> None:
    ratios = np.arange(1.0, rounds + 1)
    found = speedup(ratios, np.ones(rounds), confidence)
    skipped = int(found.low) - 1
    assert found.high == rounds - skipped
    assert 1 - 2 * binom.cdf(skipped, rounds, 0.5) >= confidence - 1e-12
    assert 1 - 2 * binom.cdf(skipped + 1, rounds, 0.5) < confidence
    assert found.low <= found.value <= found.high


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        found = speedup(np.exp(generator.normal(0.4, 0.2, 40)), np.ones(40))
        held += found.low <= np.exp(0.4) <= found.high
    assert held >= 935


def test_with_too_few_rounds_the_interval_spans_them_all() -> None:
    found = speedup(np.array([3.0, 1.0, 2.0]), np.ones(3))
    assert (found.low, found.value, found.high) == (1.0, 2.0, 3.0)


class Counted:
    """A session that notes who was asked."""

    asked: list[bytes] = []

    def __init__(self, graph: bytes) -> None:
        self.graph = graph

    def run(self, outputs: list[str], feed: dict[str, Any]) -> None:
        assert feed["image"].shape == (1, 32, 32, 3)
        self.asked.append(self.graph)


def test_models_are_interleaved_in_random_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "open_session", Counted)
    Counted.asked = []
    models = {name: name.encode() for name in ("fp32", "a", "b")}
    measured_latencies(models, np.zeros((32, 32, 3), np.uint8), rounds=30, seed=0)
    asked = Counted.asked
    assert asked[::2] == asked[1::2]  # Once to warm up, once measured.
    rounds = [tuple(asked[::2][start : start + 3]) for start in range(0, 90, 3)]
    assert all(sorted(order) == [b"a", b"b", b"fp32"] for order in rounds)
    assert len(set(rounds)) == 6


def test_every_model_has_its_ratio_and_fp32_has_one(finished: Workspace) -> None:
    graph = (finished.release / "model.onnx").read_bytes()
    report = measured_latencies({"fp32": graph, "same": graph}, np.zeros((32, 32, 3), np.uint8), 11, 0)
    assert {each.model for each in report.models} == {"fp32", "same"}
    of_fp32 = next(each.speedup for each in report.models if each.model == "fp32")
    assert (of_fp32.value, of_fp32.low, of_fp32.high) == (1.0, 1.0, 1.0)


def test_timings_are_no_out_and_no_dependency() -> None:
    text = (Path(__file__).parents[2] / "dvc.yaml").read_text()
    assert "int8.json" in text
    assert "int8_timings" not in text

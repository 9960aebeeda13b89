"""How much faster than fp32: paired ratios, random order, and an interval that supposes no distribution."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from math import comb

import numpy as np

from tasks.metrics import FloatVector
from tasks.onnx_session import open_session
from tasks.preprocess import UInt8Image
from tasks.reports import Estimate
from tasks.reports.quantization import Latency, LatencyReport

FP32 = "fp32"
CONFIDENCE = 0.95
METHOD = "median of paired ratios, order statistics"


def measured_latencies(models: Mapping[str, bytes], image: UInt8Image, rounds: int, seed: int) -> LatencyReport:
    """Processor time of one image on one thread, every model once a round, in an order drawn anew for each.

    A model runs once unmeasured before it is measured, for the one before it took its place in the cache. Processor
    time, not the clock's: waiting for a core is not the model's.

    Args:
        models: graphs by name, `fp32` among them.
        image: (crop, crop, 3), prepared.
    """
    sessions = {name: open_session(graph) for name, graph in models.items()}
    feed, order, generator = {"image": image[None]}, list(models), random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        generator.shuffle(order)
        for name in order:
            sessions[name].run(["probabilities"], feed)
            start = time.thread_time()
            sessions[name].run(["probabilities"], feed)
            seconds[name].append(time.thread_time() - start)
    times = {name: np.array(taken) for name, taken in seconds.items()}
    return LatencyReport(
        rounds=rounds,
        confidence=CONFIDENCE,
        models=[
            Latency(model=name, median_ms=1e3 * float(np.median(taken)), speedup=speedup(times[FP32], taken))
            for name, taken in times.items()
        ],
    )


def speedup(reference: FloatVector, taken: FloatVector, confidence: float = CONFIDENCE) -> Estimate:
    """Median of the ratios reference / taken of the same rounds.

    Args:
        reference, taken: (rounds,) seconds, above 0.
        confidence: least level of the interval, in (0, 1).
    Returns:
        Ratio above 0; above 1 is faster. With too few rounds for the level the interval spans them all.
    Source: the binomial interval of a median, as in Conover, "Practical nonparametric statistics", section 3.2.
    """
    ratios = np.sort(reference / np.maximum(taken, 1e-9))
    skipped = _outside(len(ratios), confidence)
    return Estimate(
        value=float(np.median(ratios)), low=float(ratios[skipped]), high=float(ratios[-1 - skipped]), method=METHOD
    )


def _outside(rounds: int, confidence: float) -> int:
    """How many of the sorted values may lie outside of the median's interval on each side; 0 where even that is much.

    The bound above `skipped` values lies beyond the median if no more than `skipped` of them fall below it.
    """
    skipped, missed = 0, 1 / 2**rounds
    while skipped + 1 <= (rounds - 1) // 2:
        missed += comb(rounds, skipped + 1) / 2**rounds
        if 2 * missed > 1 - confidence:
            break
        skipped += 1
    return skipped

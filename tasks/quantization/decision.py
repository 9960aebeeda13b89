"""Which variant is released: the rule alone, a pure function of what was measured.

The variants are judged on the test items from the gentlest on, each at the full level, until one fails: a fixed
sequence of tests, whose chance of passing any model that is worse by a margin is the level of one test, however many
variants there are (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001). The order is fixed beforehand, and
what is too slow or too large takes its place in it like any other, so that no figure that gets better ever takes a
release away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.params.release import Int8Params
from tasks.reports import Estimate
from tasks.reports.quantization import VariantName


@dataclass(frozen=True)
class Candidate:
    """What was measured of a variant.

    Attributes:
        size_ratio: its bytes / those of fp32; null: it could not be built, as `faults` says.
        speedup: latency of fp32 / its own; null where not measured.
        accuracy_gain, macro_f1_gain: over fp32 on the test items, with the interval of level 1 - 2 alpha.
        more_items: about how many more test items would settle a doubt about the accuracy; null where unknown.
        faults: rules of the gate and of the comparison with the champion that it breaks.
    """

    name: VariantName
    size_ratio: float | None = None
    speedup: Estimate | None = None
    accuracy_gain: Estimate | None = None
    macro_f1_gain: Estimate | None = None
    more_items: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A variant's verdict; `as_good` is None where a gentler one failed before it."""

    small_enough: bool
    fast_enough: bool
    as_good: bool | None
    reasons: list[str]

    @property
    def passed(self) -> bool:
        return self.small_enough and self.fast_enough and self.as_good is True


@dataclass(frozen=True)
class Decision:
    """The variant that is released, None: fp32; and the verdict on each."""

    variant: VariantName | None
    judged: dict[VariantName, Judged]


def decide(candidates: Sequence[Candidate], params: Int8Params) -> Decision:
    """Judge every variant and choose the fastest that passed; of those not told apart from it, the gentlest.

    Args:
        candidates: from the gentlest to the roughest.
    """
    judged: dict[VariantName, Judged] = {}
    failed: VariantName | None = None
    for candidate in candidates:
        judged[candidate.name] = _judge(candidate, params, failed)
        if judged[candidate.name].as_good is False and failed is None:
            failed = candidate.name
    speeds = [(each.name, each.speedup) for each in candidates if judged[each.name].passed and each.speedup]
    if not speeds:
        return Decision(None, judged)
    leader = max(speeds, key=lambda named: named[1].value)[1]
    return Decision(next(name for name, speed in speeds if speed.high >= leader.low), judged)


def _judge(candidate: Candidate, params: Int8Params, failed: VariantName | None) -> Judged:
    reasons: list[str] = []
    small = candidate.size_ratio is not None and candidate.size_ratio <= params.max_size_ratio
    if candidate.size_ratio is not None and not small:
        reasons.append(
            f"its size is {candidate.size_ratio:.2f} of fp32's, allowed {params.max_size_ratio:g} "
            "(params.yaml: export.int8.max_size_ratio)"
        )
    fast = candidate.speedup is not None and candidate.speedup.low >= params.min_speedup
    if candidate.speedup is not None and not fast:
        # How fast stands in reports/int8_timings.json alone: this text goes into outs, which hold no time.
        reasons.append(
            f"it is not shown to be {params.min_speedup:g} times as fast as fp32 (reports/int8_timings.json has the "
            "measurements; params.yaml: export.int8.min_speedup)"
        )
    if failed is not None:
        reasons.append(f"{failed}, which is gentler, failed on the test items, so it was not judged there")
        return Judged(small, fast, None, reasons)
    lost = [*candidate.faults, *losses(candidate.accuracy_gain, candidate.macro_f1_gain, params)]
    if lost and candidate.more_items and not candidate.faults:
        lost.append(f"about {candidate.more_items} more test items would settle it, if its answers to them are alike")
    return Judged(small, fast, not lost, [*lost, *reasons])


def gain_text(gain: Estimate) -> str:
    """A difference with its lower bound, which is what is judged."""
    return f"{gain.value:+.4f} (lower bound {gain.low:+.4f})"


def losses(accuracy_gain: Estimate | None, macro_f1_gain: Estimate | None, params: Int8Params) -> list[str]:
    """Margins to fp32 that are not shown to be kept, one sentence each; what was not measured is not shown."""
    figures = (
        ("accuracy", accuracy_gain, params.accuracy_margin),
        ("macro-F1", macro_f1_gain, params.macro_f1_margin),
    )
    lost = []
    for what, gain, margin in figures:
        key = f"params.yaml: export.int8.{what.replace('-', '_').lower()}_margin"
        if gain is None:
            lost.append(f"its {what} was not measured")
        elif not gain.low > -margin:
            level = f"{100 * (1 - params.alpha):g}%"
            lost.append(
                f"its {what} is not shown to lose less than {margin:g} against fp32: {gain_text(gain)}, at {level} "
                f"({key})"
            )
    return lost

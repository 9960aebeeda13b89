"""Which promoted version is the most accurate, told by paired comparisons as far as there are any.

Registered accuracies are of the test set of their day. While data grow, each is of another one, and every champion
might be the best by its own: a line of small losses would walk downhill unseen. Two models on the same items differ by
what one of them learned, so a paired gain that is on record outweighs the accuracies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows.journal import HISTORY, VERSIONS, Journal
from flows.records import PROD, StageChange, VersionRecord
from flows.version_files import version_report
from tasks.reports import EvaluationReport


def most_accurate(root: Path, champion: str, serves: Callable[[VersionRecord], bool]) -> VersionRecord | None:
    """The most accurate version that was ever promoted; the champion where none is more accurate.

    The champion stands below the pinned release that beat it by most in the evaluation that it was published with: that
    one stays the best. What was promoted after the champion, and rolled back, is held against that. Where nothing is on
    record, as of a version that was forced past changed classes, registered accuracies decide.

    Args:
        champion: manifest sha256 of what is in production.
        serves: whether a version may be the best on this split; asked of as few as possible, as it costs git a call.
    Returns:
        None where the champion is no version of this registry, and no other version serves.
    """
    changes = Journal(root, HISTORY, StageChange).read()
    promoted = {change.manifest_sha256 for change in changes if change.stage == PROD}
    known = [one for one in Journal(root, VERSIONS, VersionRecord).read() if one.manifest_sha256 in promoted]
    present = next((one for one in known if one.manifest_sha256 == champion), None)
    if present is None:
        return _by_accuracy(known, serves)
    measured = _gains(root, present)
    best = _at_publication(present, measured, known, serves)
    for later in (one for one in known if one.version > present.version and one.manifest_sha256 not in measured):
        gains = _gains(root, later)
        least = min(gains.values(), default=later.accuracy.value - best.accuracy.value)
        gain = gains.get(best.manifest_sha256, least)
        if gain > 0 and serves(later):
            best = later
    return best


def _at_publication(
    champion: VersionRecord,
    gains: Mapping[str, float],
    known: Sequence[VersionRecord],
    serves: Callable[[VersionRecord], bool],
) -> VersionRecord:
    """The best of the champion and what was promoted before it.

    Args:
        gains: of the champion, by the digest of what it was compared with.
    """
    rivals = sorted((gains[one.manifest_sha256], one.version, one) for one in known if one.manifest_sha256 in gains)
    beaten_by = next((rival for gain, _, rival in rivals if gain < 0 and serves(rival)), None)
    if beaten_by:
        return beaten_by
    if rivals and rivals[-1][0] >= 0:
        return champion
    earlier = [one for one in known if one.version < champion.version]
    more_accurate = [one for one in earlier if one.accuracy.value > champion.accuracy.value]
    return _by_accuracy(more_accurate, serves) or champion


def _by_accuracy(among: Sequence[VersionRecord], serves: Callable[[VersionRecord], bool]) -> VersionRecord | None:
    ranked = sorted(among, key=lambda one: (one.accuracy.value, one.version), reverse=True)
    return next((version for version in ranked if serves(version)), None)


def _gains(root: Path, version: VersionRecord) -> dict[str, float]:
    """The accuracy that a version gained, by digest of each release that it was compared with on the same items."""
    evaluation = version_report(root, version, "evaluation.json", EvaluationReport)
    gains = {}
    for pair in evaluation.comparisons if evaluation else []:
        if pair.unchanged:
            gains[pair.manifest_sha256] = 0.0
        elif pair.gain is not None:
            gains[pair.manifest_sha256] = pair.gain.value
    return gains

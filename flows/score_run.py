"""Scoring with a chosen release, as the command and the flow both do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flows.chosen_release import choose_release, params_around
from flows.versions import version_name
from tasks.batch_scoring.scoring import ScoreWish, Watch, check_wish, score
from tasks.errors import counted
from tasks.reports.scoring import ScoreReport
from tasks.stage import say
from tasks.workspace import expanded

SHOWN_FAULTS, SHOWN_LABELS = 5, 10


@dataclass(frozen=True)
class ScoreRequest:
    """What somebody asked for; relative paths start at the current folder.

    Attributes:
        release, version: as `choose_release` takes them.
        workspace: where to look for the registry and params.yaml; None: from the current folder upwards.
    """

    source: Path
    output: Path
    release: Path | None = None
    version: str | None = None
    embeddings: bool = False
    threads: int = 0
    workspace: Path | None = None


def score_here(request: ScoreRequest, watch: Watch) -> ScoreReport:
    """Check the wish, then the release, then score.

    Raises:
        UserError, DataError, ReleaseError, StageInputError: as `check_wish`, `choose_release` and `score`.
    """
    here, params = params_around(request.workspace, needed=request.release is None)
    wish = ScoreWish(
        source=expanded(request.source),
        output=expanded(request.output).absolute(),
        limits=params.serve.limits,
        abstain_below=params.serve.abstain_below,
        embeddings=request.embeddings,
        threads=request.threads,
    )
    check_wish(wish)
    chosen = choose_release(here, params, request.release, request.version)
    say(f"release {_named(chosen.servable.digest, chosen.version)} of {chosen.servable.manifest.name}")
    return score(replace(wish, version=chosen.version), chosen.servable, watch)


def summary(report: ScoreReport) -> str:
    """A few lines for a person: what there is, what could not be read, where it lies."""
    tally = report.tally
    lines = [f"{counted(tally.items, 'file')}: {tally.scored} scored, {tally.failed} could not be"]
    if tally.abstained:
        lines[0] += f"; {tally.abstained} abstained"
    shown = tally.faults[:SHOWN_FAULTS]
    lines += [f"  {fault.path}: {fault.error}" for fault in shown]
    if tally.failed > len(shown):
        lines.append(f"  and {tally.failed - len(shown)} more (column `error`)")
    if tally.left_out:
        lines.append(f"{counted(tally.left_out, 'other file')} left out: no image by name; a table may name them")
    most = sorted(tally.predicted.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_LABELS]
    if most:
        more = ", ..." if len(tally.predicted) > len(most) else ""
        lines.append("predicted: " + ", ".join(f"{label} {count}" for label, count in most) + more)
    lines.append(_ending(report))
    return "\n".join(lines)


def _ending(report: ScoreReport) -> str:
    by = f"by release {_named(report.release, report.version)}"
    if report.state == "unchanged":
        return f"{report.output} was complete already, of the same files, {by}; nothing was done"
    earlier = report.tally.items - report.computed
    taken = f", {earlier} taken over from an interrupted run" if earlier else ""
    rate = f" ({report.computed / report.seconds:.0f} a second{taken})" if report.seconds else taken
    return f"{report.output}: {counted(report.tally.items, 'row')} {by} in {report.seconds:.1f} s{rate}"


def _named(digest: str, version: int | None) -> str:
    return digest[:12] if version is None else f"{version_name(version)} ({digest[:12]})"

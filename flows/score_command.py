"""`graft score` on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.logs import run_log
from flows.options import JsonOption, WorkspaceOption
from flows.registry_commands import answered
from tasks.stage import Progress, say

if TYPE_CHECKING:
    from tasks.batch_scoring.scoring import Watch

ReleaseOption = Annotated[
    Path | None, typer.Option("--release", metavar="DIR", help="A release's folder; the registry is not asked.")
]
VersionOption = Annotated[
    str | None,
    typer.Option("--version", metavar="VERSION", help="A published version; default: what is in production."),
]


def score(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|TABLE", help="Images, or a CSV or Parquet table with a column path.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.parquet", help="Where the scores go.")],
    release: ReleaseOption = None,
    version: VersionOption = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Also the features before the last layer.")] = False,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=0, help="Default: every core.")] = 0,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Predict every image of a folder or table with a release; one row for each, errors among them.

    The same command goes on where an interrupted one stopped, and leaves a finished output as it is. Exit code 0:
    scores are there. 1: failed, or no image could be scored. 130: interrupted.
    """
    from flows.score_run import ScoreRequest, score_here, summary

    request = ScoreRequest(source, output, release, version, embeddings, threads, workspace)
    report = answered(lambda: score_here(request, _watch()), as_json)
    if as_json:
        say(summary(report))
        print(report.to_json(), end="", flush=True)
    else:
        print(summary(report), flush=True)
    sys.exit(0 if report.tally.scored else 1)


def _watch() -> Watch:
    """A bar for a person, lines for a log in JSON."""
    from tasks.batch_scoring.scoring import Watch

    bars: list[Progress] = []

    def listed(count: int) -> None:
        if sys.stderr.isatty() and not run_log.as_json:
            print(f"\r{'listing':<9} {count}", end="", file=sys.stderr, flush=True)

    def done(now: int, total: int) -> None:
        run_log.progress("score", now, total)
        if not run_log.as_json:
            bar = bars[0] if bars else Progress("score", total)
            bars[:] = [bar]
            bar.advance(now - bar.done)

    return Watch(listed, done)

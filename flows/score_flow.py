"""Batch scoring as a Prefect flow, for deployments: `graft score`, started from the UI or a schedule."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.artifacts import ProgressLines
from flows.endings import disk_fault
from flows.logs import LINE, take_over_prefect
from flows.score_run import ScoreRequest, score_here, summary
from tasks.batch_scoring.scoring import Watch
from tasks.errors import GraftError, ParamsError, counted
from tasks.log_lines import LogLine
from tasks.reports.scoring import ScoreReport
from tasks.stage import PROGRESS_MARK, speak_through
from tasks.workspace import Workspace, expanded

SourceText = Annotated[str, Field(min_length=1, description="Folder of images, or table with a column path.")]
OutputText = Annotated[str, Field(min_length=1, description="The Parquet file to write; its folder must be there.")]
VersionText = Annotated[str | None, Field(description="A published version; empty: what is in production.")]


@flow(name="score", retries=0, validate_parameters=False)
def score_flow(
    source: SourceText,
    output: OutputText,
    version: VersionText = None,
    embeddings: Annotated[bool, Field(description="Also the features before the last layer.")] = False,
    threads: Annotated[int, Field(ge=0, description="0: every core.")] = 0,
) -> State[Any]:
    """Predict every image of a folder or table; ends as Completed or Failed. Started again, it goes on.

    Args:
        source: Folder of images, or CSV or Parquet table with a column path; relative ones start at the checkout.
        output: The Parquet file to write; its folder must be there. Relative ones start at the checkout.
        version: v3, 3, v3.0.0, or how the release's digest begins; empty: what is in production.
        embeddings: Also the features before the last layer.
        threads: Threads that decode and run the model; 0: every core.
    """
    take_over_prefect()
    logger = get_run_logger()

    def tell(line: LogLine) -> None:
        level = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
        logger.log(level, "%s", line.text(), extra={LINE: line})

    speak_through(tell)
    try:
        _check(source, output, version, embeddings, threads)
        home = Workspace.find()
        request = ScoreRequest(
            source=home.root / expanded(source),
            output=home.root / expanded(output),
            version=version or None,
            embeddings=embeddings,
            threads=threads,
            workspace=home.root,
        )
        report = score_here(request, _watch(tell))
    except GraftError as err:
        return _failed(str(err))
    except OSError as err:
        return _failed(disk_fault(err))
    logger.info("%s", summary(report))
    _show(report)
    last = summary(report).splitlines()[-1]
    return Completed(message=last) if report.tally.scored else Failed(message=summary(report))


def _check(source: Any, output: Any, version: Any, embeddings: Any, threads: Any) -> None:
    """What Prefect's server has judged already, unless somebody told it not to.

    Raises:
        ParamsError: a value is of another kind.
    """
    for name, value in {"source": source, "output": output, "version": version or ""}.items():
        if not isinstance(value, str) or (name != "version" and not value):
            raise ParamsError(f"{name}: {value!r} is no text")
    if not isinstance(embeddings, bool):
        raise ParamsError(f"embeddings: {embeddings!r} is neither true nor false")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise ParamsError(f"threads: {threads!r} is no number of threads (0: every core)")


def _watch(tell: Any) -> Watch:
    """A progress artifact on the run's page, and a line for every tenth."""
    lines, tenths = ProgressLines("score", tell), [0]

    def done(now: int, total: int) -> None:
        lines.line(f"{PROGRESS_MARK} score {now} {total}")
        if 10 * now // total > tenths[0]:
            tenths[0] = 10 * now // total
            tell(LogLine(f"score {now} of {total}"))

    return Watch(lambda count: tell(LogLine(f"listed {count} files")), done)


def _show(report: ScoreReport) -> None:
    """Files without an answer, as a table; nothing where all have one."""
    if report.tally.faults:
        rows = [fault.model_dump() for fault in report.tally.faults]
        count = counted(report.tally.failed, "file")
        described = f"{count} without an answer; the column `error` of {report.output} lists all"
        create_table_artifact(key="score-errors", table=rows, description=described)


def _failed(message: str) -> State[Any]:
    get_run_logger().error("%s", message)
    return Failed(message=message)

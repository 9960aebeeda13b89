"""How a command ends: exit codes of a stop, and errors of ours as the one object that --json promises."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Literal, TypeVar

from flows.result import EXIT_CODES, RunResult
from tasks.errors import GraftError, Refusal, full_disk

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
STOPPED = "interrupted; the same command goes on where it stopped"
Ended = Literal["refused", "failed", "interrupted"]
AnswerT = TypeVar("AnswerT")


def answer_of(run: Callable[[], AnswerT], ended: Callable[[Ended, list[str]], AnswerT]) -> tuple[AnswerT, int | None]:
    """For --json: an error of ours, or a wanted stop, becomes an answer, so that stdout always holds one object.

    Args:
        ended: makes the answer of how it ended and why.
    Returns:
        The answer and the exit code; None where the answer itself says it. Of a stop it is 128 and the signal's number.
    """
    try:
        return run(), None
    except GraftError as err:
        state: Ended = "refused" if isinstance(err, Refusal) else "failed"
        return ended(state, str(err).splitlines()), EXIT_CODES[state]
    except OSError as err:
        return ended("failed", [disk_fault(err)]), EXIT_CODES["failed"]
    except (KeyboardInterrupt, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else INTERRUPTED
        if code not in (INTERRUPTED, TERMINATED):
            raise
        return ended("interrupted", [STOPPED]), int(code)


def result_of(run: Callable[[], RunResult], new_run_id: Callable[[], str]) -> tuple[RunResult, int]:
    """`answer_of` a run through the corridor."""
    result, code = answer_of(run, lambda state, reasons: RunResult(run_id=new_run_id(), state=state, reasons=reasons))
    return result, result.exit_code if code is None else code


def disk_fault(err: OSError) -> str:
    """What the system could not do, with the mend."""
    other = f"{err.filename or 'the system'}: {err.strerror or err}; free the disk or make it writable, then run again"
    return full_disk(err) or other

"""`graft adapt --json` that is stopped: one object on stdout, and the signal's exit code."""

from __future__ import annotations

import pytest

from flows.cli import result_of
from flows.result import RunResult, summary


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_stopped_run_is_one_object_that_says_how_to_go_on(stop: BaseException, code: int) -> None:
    def run() -> RunResult:
        raise stop

    result, exit_code = result_of(run, lambda: "20260101T000000-0")
    assert (result.state, exit_code) == ("interrupted", code)
    assert result.reasons == ["interrupted; the same command goes on where it stopped"]
    assert summary(result).endswith("interrupted; the releases before it stand as they were")


def test_any_other_exit_is_no_stop() -> None:
    def run() -> RunResult:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        result_of(run, lambda: "20260101T000000-0")

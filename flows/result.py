"""How a run ended, as people and programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.log_lines import LogLine
from tasks.params.champion import Outcome
from tasks.reports import EvaluationReport, Report, Verdict
from tasks.reports.document import Record
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from flows.publication import Published

State = Literal["released", "refused", "failed", "interrupted"]
EXIT_CODES: dict[State, int] = {"released": 0, "failed": 1, "refused": 2, "interrupted": 130}


class Interval(Record):
    low: float
    high: float
    confidence: float


class BaselineLine(Record):
    """A baseline's accuracy and what the model gains over it."""

    accuracy: float
    gain: float
    gain_low: float
    gain_high: float


class ChampionLine(Record):
    """The version in production on the same test items, and what the model gains over it; null where not compared.

    Attributes:
        gain_low, gain_high: at evaluate.confidence, as all intervals of a result.
        level: one-sided, of the decision, after what earlier uses of the test set have spent.
        lower, upper: of the gain at that level; what the outcome rests on.
    """

    version: int
    accuracy: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    level: float | None = None
    lower: float | None = None
    upper: float | None = None


class RunResult(Report):
    """`release` is null unless this run's model is released; `unchanged` when there was nothing to do.

    Attributes:
        version: of the registry, where the run published; of an unchanged run, what its release is registered as.
        not_int8: why fp32 was released where int8 was asked for.
        outcome: of the comparison with the model in production.
        champion: that comparison; null where nothing was in production.
        promoted: the run's version is in production now; null where the run did not publish.
        not_promoted: why not, and how it can be.
        pushed: branch, tags and data are at the remotes; null where the run did not publish or there is no remote.
        not_pushed: why not, such as a remote that does not answer; `graft push` tries again.
        branch, commit: where the run's dvc.lock, params.yaml, metrics and verdicts are kept.
    """

    produced_by: ClassVar[str] = ""

    run_id: str
    state: State
    unchanged: bool = False
    release: str | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    intervals: dict[str, Interval] = {}
    baselines: dict[str, BaselineLine] = {}
    test_items: int | None = None
    reasons: list[str] = []
    data_digest: str | None = None
    seconds: dict[str, float] = {}
    memory_gb: dict[str, float] = {}
    stopped_in: str | None = None
    not_int8: str | None = None
    version: int | None = None
    outcome: Outcome | None = None
    champion: ChampionLine | None = None
    promoted: bool | None = None
    not_promoted: str | None = None
    pushed: bool | None = None
    not_pushed: str | None = None
    branch: str | None = None
    commit: str | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]

    @property
    def ending(self) -> str:
        """How it ended, in a line: what was released, and as which version."""
        if self.state != "released":
            return self.state
        version = "" if self.version is None else f" v{self.version}"
        if self.unchanged:
            return f"released{version}, nothing changed"
        against = f"; {_against(self)}" if self.champion else ""
        return f"released{version or f' {self.release}'}{against}"

    def with_version(self, published: Published) -> RunResult:
        """The same result with what became of the release in the registry and at the remotes."""
        version = published.version
        changes = {"version": version.version, "branch": version.branch, "commit": version.commit}
        return self.model_copy(update=changes).with_pushed(published.pushed, published.not_pushed)

    def with_pushed(self, pushed: bool | None, not_pushed: str | None) -> RunResult:
        """The same result with what is at the remotes."""
        return self.model_copy(update={"pushed": pushed, "not_pushed": not_pushed})

    def with_verdict(self, verdict: Verdict, report: EvaluationReport) -> RunResult:
        """The same result with how the model compares with the one in production."""
        found = next((one for one in report.comparisons if one.against == "champion"), None)
        judged = verdict.champion
        champion = found and ChampionLine(
            version=found.version,
            accuracy=found.accuracy,
            gain=found.gain and found.gain.value,
            gain_low=found.gain and found.gain.low,
            gain_high=found.gain and found.gain.high,
            level=judged and judged.alpha,
            lower=judged and judged.lower,
            upper=judged and judged.upper,
        )
        outcome = judged.outcome if judged else None
        return self.model_copy(update={"outcome": outcome, "champion": champion})

    def with_evaluation(self, report: EvaluationReport) -> RunResult:
        """The same result with what evaluate measured."""
        estimates = {"accuracy": report.accuracy, "macro_f1": report.macro_f1}
        return self.model_copy(
            update={
                "accuracy": report.accuracy.value,
                "macro_f1": report.macro_f1.value,
                "test_items": report.test_items,
                "data_digest": report.digests.data,
                "intervals": {
                    name: Interval(low=estimate.low, high=estimate.high, confidence=report.confidence)
                    for name, estimate in estimates.items()
                },
                "baselines": {
                    baseline.name: BaselineLine(
                        accuracy=baseline.accuracy.value,
                        gain=baseline.gain.value,
                        gain_low=baseline.gain.low,
                        gain_high=baseline.gain.high,
                    )
                    for baseline in report.baselines
                },
            }
        )


class Timings(Report):
    """reports/timings.json: wall seconds and most memory (GB) of every stage process in the last run.

    No stage may depend on it.
    """

    run_id: str
    seconds: dict[str, float]
    memory_gb: dict[str, float] = {}


BASELINES = {"linear_probe": "the linear probe", "from_scratch": "the same network from scratch"}
"""What a baseline is called where its name alone does not say it."""

EVIDENCE = {"validate": "reports/validation.html", "qualify": "reports/qualification.json"}
"""What to look at after a refusal in a stage; gate's, and so the default, is the report page."""


LEVELS: dict[State, str] = {"released": "info", "refused": "warning", "failed": "error", "interrupted": "warning"}


def closing_line(result: RunResult) -> LogLine:
    """The last line of a run's log: how it ended, and with what."""
    ended = "released, nothing changed" if result.state == "released" and result.unchanged else result.state
    return LogLine(f"run {ended}: {result.release or '; '.join(result.reasons)}", LEVELS[result.state])


def log_of(run_id: str) -> str:
    """A run's log as messages name it, from the workspace's root on.

    >>> log_of("1")
    '.graft/runs/1.log.jsonl'
    """
    return Workspace(Path()).run_log(run_id).as_posix()


def summary(result: RunResult) -> str:
    """A few lines for a person; the last one is the release's path alone, or what to look at."""
    lines = []
    if result.accuracy is not None and result.macro_f1 is not None:
        for name, value in (("accuracy", result.accuracy), ("macro-F1", result.macro_f1)):
            interval = result.intervals[name.lower().replace("-", "_")]
            lines.append(
                f"{name:<10} {value:.3f}  ({interval.confidence:.0%} CI {interval.low:.3f} to {interval.high:.3f}, "
                f"{result.test_items} test items)"
            )
    called = {name: BASELINES.get(name, name.replace("_", " ")) for name in result.baselines}
    width = max(map(len, called.values()), default=0)
    for name, line in result.baselines.items():
        lines.append(
            f"  against {called[name]:<{width}} {line.accuracy:.3f}  gain {line.gain:+.3f} "
            f"({line.gain_low:+.3f} to {line.gain_high:+.3f})"
        )
    lines += _champion_lines(result)
    lines += [f"  - {reason}" for reason in result.reasons]
    if result.not_int8:
        lines.append(f"fp32, though export.precision asks for int8: {result.not_int8}")
    done = " (nothing changed since; nothing was computed)" if result.unchanged and not result.seconds else ""
    evidence = EVIDENCE.get(result.stopped_in or "gate", "reports/report.html")
    ending = {
        "released": "\n".join([*_release_lines(result, done), str(result.release)]),
        "refused": f"refused{done}; the releases before it stand as they were\nsee {evidence}",
        "failed": f"failed in {result.stopped_in or 'preparation'}; log: {log_of(result.run_id)}",
        "interrupted": "interrupted; the releases before it stand as they were",
    }
    return "\n".join([*lines, ending[result.state]])


COMPARED = {
    "better": "better than v{}, which is in production",
    "equivalent": "equivalent to v{}, which is in production",
    "inconclusive": "not shown to be better or as good as v{}, which is in production",
    "incomparable": "not comparable with v{}, which is in production",
    "worse": "worse than v{}, which is in production",
    "unchanged": "the model of v{}, which is in production",
}
"""Outcomes for a person."""


def _against(result: RunResult) -> str:
    """How the model compares with the one in production; empty where there was none."""
    if result.champion is None or result.outcome not in COMPARED:
        return ""
    said = COMPARED[result.outcome].format(result.champion.version)
    return said if result.champion.gain is None else f"{said} ({result.champion.gain:+.3f})"


def _champion_lines(result: RunResult) -> list[str]:
    champion = result.champion
    if champion is None or champion.accuracy is None or champion.gain is None:
        return []
    line = f"  against v{champion.version}, which is in production, {champion.accuracy:.3f}  gain {champion.gain:+.3f}"
    if champion.lower is None or champion.upper is None or champion.level is None:
        return [line]
    return [f"{line} ({champion.lower:+.3f} to {champion.upper:+.3f}, each bound at level {champion.level:.2g})"]


def _release_lines(result: RunResult, done: str) -> list[str]:
    """What became of a released model: version, comparison, production, remotes."""
    version = "" if result.version is None else f" v{result.version}"
    against = f": {_against(result)}" if result.champion else ""
    if result.outcome == "unchanged" and result.champion:
        version, against = "", f": this is the model of v{result.champion.version}, which is in production"
    lines = [f"released{version}{done}{against}"]
    if result.promoted:
        lines.append(f"v{result.version} is in production now")
    elif result.promoted is False:
        lines.append(f"not promoted: {result.not_promoted}")
    if result.branch:
        lines.append(f"recorded on branch {result.branch}{' and pushed' if result.pushed else ''}")
    if result.not_pushed:
        again = "; `graft push` tries again" if result.pushed is False else ""
        lines.append(f"not pushed: {result.not_pushed}{again}")
    return lines

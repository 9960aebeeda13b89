"""Stage gate: judge the evaluation against params.yaml; it measures nothing itself.

Run by hand: python -m tasks.gate
"""

from __future__ import annotations

from tasks.champion_judgement import judge_champion
from tasks.champion_rule import broken_rule
from tasks.errors import StageInputError
from tasks.gate_rules import ANEW, judge
from tasks.params import Params
from tasks.plots.report_page import write_report_page
from tasks.reports import AdaptationReport, EvaluationReport, TestUse, Verdict
from tasks.stage import run_stage, say
from tasks.verdicts import JUDGED, differing, evaluated_digests, judged_digests
from tasks.workspace import Workspace


def gate(workspace: Workspace, params: Params) -> None:
    """Write reports/gate.json and the page that shows it; a refusal is a verdict like any other, no fault of gate.

    Raises:
        StageInputError: the evaluation is missing, what it measured has changed since, or this use of the test set is
            not on record.
    """
    report = EvaluationReport.read(workspace.evaluation)
    changed = [JUDGED[name] for name in differing(report.digests, evaluated_digests(workspace))]
    if changed:
        raise StageInputError(
            f"reports/evaluation.json measured something else: {', '.join(changed)} changed since; {ANEW}"
        )
    adaptation = AdaptationReport.read(workspace.adapted / "adapted.json")
    champion = judge_champion(
        report.comparisons, params.gate.champion, use_of(workspace, report), params.promotion.equivalent
    )
    refused = broken_rule(champion, report.comparisons, params.gate.champion)
    rules = [*judge(report, params.gate, adaptation), *([refused] if refused else [])]
    reasons = [rule.reason for rule in rules if not rule.passed]
    Verdict(
        passed=not reasons,
        rules=rules,
        reasons=reasons,
        digests=judged_digests(workspace, params),
        champion=champion,
    ).write(workspace.verdict)
    write_report_page(workspace, params)
    told = champion.reasons[1 if refused else 0 :] if report.comparisons else []
    lines = [*(rule.reason for rule in rules), *told]
    say("\n".join([f"gate: {'refused' if reasons else 'passed'}", *(f"  {line}" for line in lines)]))


def use_of(workspace: Workspace, report: EvaluationReport) -> int:
    """Which judgement on this test set it is, from 1 on; 1 where no earlier release is pinned.

    Raises:
        StageInputError: the record is missing, or of another model, champion or test set.
    """
    if not report.comparisons:
        return 1
    use = TestUse.read(workspace.test_use) if workspace.test_use.is_file() else TestUse()
    champion = next((each.manifest_sha256 for each in report.comparisons if each.against == "champion"), None)
    if (use.test_set, use.model, use.champion) != (report.test_set, report.digests.adapted, champion):
        raise StageInputError("this use of the test set is not on record (data/test_use.json); run `graft adapt`")
    return use.use


if __name__ == "__main__":
    run_stage("gate", gate)

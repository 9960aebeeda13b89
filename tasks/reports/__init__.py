"""What stages hand on: JSON documents with a schema version."""

from tasks.reports.adaptation import AdaptationReport, StrengthScore
from tasks.reports.champion import ChampionPin, PinnedRelease, TestUse
from tasks.reports.comparison import ChampionVerdict, PairedComparison, PairedCounts
from tasks.reports.document import SCHEMA_VERSION, Record, Report, replacing, write_bytes
from tasks.reports.estimate import Estimate
from tasks.reports.evaluation import (
    BaselineScore,
    CalibrationReport,
    CalibrationScores,
    ClassScore,
    EvaluatedDigests,
    EvaluationReport,
    ReliabilityBin,
)
from tasks.reports.outcome import Outcome
from tasks.reports.review import KINDS, ReviewEntry, ReviewKind, ReviewReport
from tasks.reports.split import Leak, LeftOut, NearDuplicatePair, Side, SplitReport, TightenedChain
from tasks.reports.training import BlockState, EpochScore, ProbeComparison, TrainingReport
from tasks.reports.validation import (
    AppliedCorrection,
    FailingItem,
    OverlayReport,
    RuleResult,
    UsedAlias,
    ValidationReport,
)
from tasks.reports.verdict import JudgedDigests, RuleVerdict, Verdict

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "AdaptationReport",
    "AppliedCorrection",
    "BaselineScore",
    "BlockState",
    "CalibrationReport",
    "CalibrationScores",
    "ChampionPin",
    "ChampionVerdict",
    "ClassScore",
    "EpochScore",
    "Estimate",
    "EvaluatedDigests",
    "EvaluationReport",
    "FailingItem",
    "JudgedDigests",
    "Leak",
    "LeftOut",
    "NearDuplicatePair",
    "Outcome",
    "OverlayReport",
    "PairedComparison",
    "PairedCounts",
    "PinnedRelease",
    "ProbeComparison",
    "Record",
    "ReliabilityBin",
    "Report",
    "ReviewEntry",
    "ReviewKind",
    "ReviewReport",
    "RuleResult",
    "RuleVerdict",
    "Side",
    "SplitReport",
    "StrengthScore",
    "TestUse",
    "TightenedChain",
    "TrainingReport",
    "UsedAlias",
    "ValidationReport",
    "Verdict",
    "replacing",
    "write_bytes",
]

"""params.yaml as frozen models: the only place where a knob is declared."""

from tasks.params.adapt import AdaptParams, MethodParams
from tasks.params.backbone import BackboneParams, PreprocessParams
from tasks.params.champion import ChampionRule
from tasks.params.data import ColumnNames, DataParams, SampleParams
from tasks.params.document import Params, load_params, parse_params
from tasks.params.embed import EmbedParams
from tasks.params.evaluate import EvaluateParams
from tasks.params.flow import FlowParams
from tasks.params.gate import GateParams, Maximum, Minimum, OptionalMinimum
from tasks.params.limits import Limits, LimitsParams, StageLimits
from tasks.params.linear_probe import LinearProbeParams
from tasks.params.release import ExportParams, PromotionParams, PublishParams, QualifyParams
from tasks.params.report import ReportParams
from tasks.params.review import ReviewParams
from tasks.params.serve import CaptureParams, ServeLimits, ServeParams, ShadowParams
from tasks.params.split import NearDuplicateParams, SplitParams
from tasks.params.training import FineTuneParams, FromScratchParams, TrainingParams
from tasks.params.validate import ValidateParams

__all__ = [
    "AdaptParams",
    "BackboneParams",
    "CaptureParams",
    "ChampionRule",
    "ColumnNames",
    "DataParams",
    "EmbedParams",
    "EvaluateParams",
    "ExportParams",
    "FineTuneParams",
    "FlowParams",
    "FromScratchParams",
    "GateParams",
    "Limits",
    "LimitsParams",
    "LinearProbeParams",
    "Maximum",
    "MethodParams",
    "Minimum",
    "NearDuplicateParams",
    "OptionalMinimum",
    "Params",
    "PreprocessParams",
    "PromotionParams",
    "PublishParams",
    "QualifyParams",
    "ReportParams",
    "ReviewParams",
    "SampleParams",
    "ServeLimits",
    "ServeParams",
    "ShadowParams",
    "SplitParams",
    "StageLimits",
    "TrainingParams",
    "ValidateParams",
    "load_params",
    "parse_params",
]

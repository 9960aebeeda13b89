"""What a release is made of; manifest.json inside it."""

from __future__ import annotations

from typing import Any, ClassVar

from tasks.params.release import Precision
from tasks.reports.document import SCHEMA_VERSION, Record, Report
from tasks.reports.estimate import Estimate
from tasks.reports.quantization import Quantization
from tasks.reports.verdict import Verdict


class SourceDigests(Record):
    """sha256 of everything that determined the release."""

    data: str
    code: str
    params: str
    lock: str
    backbone_weights: str
    backbone_graph: str
    adapted: str


class ReleaseMetrics(Record):
    """The released model's own: of an int8 model its own answers', of any other what the gate judged."""

    test_items: int
    accuracy: Estimate
    macro_f1: Estimate


class Manifest(Report):
    """`files`: relative path to sha256, every file of the release but the manifest itself.

    `verdict` is the gate's on the fp32 model; `quantization` says what became of int8 where it was asked for, and how
    an int8 model was judged. Manifests of an earlier Graft say neither precision: their models are fp32.
    """

    produced_by: ClassVar[str] = "export"

    name: str
    graft_version: str
    files: dict[str, str]
    digests: SourceDigests
    metrics: ReleaseMetrics
    verdict: Verdict
    precision: Precision = "fp32"
    quantization: Quantization | None = None

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """With the verdict inside it, which is a document of its own."""
        return {**document, "schema_version": SCHEMA_VERSION, "verdict": Verdict.upgrade(document["verdict"])}

"""What a stage may take of the machine: memory, threads, free disk; for all stages and for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from tasks.params.section import Section


@dataclass(frozen=True)
class Limits:
    """What holds for one stage, after its own overrides; GB are 10^9 bytes."""

    memory_gb: float | None
    threads: int
    free_disk_gb: float


class StageLimits(Section):
    """Overrides for one stage; null takes what `limits` says for all."""

    memory_gb: float | None = Field(None, gt=0, description="The stage is ended when it uses more memory (GB).")
    threads: int | None = Field(None, ge=0, le=1024, description="Threads of the stage; 0 takes every core.")
    free_disk_gb: float | None = Field(None, ge=0, description="Free disk (GB) without which the run does not start.")


class PublishLimits(Section):
    """Overrides for publish, which runs inside the flow; null takes what `limits` says for all."""

    free_disk_gb: float | None = Field(None, ge=0, description="Free disk (GB) that the release store must have.")


class LimitsByStage(Section):
    """One entry per stage; an absent one overrides nothing."""

    validate_: StageLimits = Field(StageLimits(), alias="validate")
    embed: StageLimits = StageLimits()
    split: StageLimits = StageLimits()
    review: StageLimits = StageLimits()
    adapt: StageLimits = StageLimits()
    evaluate: StageLimits = StageLimits()
    gate: StageLimits = StageLimits()
    export: StageLimits = StageLimits()
    qualify: StageLimits = StageLimits()
    publish: PublishLimits = PublishLimits()


class LimitsParams(Section):
    """For every stage, unless `stages.<stage>` says otherwise. No stage reruns for them, and no result depends on them
    but one: a network that is trained on images from 112 pixels on has other last bits for another number of threads,
    unless `adapt.method.threads` gives that number."""

    memory_gb: float | None = Field(
        None, gt=0, description="A stage that uses more memory (GB) is ended; null sets no limit."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of a stage; 0 takes every core.")
    free_disk_gb: float = Field(1.0, ge=0, description="Free disk (GB) without which a run does not start.")
    stages: LimitsByStage = Field(LimitsByStage(), description="Overrides for one stage.")

    def of(self, stage: str) -> Limits:
        """What holds for a stage or for publish.

        >>> LimitsParams(threads=2, stages=LimitsByStage(embed=StageLimits(threads=1))).of("embed").threads
        1
        """
        own = self._own(stage)
        general = {"memory_gb": self.memory_gb, "threads": self.threads, "free_disk_gb": self.free_disk_gb}
        return Limits(**(general | own))

    def key(self, stage: str, name: str) -> str:
        """Where params.yaml sets the limit that holds for a stage.

        >>> LimitsParams(stages=LimitsByStage(embed=StageLimits(threads=1))).key("embed", "threads")
        'limits.stages.embed.threads'
        """
        return f"limits.stages.{stage}.{name}" if name in self._own(stage) else f"limits.{name}"

    def _own(self, stage: str) -> dict[str, Any]:
        section: Section | None = getattr(self.stages, "validate_" if stage == "validate" else stage, None)
        own = section.model_dump() if section else {}
        return {name: value for name, value in own.items() if value is not None}

"""prefect.yaml: which queue each deployment waits in, and what no deployment may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.deployments import POOL, QUEUES

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRIES: list[dict[str, Any]] = YAML(typ="safe").load(REPOSITORY / "prefect.yaml")["deployments"]


def flow_of(entry: dict[str, Any]) -> str:
    return str(entry["entrypoint"]).rpartition(":")[2]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_every_entry_waits_in_a_queue_of_the_pool_and_holds_no_lease(entry: dict[str, Any]) -> None:
    """A deployment's own limit is a lease: a pause for approval revokes it, and Prefect then ends the run."""
    assert entry["work_pool"]["name"] == POOL
    assert entry["work_pool"]["work_queue_name"] in QUEUES
    assert "concurrency_limit" not in entry


def test_promotion_and_rollback_share_no_limit_with_an_adaptation() -> None:
    registry, adaptations, scoring = (
        {entry["work_pool"]["work_queue_name"] for entry in ENTRIES if flow_of(entry) in flows}
        for flows in (("promote_flow", "rollback_flow"), ("deployed_adapt",), ("score_flow",))
    )
    assert registry
    assert adaptations
    assert scoring
    assert not registry & adaptations
    assert not scoring & (registry | adaptations), "hours of scoring keep no adaptation waiting"
    assert {flow_of(entry) for entry in ENTRIES} == {"promote_flow", "rollback_flow", "deployed_adapt", "score_flow"}
    assert [QUEUES[name] for name in registry] == [None]
    assert all(QUEUES[name] for name in adaptations)
    assert next(iter(QUEUES)) in registry, "the first queue is asked first"


def test_every_run_sends_the_heartbeats_that_the_watch_for_dead_runs_waits_for() -> None:
    seen = [entry["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for entry in ENTRIES]
    assert set(seen) == {"30"}

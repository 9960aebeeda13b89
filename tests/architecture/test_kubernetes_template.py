"""The Kubernetes work pool's job template: every variable declared and used, every job it makes one of Kubernetes."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = json.loads((ROOT / "deploy" / "kubernetes" / "work-pool.json").read_text())
JOB_SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("kubernetes_job.schema.json").read_text())
ASKED_BY_THE_WORKER = ("parallelism", "completions")
"""Fields of a Job, not of a pod, which prefect-kubernetes wants to see in the pod all the same (its own validation
refuses a manifest without); Kubernetes drops them there. Beside them the template names both where they belong."""
LEAST: dict[str, Any] = {"image": "registry.example/graft:1", "volume_claim": "graft"}
MOST: dict[str, Any] = {
    **LEAST,
    "name": "nightly",
    "env": {"GRAFT_LOG_FORMAT": "json"},
    "labels": {"team": "vision"},
    "annotations": {"example.com/why": "a schedule, at night"},
    "namespace": "models",
    "service_account_name": "graft",
    "user_id": 2000,
    "volume_path": "/mnt/graft",
    "checkout": "teams/vision",
    "secret_name": "graft-vision",
    "cpu_limit": "4",
    "memory_limit": "16Gi",
    "gpu_limit": 2,
    "node_selector": {"gpu": "yes"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "deadline_seconds": 86400,
    "image_pull_policy": "Always",
}


def configured(values: dict[str, Any]) -> Any:
    """The job configuration of a run, filled in by Prefect's own rules for templates."""
    from prefect.workers.base import BaseJobConfiguration

    class Configuration(BaseJobConfiguration):
        job_manifest: dict[str, Any]
        namespace: str

    made = Configuration.from_template_and_values(copy.deepcopy(TEMPLATE), {"name": "graft", **values}, client=object())
    return asyncio.run(made)


def manifest(values: dict[str, Any]) -> dict[str, Any]:
    """The job as Kubernetes takes it, with the two fields taken out that it does not know there."""
    job: dict[str, Any] = configured(values).job_manifest
    pod = job["spec"]["template"]["spec"]
    assert [pod.pop(name) for name in ASKED_BY_THE_WORKER] == [1, 1]
    return job


def test_prefect_accepts_the_template() -> None:
    from prefect.server.schemas.actions import WorkPoolCreate

    WorkPoolCreate(name="kubernetes", type="kubernetes", base_job_template=TEMPLATE)


def test_every_variable_is_declared_and_used() -> None:
    from prefect.utilities.templating import find_placeholders

    used = {placeholder.name for placeholder in find_placeholders(TEMPLATE["job_configuration"])}
    assert used == set(TEMPLATE["variables"]["properties"])
    assert set(TEMPLATE["variables"]["required"]) < used


def test_the_variables_are_a_schema_whose_defaults_hold() -> None:
    schema = TEMPLATE["variables"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(field["description"] for field in schema["properties"].values())
    for name, field in schema["properties"].items():
        if "default" in field:
            jsonschema.validate(field["default"], {key: value for key, value in field.items() if key != "default"})
            assert not list(jsonschema.Draft202012Validator(field).iter_errors(field["default"])), name


@pytest.mark.parametrize("values", [LEAST, MOST], ids=["least", "most"])
def test_what_it_makes_is_a_kubernetes_job(values: dict[str, Any]) -> None:
    jsonschema.validate(values, TEMPLATE["variables"])
    jsonschema.validate(manifest(values), JOB_SCHEMA)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image": ""}, "does not match"),
        ({"memory_limit": "8 GB"}, "'8 GB' does not match"),
        ({"volume_path": "graft"}, "does not match"),
        ({"namespace": "My_Models"}, "does not match"),
        ({"tolerations": [{"operator": "Sometimes"}]}, "is not one of"),
    ],
    ids=str,
)
def test_the_schema_refuses_what_kubernetes_would(change: dict[str, Any], match: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=match):
        jsonschema.validate(manifest({**LEAST, **change}), JOB_SCHEMA)


def test_fields_in_the_wrong_place_are_refused() -> None:
    with pytest.raises(jsonschema.ValidationError, match=r"were unexpected"):
        jsonschema.validate(configured(LEAST).job_manifest, JOB_SCHEMA)


def test_a_run_is_one_pod_that_kubernetes_never_starts_again() -> None:
    spec = manifest(LEAST)["spec"]
    assert (spec["backoffLimit"], spec["parallelism"], spec["completions"]) == (0, 1, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["ttlSecondsAfterFinished"] > 0
    assert "activeDeadlineSeconds" not in spec


def test_the_pod_is_no_root_and_has_no_rights() -> None:
    pod = manifest(LEAST)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_secrets_come_from_a_kubernetes_secret_and_stand_nowhere_in_the_template() -> None:
    (container,) = manifest(MOST)["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "graft-vision", "optional": True}}]
    names = {variable["name"] for variable in container["env"]}
    assert not [name for name in names if any(word in name for word in ("KEY", "TOKEN", "SECRET", "PASSWORD", "AUTH"))]


def test_what_is_not_set_is_left_out() -> None:
    (container,) = manifest(LEAST)["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}}
    (most,) = manifest(MOST)["spec"]["template"]["spec"]["containers"]
    assert most["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 2}


def test_the_run_works_in_the_checkout_on_the_shared_volume_and_beats_every_half_minute() -> None:
    (container,) = manifest(MOST)["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert container["workingDir"] == "/mnt/graft/teams/vision"
    assert env["GRAFT_CACHE_DIR"] == "/mnt/graft/cache"
    assert env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"/mnt/graft", "/dev/shm"}


@pytest.mark.parametrize("values", [LEAST, MOST], ids=["least", "most"])
def test_the_kubernetes_worker_makes_that_job_of_it(values: dict[str, Any]) -> None:
    """Only where prefect-kubernetes is installed, which no part of Graft needs."""
    worker = pytest.importorskip("prefect_kubernetes.worker")
    from kubernetes_asyncio.client import ApiClient
    from prefect.client.schemas.objects import FlowRun

    made = worker.KubernetesWorkerJobConfiguration.from_template_and_values(
        copy.deepcopy(TEMPLATE), values, client=object()
    )
    job = asyncio.run(made)
    job.prepare_for_flow_run(FlowRun(flow_id=UUID(int=1), name="brave-otter"))
    pod = job.job_manifest["spec"]["template"]["spec"]
    for name in ASKED_BY_THE_WORKER:
        del pod[name]
    jsonschema.validate(job.job_manifest, JOB_SCHEMA)
    env = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert pod["containers"][0]["args"][:2] == ["prefect", "flow-run"]

    limits = pod["containers"][0]["resources"]["limits"]
    limits.update({name: str(quantity) for name, quantity in limits.items()})

    class Answer:
        data = json.dumps(job.job_manifest)

    async def known() -> Any:
        async with ApiClient() as client:
            return client.sanitize_for_serialization(client.deserialize(Answer, "V1Job"))

    assert asyncio.run(known()) == job.job_manifest, "a field that the client of Kubernetes does not know"

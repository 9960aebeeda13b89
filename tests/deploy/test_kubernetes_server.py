"""deploy/kubernetes/server.yaml: objects of Kubernetes that fit each other, the server's settings and its end."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from deployment_files import (
    DEPLOY,
    image_environment,
    longest_end_seconds,
    most_memory_bytes,
    served_settings,
    size_in_bytes,
)
from ruamel.yaml import YAML

from deploy.health import OPEN
from deploy.settings import OTHERS, PREFIX

OBJECTS: list[dict[str, Any]] = list(YAML(typ="safe").load_all((DEPLOY / "kubernetes" / "server.yaml").read_text()))
BY_KIND = {one["kind"]: one for one in OBJECTS}
POD: dict[str, Any] = BY_KIND["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
LABELS = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
VARIABLES = {one["name"]: one["value"] for one in CONTAINER["env"]}


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: one["kind"])
def test_every_object_fits_kubernetes_own_schema(one: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        validator.validate(one, "1.31", strict=True)
        with pytest.raises(validator.ValidationError):
            validator.validate({**one, "spec": {**one["spec"], "unheard": 1}}, "1.31", strict=True)


def test_every_kind_is_there_and_all_mean_the_same_pods() -> None:
    assert set(BY_KIND) == {
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
    }  # fmt: skip
    assert BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"] == LABELS
    assert BY_KIND["Service"]["spec"]["selector"] == LABELS
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    target = BY_KIND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == BY_KIND["Deployment"]["metadata"]["name"]
    assert "replicas" not in BY_KIND["Deployment"]["spec"], "the autoscaler owns it"
    monitor = YAML(typ="safe").load((DEPLOY / "kubernetes" / "monitoring.yaml").read_text())
    assert monitor["spec"]["selector"]["matchLabels"] == LABELS


def test_its_pods_meet_the_restricted_standard() -> None:
    """Source: Pod Security Standards, level restricted."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert POD["automountServiceAccountToken"] is False
    assert {kind for volume in POD["volumes"] for kind in volume if kind != "name"} == {
        "persistentVolumeClaim", "secret", "emptyDir",
    }  # fmt: skip
    assert "hostNetwork" not in POD


def test_its_variables_are_settings_and_no_service_can_add_one() -> None:
    """Kubernetes sets NAME_PORT for a Service `name`: for one that is called graft-serve that is a wrong setting."""
    settings = served_settings(VARIABLES)
    assert POD["enableServiceLinks"] is False
    prefix = BY_KIND["Service"]["metadata"]["name"].upper().replace("-", "_")
    assert not any(f"{prefix}_{end}".startswith(PREFIX) for end in ("PORT", "SERVICE_HOST", "PORT_80_TCP"))
    assert CONTAINER["ports"][0]["containerPort"] == settings.serve.port == int(image_environment()["GRAFT_SERVE_PORT"])
    mounts = {mount["mountPath"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts[str(settings.store)]["readOnly"] is True
    for file in (settings.serve.token_file, settings.serve.verify_key):
        assert file is not None
        assert mounts["/secrets"]["readOnly"] is True
        assert str(file).startswith("/secrets/")
    assert not OTHERS & VARIABLES.keys(), "a token belongs into a file"


def test_captures_have_a_place_that_may_be_written_and_holds_them() -> None:
    capture = served_settings(VARIABLES).serve.capture
    (mount,) = [one for one in CONTAINER["volumeMounts"] if one["mountPath"] == capture.folder]
    (volume,) = [one for one in POD["volumes"] if one["name"] == mount["name"]]
    assert not mount.get("readOnly")
    growing = int(CONTAINER["resources"]["limits"]["cpu"]) * capture.rotate_mb * 1e6
    assert capture.max_gb * 1e9 + growing < size_in_bytes(volume["emptyDir"]["sizeLimit"])


def test_the_probes_ask_what_needs_no_token() -> None:
    asked = {
        probe: CONTAINER[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert set(asked.values()) <= OPEN
    assert asked["readinessProbe"] == "/v2/health/ready"
    assert asked["startupProbe"] == asked["livenessProbe"] == "/v2/health/live"


def test_a_pod_is_out_of_the_service_before_it_refuses_and_has_the_time_to_end() -> None:
    ready = CONTAINER["readinessProbe"]
    unready = served_settings(VARIABLES).serve.unready_seconds
    assert unready > ready["periodSeconds"] * ready["failureThreshold"]
    assert POD["terminationGracePeriodSeconds"] >= longest_end_seconds(VARIABLES)
    assert BY_KIND["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_cores_are_limited_so_that_workers_are_counted() -> None:
    assert CONTAINER["resources"]["limits"].keys() == {"cpu", "memory"}
    assert CONTAINER["resources"]["requests"]["cpu"] == CONTAINER["resources"]["limits"]["cpu"]


def test_what_requests_can_make_it_hold_fits_into_its_memory_with_a_quarter_to_spare() -> None:
    limits = CONTAINER["resources"]["limits"]
    most = most_memory_bytes(VARIABLES, int(limits["cpu"]))
    assert most * 1.25 < size_in_bytes(limits["memory"])


def test_a_server_may_be_asked_by_clients_alone_and_asks_nobody() -> None:
    policy = BY_KIND["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": "http"}]]
    assert all(rule["from"] for rule in policy["ingress"])

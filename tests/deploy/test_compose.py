"""deploy/compose.yaml: no password of its own, nothing open to the network, every part checked and ended in time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deployment_files import DEPLOY, longest_end_seconds, most_memory_bytes, served_settings, size_in_bytes
from ruamel.yaml import YAML
from serving_scene import pins

COMPOSE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
SECRETS = ("POSTGRES_PASSWORD", "PREFECT_AUTH", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GRAFT_TOKEN_FILE")


def document() -> dict[str, Any]:
    return YAML(typ="safe").load(COMPOSE.read_text(encoding="utf-8"))


SERVICES: dict[str, dict[str, Any]] = document()["services"]


def test_every_variable_is_required_or_harmless_and_stands_in_the_example() -> None:
    found = {name: (form, default) for name, form, default in VARIABLE.findall(COMPOSE.read_text(encoding="utf-8"))}
    told = {line.partition("=")[0] for line in (DEPLOY / "compose.env.example").read_text().splitlines()}
    assert set(SECRETS) <= found.keys()
    for name, (form, default) in found.items():
        assert form == ":?" or (form == ":-" and default.isdigit()), name
        assert name in told or name.endswith("PORT"), name
    assert "$" not in VARIABLE.sub("", COMPOSE.read_text(encoding="utf-8"))


def test_the_example_holds_no_secret() -> None:
    lines = dict(
        line.split("=", 1) for line in (DEPLOY / "compose.env.example").read_text().splitlines() if "=" in line[:30]
    )
    assert {name for name in SECRETS if lines.get(name)} == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name != "objects"), "an inline config cannot be written into a read-only container"
    assert service["restart"] == "unless-stopped"
    assert service["user"].partition(":")[0] not in ("0", "root")
    assert "privileged" not in service
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if name not in ("server", "worker"):
        assert service["healthcheck"]["test"][0] == "CMD"
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), "a version, never latest"


def test_what_a_service_names_is_there() -> None:
    whole = document()
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert set(service["networks"]) <= set(whole["networks"])
        assert set(service.get("secrets", [])) <= set(whole.get("secrets", {}))
        assert {one["source"] for one in service.get("configs", [])} <= set(whole.get("configs", {}))
        for volume in service.get("volumes", []):
            if volume["type"] == "volume":
                assert volume["source"] in whole["volumes"]
            elif volume["source"].startswith("./"):
                assert (DEPLOY / volume["source"]).is_dir()
        if "build" in service:
            assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[needed] or "build" in SERVICES[needed]


def test_the_server_takes_what_it_is_told_and_is_given_the_time_to_end() -> None:
    server = SERVICES["server"]
    settings = served_settings(server["environment"])
    assert settings.serve.open_metrics
    assert str(settings.serve.token_file) == "/run/secrets/token"
    assert str(settings.store) in {volume["target"] for volume in server["volumes"] if volume.get("read_only")}
    assert settings.serve.capture.folder in {one["target"] for one in server["volumes"] if not one.get("read_only")}
    assert float(server["stop_grace_period"].removesuffix("s")) >= longest_end_seconds(server["environment"])
    assert server["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert f":{settings.serve.port}" in server["ports"][0]


def test_what_requests_can_make_the_server_hold_fits_into_its_memory_with_a_quarter_to_spare() -> None:
    server = SERVICES["server"]
    limits = server["deploy"]["resources"]["limits"]
    assert most_memory_bytes(server["environment"], int(limits["cpus"])) * 1.25 < size_in_bytes(limits["memory"])


def test_runs_and_their_server_speak_the_same_prefect() -> None:
    locked = pins(DEPLOY.parent / "requirements.lock")["prefect"]
    assert SERVICES["prefect"]["image"] == f"prefecthq/prefect:{'.'.join(locked.split('.')[:2])}-python3.11"


def test_objects_identities_are_json_whatever_the_keys_are() -> None:
    content = VARIABLE.sub("a1-b2", document()["configs"]["objects"]["content"])
    (identity,) = json.loads(content)["identities"]
    assert identity["credentials"] == [{"accessKey": "a1-b2", "secretKey": "a1-b2"}]


def test_compose_itself_reads_it(tmp_path: Path) -> None:
    command = ["docker", "compose"]
    if shutil.which("docker") is None or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    filled = tmp_path / "compose.env"
    filled.write_text("".join(f"{name}=/tmp/some1\n" for name in (*SECRETS, "GRAFT_CHECKOUT", "GRAFT_DATA")))
    done = subprocess.run(
        [*command, "--env-file", str(filled), "--file", str(COMPOSE), "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr

"""Requests that schemathesis makes of /openapi.json: no 5xx, and every reply is as that document says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import RunningServer, errors_in, running_server

pytest.importorskip("schemathesis")

MODEL = "made-up"
COMMAND = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
LEFT_OUT = "positive_data_acceptance"
"""A schema cannot say that bytes are an image, or that the numbers of a tensor are as many as its shape says."""


@pytest.fixture
def server(release_template: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("--release", str(release_template), folder=tmp_path) as running:
        yield running


def document_of(server: RunningServer) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{server.address}/openapi.json", timeout=30) as reply:
        return dict(json.load(reply))


def with_real_names(document: dict[str, Any], version: str) -> dict[str, Any]:
    """The document with names in its paths that are served, else nearly every request would only be not found."""
    names = {"model_name": [MODEL, "other"], "model_version": [version, "999"]}
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["schema"] = {"type": "string", "enum": names[parameter["name"]]}
    return document


def prove(server: RunningServer, folder: Path, examples: int) -> int:
    """Run schemathesis, and return how many requests it made."""
    version = json.loads(urllib.request.urlopen(f"http://{server.address}/v2/models/{MODEL}").read())["versions"][0]
    file = folder / "openapi.json"
    file.write_text(json.dumps(with_real_names(document_of(server), version)), encoding="utf-8")
    options = ["--max-examples", str(examples), "--seed", "1", "--suppress-health-check", "all", "--warnings", "off"]
    options += ["--url", f"http://{server.address}", "--exclude-checks", LEFT_OUT, "--request-timeout", "30"]
    done = subprocess.run([*COMMAND, str(file), *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert errors_in(server.log_text()) == []
    assert server.alive()
    made = re.search(r"(\d+) generated", done.stdout)
    assert made, done.stdout[-2000:]
    return int(made[1])


def answered(server: RunningServer) -> int:
    with urllib.request.urlopen(f"http://{server.address}/v2/models/{MODEL}/stats", timeout=30) as reply:
        return int(json.load(reply)["model_stats"][0]["inference_stats"]["success"]["count"])


def test_every_path_of_the_document_conforms_and_none_fails(server: RunningServer, tmp_path: Path) -> None:
    assert prove(server, tmp_path, examples=5) > 200
    assert answered(server) > 0, "no inference request was answered: the check did not come to the model"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_requests_conform_and_none_fails(server: RunningServer, tmp_path: Path) -> None:
    assert prove(server, tmp_path, examples=500) > 5_000


def test_the_document_tells_of_every_path_and_of_its_faults(server: RunningServer) -> None:
    paths = document_of(server)["paths"]
    version = "/v2/models/{model_name}/versions/{model_version}"
    for path in ("/v2/models/{model_name}", version):
        assert {"200", "401", "404"} == set(paths[path]["get"]["responses"])
        infer = paths[f"{path}/infer"]["post"]
        assert {"200", "400", "401", "404", "411", "413", "415", "422", "503"} == set(infer["responses"])
        assert [one["name"] for one in infer["parameters"]] == re.findall(r"{(\w+)}", path)
    identifiers = [operation["operationId"] for one in paths.values() for operation in one.values()]
    assert len(identifiers) == len(set(identifiers))

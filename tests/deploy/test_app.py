"""The application as a whole: what it describes, how it refuses, and what every reply carries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_scene import app_of, png, settings_of
from asgi_client import FORM, AsgiClient, asking, form
from release_scene import add_release, point

from deploy.app import compose, make_app
from deploy.engine import AnswerFailed, Overloaded, Stopping
from deploy.metrics import Metrics
from deploy.middleware import UNMATCHED
from deploy.model import load_model
from deploy.refusals import route_of
from deploy.settings import Settings
from deploy.worker import Worker
from tasks.params import ServeParams


@pytest.fixture(scope="module")
def client(release_template: Path) -> Iterator[AsgiClient]:
    with asking(app_of(release_template)) as client:
        yield client


class FailingEngine:
    """Raises instead of answering."""

    def __init__(self, release: Path, err: Exception) -> None:
        self.model = load_model(release)
        self._err = err

    async def answer(self, image: bytes, request_id: str = "") -> Any:
        raise self._err


def refused_by(release: Path, err: Exception) -> Any:
    """The reply to a good photo where the engine raises that."""
    worker = Worker(settings_of(release, retry_after_seconds=7), Metrics(), FailingEngine(release, err))  # type: ignore[arg-type]
    with asking(compose(worker)) as client:
        return client.post("/predict", png(), x_request_id="r-1")


@pytest.mark.parametrize(
    ("err", "status", "code"),
    [
        (Overloaded("16 wait"), 503, "overloaded"),
        (Stopping("the server ends"), 503, "stopping"),
        (AnswerFailed("the model could not answer this image"), 500, "model_failed"),
        (RuntimeError("/srv/secret/path broke"), 500, "internal"),
        (PermissionError(13, "denied", "/srv/secret/path"), 500, "internal"),
    ],
)
def test_what_the_engine_raises_has_the_shape_of_every_error_and_tells_no_path(
    release_template: Path, err: Exception, status: int, code: str
) -> None:
    reply = refused_by(release_template, err)

    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.error.keys() == {"code", "message", "request_id"}
    assert reply.error["request_id"] == reply.headers["x-request-id"] == "r-1"
    assert reply.headers.get("retry-after") == ("7" if status == 503 else None)
    assert b"/srv" not in reply.body


def test_what_nobody_foresaw_is_logged_with_its_trace_and_the_requests_id(
    release_template: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused_by(release_template, RuntimeError("broke"))

    record = next(record for record in caplog.records if record.exc_info)
    assert "r-1" in record.getMessage()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("GET", "/predict/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/redoc", 404, "not_found"),
        ("POST", "/predict", 411, "length_required"),
    ],
)
def test_every_refusal_has_the_same_shape(client: AsgiClient, method: str, path: str, status: int, code: str) -> None:
    reply = client.ask(method, path)

    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.error.keys() == {"code", "message", "request_id"}
    assert reply.headers["content-type"] == "application/json"


def test_under_v2_an_error_is_the_protocols_object(client: AsgiClient) -> None:
    for reply in (client.get("/v2/nothing"), client.get("/v2/models/other"), client.ask("DELETE", "/v2")):
        assert reply.status in (404, 405)
        assert reply.json.keys() == {"error"}
        assert isinstance(reply.json["error"], str)


def test_a_405_names_what_is_allowed(client: AsgiClient) -> None:
    reply = client.get("/predict")

    assert reply.headers["allow"] == "POST"
    assert "POST" in reply.error["message"]


def test_every_reply_has_an_id_and_the_headers_that_keep_browsers_careful(client: AsgiClient) -> None:
    for reply in (client.post("/predict", png()), client.get("/nothing"), client.get("/metrics"), client.get("/")):
        assert len(reply.headers["x-request-id"]) == 32
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "server" not in reply.headers


def test_an_unsafe_request_id_is_replaced(client: AsgiClient) -> None:
    reply = client.post("/predict", png(), x_request_id="x\r\nSet-Cookie: a=b")

    assert reply.json["request_id"] == reply.headers["x-request-id"]
    assert reply.headers["x-request-id"].isalnum()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, dict[str, Any]]]:
    return [(one.levelno, one.fields) for one in caplog.records if one.name == "graft.request"]  # type: ignore[attr-defined]


def test_every_request_leaves_one_line(client: AsgiClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    photo = png()
    client.post("/predict", form(("file", "a.png", photo)), FORM, x_request_id="r-2")
    client.post("/predict", b"text")
    client.get("/nothing/\x1b[2J")

    (_, good), (_, bad), (_, lost) = lines(caplog)
    assert (good["request_id"], good["route"], good["status"], good["reason"]) == ("r-2", "/predict", 200, None)
    assert good["bytes_in"] > len(photo)
    assert good["bytes_out"] > 100
    assert good["version"] == client.app.state.worker.engine.model.version
    assert good["ms"] > 0
    assert (bad["status"], bad["reason"], bad["version"]) == (415, "format_not_allowed", None)
    assert (lost["route"], lost["path"]) == ("unmatched", "/nothing/\x1b[2J")


def test_probes_and_scrapes_leave_none_unless_they_are_refused(
    client: AsgiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert client.get(path).status == 200
    client.ask("POST", "/metrics")

    assert [(fields["route"], fields["status"]) for _, fields in lines(caplog)] == [("/metrics", 405)]


def test_a_client_that_breaks_off_is_noted_and_is_no_error(
    client: AsgiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    reply = client.ask("POST", "/predict", [b"half"], {"content-length": "100"}, breaks_off=True)

    assert reply.status == 0
    assert [(level, fields["status"]) for level, fields in lines(caplog)] == [(logging.INFO, 499)]


def test_openapi_tells_both_bodies_and_every_reply_of_predict(client: AsgiClient) -> None:
    document = client.get("/openapi.json").json
    predict = document["paths"]["/predict"]["post"]

    assert predict["requestBody"]["content"].keys() == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert predict["responses"].keys() == {"200", "400", "401", "411", "413", "415", "422", "500", "503"}
    assert predict["responses"]["503"]["headers"].keys() == {"Retry-After"}
    assert {one["name"] for one in predict["parameters"]} == {"top_k", "X-Request-Id"}
    assert "HTTPValidationError" not in json.dumps(document["paths"]["/predict"])


def test_replies_are_as_openapi_says(client: AsgiClient) -> None:
    responses = client.get("/openapi.json").json["paths"]["/predict"]["post"]["responses"]
    good, bad = client.post("/predict", png()), client.post("/predict", b"text")

    for reply in (good, bad):
        schema = responses[str(reply.status)]["content"]["application/json"]["schema"]
        assert reply.json.keys() == schema["properties"].keys() == set(schema["required"])
    error = responses["415"]["content"]["application/json"]["schema"]["properties"]["error"]
    assert bad.error.keys() == error["properties"].keys()


@pytest.mark.parametrize("path", ["/predict", "/v2/models/made-up/infer", "/v2/models/made-up/versions/1/infer"])
def test_what_a_connection_refuses_is_counted_under_the_route_that_would_have_answered(
    client: AsgiClient, path: str
) -> None:
    assert route_of("POST", path) in client.get("/openapi.json").json["paths"]
    assert route_of("POST", f"{path}/more") == route_of("GET", path) == UNMATCHED


def test_a_promotion_reaches_the_application(store: Path) -> None:
    settings = Settings(ServeParams(watch_seconds=0.05), store)
    with asking(make_app(settings)) as client:
        first = client.post("/predict", png()).json
        point(store, add_release(store, seed=5), version=2)
        for _ in range(2000):
            if (later := client.post("/predict", png()).json)["version"] == "2":
                break
        metrics = client.get("/metrics").body.decode()

    assert (first["version"], later["version"]) == ("1", "2")
    assert first["predictions"] != later["predictions"]
    assert 'version="2"} 1.0' in metrics
    assert 'version="1"} 1.0' not in metrics

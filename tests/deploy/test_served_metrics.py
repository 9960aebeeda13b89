"""Counts for Prometheus, of one worker and of several."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_scene import app_of, png
from asgi_client import AsgiClient, asking
from prometheus_client.parser import text_string_to_metric_families

from deploy.metrics import FOLDER, Metrics, forget_worker

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
ROOT = Path(__file__).resolve().parents[2]


def series_of(text: str) -> Series:
    """Every sample by its name and labels; parsed as Prometheus' own parser does, a series twice is an error."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(series: Series, series_name: str, /, **labels: str) -> float:
    return series.get((series_name, tuple(sorted(labels.items()))), float("nan"))


class CountingWorker:
    """A counting_worker.py that is told what to do."""

    def __init__(self, folder: Path, version: str) -> None:
        environment = {**os.environ, FOLDER: str(folder), "PYTHONPATH": str(ROOT)}
        script = [sys.executable, str(Path(__file__).with_name("counting_worker.py")), version]
        self.process = subprocess.Popen(
            script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def do(self, command: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        lines = []
        while (line := self._line()) != "done":
            assert self.process.poll() is None
            lines.append(line)
        return "\n".join(lines)

    def show(self) -> Series:
        return series_of(self.do("show"))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[tuple[CountingWorker, CountingWorker]]:
    workers = CountingWorker(tmp_path, "1"), CountingWorker(tmp_path, "1")
    yield workers
    for worker in workers:
        worker.kill()


def test_any_worker_tells_the_sum_of_all(two_workers: tuple[CountingWorker, CountingWorker]) -> None:
    one, other = two_workers
    one.do("request")
    other.do("request")
    other.do("request")

    for series in (one.show(), other.show()):
        assert value(series, "graft_requests_total", route="/predict", status="200") == 3
        assert value(series, "graft_request_seconds_count", route="/predict") == 3
        assert value(series, "graft_request_seconds_bucket", route="/predict", le="0.025") == 3
        assert value(series, "graft_request_seconds_bucket", route="/predict", le="0.01") == 0
        assert value(series, "graft_batch_images_sum") == 6
        assert value(series, "graft_queue_images") == 6
        assert value(series, "graft_model", name="made-up", version="1", digest="d" * 64) == 2
        pids = {dict(labels)["pid"] for name, labels in series if name == "process_resident_memory_bytes"}
        assert pids == {str(one.process.pid), str(other.process.pid)}


def test_what_a_dead_worker_counted_remains_and_what_it_was_does_not(
    two_workers: tuple[CountingWorker, CountingWorker],
) -> None:
    one, other = two_workers
    one.do("request")
    other.do("request")

    other.kill()
    series = one.show()

    assert value(series, "graft_requests_total", route="/predict", status="200") == 2
    assert value(series, "graft_queue_images") == 3
    assert value(series, "graft_model", name="made-up", version="1", digest="d" * 64) == 1
    assert [dict(labels)["pid"] for name, labels in series if name == "process_open_fds"] == [str(one.process.pid)]


def test_counts_of_many_dead_workers_are_kept_in_one_file(tmp_path: Path) -> None:
    for _ in range(4):
        worker = CountingWorker(tmp_path, "1")
        worker.do("request")
        worker.kill()
    forget_worker(worker.process.pid, tmp_path)
    forget_worker(worker.process.pid, tmp_path)

    last = CountingWorker(tmp_path, "1")
    last.do("request")
    series, files = last.show(), {file.name for file in tmp_path.glob("*.db")}
    last.kill()

    assert value(series, "graft_requests_total", route="/predict", status="200") == 5
    assert value(series, "graft_request_seconds_bucket", route="/predict", le="0.025") == 5
    assert value(series, "graft_request_seconds_bucket", route="/predict", le="0.01") == 0
    assert value(series, "graft_request_seconds_sum", route="/predict") == pytest.approx(0.1)
    own = {f"{kind}_{last.process.pid}.db" for kind in ("counter", "histogram", "gauge_livesum")}
    assert files == own | {"counter_dead.db", "histogram_dead.db"}


def test_while_workers_reload_both_releases_show_and_then_only_the_new_one(
    two_workers: tuple[CountingWorker, CountingWorker],
) -> None:
    one, other = two_workers
    one.do("model 2")
    halfway = {dict(labels)["version"]: found for (name, labels), found in one.show().items() if name == "graft_model"}
    other.do("model 2")
    after = {dict(labels)["version"]: found for (name, labels), found in one.show().items() if name == "graft_model"}

    assert halfway == {"1": 1.0, "2": 1.0}
    assert after == {"2": 2.0}


def test_series_that_can_be_named_are_there_before_their_first_event() -> None:
    series = series_of(Metrics().exposition().decode())

    assert value(series, "graft_rejected_total", reason="overloaded") == 0
    assert value(series, "graft_reloads_total", outcome="refused", pointer="shadow") == 0
    assert value(series, "graft_pointer_refused", pointer="prod") == 0
    assert value(series, "graft_shadow_total", outcome="disagreed") == 0
    assert value(series, "graft_captured_total", outcome="dropped") == 0
    assert value(series, "process_open_fds", pid=str(os.getpid())) > 0


@pytest.fixture(scope="module")
def client(release_template: Path) -> Iterator[AsgiClient]:
    with asking(app_of(release_template)) as client:
        yield client


def scraped(client: AsgiClient) -> Series:
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return series_of(reply.body.decode())


def test_no_client_can_make_a_series(client: AsgiClient) -> None:
    client.get("/nothing")
    client.post("/predict", png())
    before = set(scraped(client))

    for place in range(30):
        client.get(f"/nothing/{place}")
        client.get(f"/v2/models/m{place}")
        client.get(f"/v2/models/m{place}/versions/v{place}")
        client.ask("BREW", f"/pot/{place}")
        client.ask(f"BREW{place}", "/predict")
        client.post(f"/predict?top_k={place + 1}", png(), x_request_id=f"id-{place}")
    new = set(scraped(client)) - before

    assert {dict(labels)["route"] for _, labels in new} <= {
        "/predict",
        "/metrics",
        "/v2/models/{model_name}",
        "/v2/models/{model_name}/versions/{model_version}",
    }
    assert len({labels for _, labels in new if dict(labels).get("route") == "/predict"}) < 20


def test_refusals_do_not_make_the_server_look_fast(client: AsgiClient) -> None:
    before = value(scraped(client), "graft_request_seconds_count", route="/predict")
    client.post("/predict", b"text")
    client.post("/predict", png())
    after = value(scraped(client), "graft_request_seconds_count", route="/predict")

    assert after - before == 1


def test_refusals_are_counted_by_reason(client: AsgiClient) -> None:
    before = scraped(client)
    client.post("/predict", b"text")
    client.post("/predict", png()[:-30])
    client.post("/predict", b"{}", "application/json")
    client.ask("POST", "/predict", headers={"content-length": "99999999999"})
    after = scraped(client)

    for reason in ("format", "undecodable", "body", "too_large"):
        gained = value(after, "graft_rejected_total", reason=reason) - value(
            before, "graft_rejected_total", reason=reason
        )
        assert gained == 1, reason

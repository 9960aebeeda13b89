"""Captures the whole way: through an application that answers."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from app_scene import app_of, png
from asgi_client import asking
from capture_scene import LABELS, Blocked, finished, rows_of, wait_for


def test_a_running_application_captures_what_it_answers(release_template: Path, tmp_path: Path) -> None:
    capture = {"share": 1.0, "content": "inputs", "folder": str(tmp_path)}
    photos = [png(seed=seed) for seed in range(3)]
    with asking(app_of(release_template, capture=capture, abstain_below=0.9)) as client:
        replies = [client.post("/predict", photo, x_request_id=f"r{place}") for place, photo in enumerate(photos)]
        assert client.post("/predict", b"no image").status == 415

    found = rows_of(tmp_path)
    assert [one["request_id"] for one in found] == ["r0", "r1", "r2"]
    for one, photo, reply in zip(found, photos, replies, strict=True):
        best = reply.json["predictions"][0]
        assert one["image"] == photo
        assert one["label"] == best["label"]
        assert one["probability"] == pytest.approx(best["probability"], abs=1e-6)
        assert one["abstained"] == reply.json["abstained"]
        assert (one["model"], one["digest"]) == (reply.json["model"], reply.json["digest"])
        assert len(one["embedding"]) == 8
    labels = pq.read_schema(finished(tmp_path)[0]).metadata[b"graft.labels"].decode()
    assert all(label in labels for label in LABELS)


def test_an_application_answers_though_nothing_can_be_captured(release_template: Path, tmp_path: Path) -> None:
    (tmp_path / "captures").write_text("a file stands in the way")
    capture = {"share": 1.0, "folder": str(tmp_path / "captures")}
    with asking(app_of(release_template, capture=capture)) as client:
        assert [client.post("/predict", png()).status for _ in range(5)] == [200] * 5
        wait_for(lambda: 'graft_captured_total{outcome="failed"}' in client.get("/metrics").body.decode())


def test_an_application_answers_while_the_disk_does_not(
    release_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Blocked(monkeypatch)
    capture = {"share": 1.0, "folder": str(tmp_path), "queue": 4, "rotate_mb": 1e-6}
    with asking(app_of(release_template, capture=capture)) as client:
        assert client.post("/predict", png()).status == 200
        assert disk.entered.wait(30)

        assert [client.post("/predict", png()).status for _ in range(10)] == [200] * 10

        assert 'graft_captured_total{outcome="dropped"} 6.0' in client.get("/metrics").body.decode()
        disk.let_go.set()
    assert len(rows_of(tmp_path)) == 5

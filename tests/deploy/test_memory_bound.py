"""What a server holds while everybody sends all that is allowed, against the sum that its container is sized by."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest
from deployment_files import MODEL_BYTES, MODELS, most_memory_bytes
from PIL import Image
from serving_scene import Server, serving

BODY_MB, UPLOADS_MB = "12", "128"
SETTINGS = {"GRAFT_SERVE_LIMITS__BODY_MB": BODY_MB, "GRAFT_SERVE_LIMITS__UPLOADS_MB": UPLOADS_MB}
BODY_BYTES = 11_900_000


def costly_image() -> bytes:
    """A WebP of 40 million pixels, the format that needs most, as large as a body may be."""
    file = io.BytesIO()
    Image.new("RGBA", (8000, 5000), (200, 100, 50, 128)).save(file, "WEBP", quality=1, method=0)
    return file.getvalue().ljust(BODY_BYTES, b"\0")


def peak_bytes(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@pytest.mark.slow
def test_all_that_is_allowed_at_once_stays_within_the_sum(release: Path, tmp_path: Path) -> None:
    body, statuses = costly_image(), Counter[int]()

    limits = ["--set", f"serve.limits.body_mb={BODY_MB}", "--set", f"serve.limits.uploads_mb={UPLOADS_MB}"]
    with serving(tmp_path, "--release", str(release), *limits) as server:

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
            connection.request("POST", "/predict", body)
            statuses[connection.getresponse().status] += 1
            connection.close()

        stalled = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for one in stalled:
            one.sendall(f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode())
            one.sendall(body[:-1])
        clients = [threading.Thread(target=ask) for _ in range(16)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        peak = peak_bytes(server)
        for one in stalled:
            one.close()

    most = most_memory_bytes(SETTINGS, 1) - (MODELS - 1) * MODEL_BYTES
    assert statuses.total() == 16
    assert statuses[200] > 0
    assert set(statuses) <= {200, 408, 503}
    assert most / 2 < peak < most

"""What a running server answers to files as they are, beside what qualify computes of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from desk import REPOSITORY

from tasks.digests import file_sha256
from tasks.opened_release import FloatMatrix
from tasks.release_run import ReleaseRun


@contextmanager
def serving(log: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """Host and port of a server of this checkout, with two workers; ended by SIGTERM, which it must obey."""
    command = [sys.executable, "-m", "deploy.server", "--port", "0", "--workers", "2", *arguments]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=stderr)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert process.returncode == 0, log.read_text()


def _address(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if found := re.search(r"http://([\d.]+):(\d+)", log.read_text()):
            return found[1], int(found[2])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def served_probabilities(address: tuple[str, int], files: Sequence[Path], labels: Sequence[str]) -> FloatMatrix:
    """(files, labels) answers of POST /predict to the files' own bytes: bodies and forms in turn, one connection."""
    connection, rows = http.client.HTTPConnection(*address, timeout=60), []
    for place, file in enumerate(files):
        reply = ask(connection, file.read_bytes(), as_form=bool(place % 2))
        found = {one["label"]: one["probability"] for one in reply["predictions"]}
        assert len(found) == len(labels)
        rows.append([found[label] for label in labels])
    connection.close()
    return np.asarray(rows, dtype=np.float32)


def ask(connection: http.client.HTTPConnection, data: bytes, as_form: bool) -> dict[str, Any]:
    headers = {}
    if as_form:
        headers["Content-Type"] = "multipart/form-data; boundary=b"
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        data = head + data + b"\r\n--b--\r\n"
    connection.request("POST", "/predict?top_k=1000", data, headers)
    reply = connection.getresponse()
    content = reply.read()
    assert reply.status == 200, content
    return dict(json.loads(content))


def differences(release: Path, address: tuple[str, int], files: Sequence[Path]) -> tuple[int, float]:
    """Top-1 answers that differ between the server and `ReleaseRun.probabilities`, and the largest difference."""
    run = ReleaseRun(release)
    expected = run.probabilities(files, [file_sha256(file) for file in files])
    served = served_probabilities(address, files, run.labels)
    flips = int((expected.argmax(axis=1) != served.argmax(axis=1)).sum())
    return flips, float(np.abs(expected - served).max())

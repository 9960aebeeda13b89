"""A server with serve.verify_key: what is not signed by a trusted key neither starts it nor reaches it later."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from release_scene import add_release, point
from serving_scene import REPOSITORY, Server, bare_environment, serving
from small_release import photo

from flows.signing import new_key, sign_stored, signing_key
from tasks.release import SIGNATURE
from tasks.reports.prod_pointer import ProdPointer

PATIENCE_SECONDS = 30.0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "signing.pem")
    return tmp_path / "signing.pem"


def trusted(key: Path) -> str:
    return f"{key}.pub"


def sign(store: Path, digest: str, key: Path) -> None:
    sign_stored(store, digest, signing_key(key))


def started(store: Path, folder: Path, verify_key: str) -> subprocess.CompletedProcess[str]:
    """A server that is to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.server", "--store", str(store), "--workers", "1", "--port", "0"],
        cwd=folder,
        env=bare_environment(PYTHONPATH=str(REPOSITORY), GRAFT_SERVE_VERIFY_KEY=verify_key),
        capture_output=True,
        text=True,
        timeout=60,
    )


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def refusals(server: Server) -> float:
    """Releases that the server refused after its start."""
    lines = server.ask("/metrics")[1].decode().splitlines()
    found = [float(line.split()[-1]) for line in lines if line.startswith('graft_reloads_total{outcome="refused"')]
    return sum(found)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda store, digest, key: None, "is not signed, and serve.verify_key asks for a signature"),
        (lambda store, digest, key: (store / digest / SIGNATURE).write_text("{}"), "is no signature of OpenSSF"),
        (lambda store, digest, key: key.with_name("signing.pem.pub").write_text("x"), "must hold public keys"),
        (lambda store, digest, key: key.with_name("signing.pem.pub").unlink(), "cannot be read"),
    ],
    ids=["unsigned", "malformed", "no key", "key gone"],
)
def test_a_server_does_not_start_on_what_it_cannot_trust(
    store: Path, tmp_path: Path, key: Path, prepare: Callable[[Path, str, Path], object], words: str
) -> None:
    prepare(store, ProdPointer.read(store / "prod").manifest_sha256, key)
    done = started(store, tmp_path, trusted(key))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reload_asks_for_the_signature_and_takes_over_once_it_is_there(
    store: Path, tmp_path: Path, key: Path
) -> None:
    sign(store, ProdPointer.read(store / "prod").manifest_sha256, key)
    second = add_release(store, seed=1)
    stranger = tmp_path / "stranger.pem"
    new_key(stranger)
    settings = {"GRAFT_SERVE_VERIFY_KEY": trusted(key), "GRAFT_SERVE_WATCH_SECONDS": "0.05"}
    with serving(tmp_path, "--store", str(store), **settings) as server:
        point(store, second, version=2)
        eventually(lambda: refusals(server) == 1)
        assert server.predict(photo())["version"] == "1"
        sign(store, second, stranger)
        eventually(lambda: refusals(server) == 2)
        assert server.predict(photo())["version"] == "1"
        sign(store, second, key)
        eventually(lambda: server.predict(photo())["version"] == "2")
    assert server.code == 0
    assert "is not signed, and serve.verify_key asks for a signature" in server.log
    assert "is not signed by a trusted key" in server.log


def test_a_key_that_is_added_later_is_enough_for_what_was_refused_for_want_of_it(
    store: Path, tmp_path: Path, key: Path
) -> None:
    sign(store, ProdPointer.read(store / "prod").manifest_sha256, key)
    second, later = add_release(store, seed=1), tmp_path / "later.pem"
    new_key(later)
    sign(store, second, later)
    settings = {"GRAFT_SERVE_VERIFY_KEY": trusted(key), "GRAFT_SERVE_WATCH_SECONDS": "0.05"}
    with serving(tmp_path, "--store", str(store), **settings) as server:
        point(store, second, version=2)
        eventually(lambda: refusals(server) == 1)
        with Path(trusted(key)).open("a", encoding="utf-8") as file:
            file.write(Path(trusted(later)).read_text(encoding="utf-8"))
        eventually(lambda: server.predict(photo())["version"] == "2")
    assert server.code == 0

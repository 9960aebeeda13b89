"""A DVC remote over SSH, against a server of the test's own; its password stays where it was put."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing_scene import Machine, make_machine, no_identity

from flows.dvc_commands import run_dvc
from flows.pushing import push_pending
from tasks.reports import write_bytes

pytest.importorskip("dvc_ssh", reason="the ssh extra is not installed")
asyncssh = pytest.importorskip("asyncssh")
PASSWORD = "planted-password-0123"


class OnlyAda(asyncssh.SSHServer):  # type: ignore[misc, name-defined]
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("ada", PASSWORD)


@pytest.fixture
def port() -> Iterator[int]:
    """The port of an SFTP server that lets Ada in."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    ready: list[int] = []
    listening = threading.Event()

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=OnlyAda, sftp_factory=True, allow_scp=False
        )
        ready.append(server.get_port())
        listening.set()
        await stop.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert listening.wait(20)
    yield ready[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Machine:
    """A checkout with one file under DVC and a remote on that server."""
    no_identity(monkeypatch, tmp_path)
    machine = make_machine(tmp_path.resolve() / "checkout")
    config = machine.root / ".dvc" / "config"
    remote = f"['remote \"store\"']\n    url = ssh://ada@127.0.0.1:{port}{tmp_path.resolve()}/store\n"
    config.write_text(config.read_text().replace("[core]\n", "[core]\n    remote = store\n") + remote)
    write_bytes(machine.root / "models" / "weights" / "a.pth", b"weights")
    run_dvc(machine.workspace, "add", "models/weights/a.pth")
    machine.release("one")
    machine.workspace.dvc_lock.write_text("schema: '2.0'\nstages: {}\n")
    return machine


def test_data_reach_a_remote_over_ssh_and_a_wrong_password_is_told_without_it(machine: Machine, tmp_path: Path) -> None:
    local = machine.root / ".dvc" / "config.local"
    local.write_text(f"['remote \"store\"']\n    password = wrong-{PASSWORD}\n")
    ended = machine.publish("20261121T101500-1a2b3c4d")
    assert ended.pushed is False
    assert "data and models of v1 to DVC's store" in str(ended.not_pushed)
    assert PASSWORD not in str(ended.not_pushed)
    local.write_text(f"['remote \"store\"']\n    password = {PASSWORD}\n")
    sent = push_pending(machine.workspace, machine.params)
    said = "git's part (branches, tags, registry), as git has no remote (`git remote add origin URL`)"
    assert (sent.pushed, sent.not_pushed, len(sent.done)) == (None, said, 1)
    (stored,) = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert stored.read_bytes() == b"weights"
    assert push_pending(machine.workspace, machine.params).done == []

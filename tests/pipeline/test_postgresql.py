"""A team's server as docs/server.md says: PostgreSQL, a password on every request, heartbeats, secrets, dead runs."""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from server_desk import ServerDesk, free_port, make_server_desk, marked_processes, waited

REPOSITORY = Path(__file__).resolve().parents[2]
AUTH, PASSWORD, TOKEN = "admin:correct horse", "battery-staple", "planted-token-7f3a9c"
pytestmark = pytest.mark.slow


@dataclass
class Database:
    """A PostgreSQL server in a temporary folder."""

    port: int

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect:{PASSWORD}@127.0.0.1:{self.port}/prefect"


@dataclass
class TeamServer(ServerDesk):
    """A server and a worker that are started by hand, with the settings of docs/server.md."""

    database: Database | None = None
    processes_: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def settings(self, part: str) -> dict[str, str]:
        """The settings that docs/server.md names for a part, with the values of here."""
        assert self.database is not None
        values = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database.url,
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }
        return {name: values[name] for name in documented(part)}

    def run_part(self, part: str, *arguments: str) -> None:
        with (self.desk.home / f"{part}.log").open("ab") as log:
            self.processes_[part] = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                cwd=self.desk.root,
                env=self.desk.environment(
                    PREFECT_WORKER_QUERY_SECONDS="1", **self.settings(part), MARK=str(self.desk.root)
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, part: str) -> str:
        return "\n".join((self.desk.home / f"{part}.log").read_text("utf-8", "replace").splitlines()[-40:])

    def headers(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(AUTH.encode()).decode()}

    def _ask(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        data = None if content is None else json.dumps(content).encode()
        headers = {"content-type": "application/json", **self.headers()}
        request = urllib.request.Request(f"{self.url}/api{path}", data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status), json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as err:
            return err.code, json.loads(err.read() or b"null")

    def processes(self) -> list[psutil.Process]:
        return marked_processes("MARK", str(self.desk.root))


def documented(part: str) -> list[str]:
    """The settings in the block of docs/server.md that is headed by the part's name."""
    text = (REPOSITORY / "docs" / "server.md").read_text("utf-8")
    block = re.search(rf"^    # {part}\n((?:    \S+=.*\n)+)", text, re.MULTILINE)
    assert block is not None, f"docs/server.md has no block of settings for {part}"
    return [line.split("=")[0].strip() for line in block[1].splitlines()]


def postgresql(program: str) -> str | None:
    """A program of PostgreSQL's server; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return shutil.which(program) or (str(found[-1]) if found else None)


def owner() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as its own user."""
    if os.getuid() != 0:
        return {}
    with suppress(KeyError):
        user = pwd.getpwnam("postgres")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    initdb, server, createdb = (postgresql(name) for name in ("initdb", "postgres", "createdb"))
    if not (initdb and server and createdb):
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    as_owner, port = owner(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="graft-postgresql-"))  # not below pytest's, which only its own user may enter
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        for path in (folder, secret):
            if as_owner:
                os.chown(path, as_owner["user"], as_owner["group"])
        data = folder / "data"
        options = ["-U", "prefect", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run([initdb, "-D", data, *options], cwd=folder, check=True, capture_output=True, **as_owner)
        listening = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
        running = subprocess.Popen([server, "-D", data, *listening], cwd=folder, stderr=subprocess.DEVNULL, **as_owner)
        try:
            known = {**os.environ, "PGPASSWORD": PASSWORD}
            ask = [createdb, "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect"]
            waited(lambda: subprocess.run(ask, env=known, capture_output=True).returncode == 0 or None, 60)
            yield Database(port)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def team(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    made = make_server_desk(tmp_path_factory.mktemp("team").resolve())
    team = TeamServer(made.desk, database=database)
    try:
        team.run_part("server", "server", "start", "--host", "127.0.0.1", "--port", str(team.port))
        waited(lambda: reachable(team) or None, 200, lambda: team.log("server"))
        apply(team)
        team.run_part("worker", "worker", "start", "--pool", "graft")
        yield team
    finally:
        for process in team.processes():
            with suppress(psutil.Error):
                process.kill()


def reachable(team: TeamServer) -> bool:
    try:
        return team._ask("GET", "/health", None)[0] == 200
    except OSError:
        return False


def apply(team: TeamServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.deployments"],
        cwd=team.desk.root,
        env=team.desk.environment(**team.settings("worker")),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_nobody_gets_an_answer_without_the_password(team: TeamServer) -> None:
    request = urllib.request.Request(
        f"{team.url}/api/deployments/filter", data=b"{}", headers={"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 401


def test_everything_lies_in_postgresql(team: TeamServer) -> None:
    assert team.ask("GET", "/work_pools/graft")[0] == 200
    assert not list(team.desk.home.rglob("prefect.db"))
    assert team.database is not None
    psql = postgresql("psql")
    assert psql is not None
    asked = [psql, "-h", "127.0.0.1", "-p", str(team.database.port), "-U", "prefect", "-Atc"]
    known = {**os.environ, "PGPASSWORD": PASSWORD}
    done = subprocess.run([*asked, "select name from deployment", "prefect"], env=known, capture_output=True, text=True)
    assert set(done.stdout.split()) >= {"on-demand", "scheduled", "on-event"}


def test_schedules_make_runs_ahead_of_time(team: TeamServer) -> None:
    deployment = team.deployment("deployed-adapt/scheduled")["id"]
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    assert waited(lambda: team.flow_runs(flow_runs=wanted) or None, 120, lambda: team.log("server"))


def test_a_secret_of_the_pool_reaches_the_run_and_stands_nowhere(team: TeamServer) -> None:
    """A Secret block, named in the pool's template as docs/server.md says; the run that gets it is released."""
    plant_secret(team)
    status, run = team.begin("deployed-adapt/on-demand", why="with a secret")
    assert status == 201, run
    seen = waited(lambda: token_of_the_run(team), 120, lambda: team.log("worker"))
    assert seen == TOKEN
    assert team.ended(run["id"])["name"] == "Released", team.log("worker")
    time.sleep(3)
    told = [json.dumps(team.flow_run(run["id"])), json.dumps(team.artifacts(run["id"])), *team.log_lines(run["id"])]
    told += [
        json.dumps(team.deployment("deployed-adapt/on-demand")),
        json.dumps(team.ask("GET", "/work_pools/graft")[1]),
    ]
    assert not [text for text in told if TOKEN in text]
    kept = [file for file in (team.desk.root / ".graft").rglob("*") if file.is_file()]
    kept += [file for file in (team.desk.root / "releases").rglob("*") if file.is_file()]
    assert not [file for file in kept if TOKEN.encode() in file.read_bytes()]
    assert TOKEN not in team.log("worker") + team.log("server")


def plant_secret(team: TeamServer) -> None:
    (kind,) = team.ask("POST", "/block_types/filter", {"block_types": {"slug": {"any_": ["secret"]}}})[1]
    (schema, *_) = team.ask(
        "POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
    )[1]
    block = {"name": "graft-token", "data": {"value": TOKEN}}
    block |= {"block_type_id": kind["id"], "block_schema_id": schema["id"]}
    status, answer = team.ask("POST", "/block_documents/", block)
    assert status == 201, answer
    template = team.ask("GET", "/work_pools/graft")[1]["base_job_template"]
    template["variables"]["properties"]["env"]["default"] = {"A_TOKEN": "{{ prefect.blocks.secret.graft-token }}"}
    status, answer = team.ask("PATCH", "/work_pools/graft", {"base_job_template": template})
    assert status == 204, answer


def token_of_the_run(team: TeamServer) -> str | None:
    for process in team.processes():
        with suppress(psutil.Error):
            if "A_TOKEN" in process.environ() and "tasks." in " ".join(process.cmdline()):
                return process.environ()["A_TOKEN"]
    return None


def test_a_run_whose_worker_and_process_die_together_is_marked_as_crashed(team: TeamServer) -> None:
    """By the automation, from missing heartbeats: nobody else is left to tell."""
    settings = {"data": {"path": "data/sample"}}
    status, run = team.begin("deployed-adapt/on-demand", why="to die", settings=settings)
    assert status == 201

    def beats() -> bool | None:
        wanted = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
            }
        }
        return bool(team.ask("POST", "/events/filter", wanted)[1]["events"]) or None

    waited(beats, 120, lambda: team.log("worker"))
    server = team.processes_["server"].pid
    started = {server, *(child.pid for child in psutil.Process(server).children(recursive=True))}
    for process in [each for each in team.processes() if each.pid not in started]:
        with suppress(psutil.Error):
            process.kill()
    assert team.flow_run(run["id"])["state"]["type"] == "RUNNING"
    state = team.ended(run["id"], 240)
    assert state["type"] == "CRASHED"
    assert "no heartbeat for 120 s" in state["message"]

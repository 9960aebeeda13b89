"""The wheel with its `serve` extra in an empty environment: what comes with it, and that it serves."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from serving_scene import REPOSITORY, bare_environment, pins, serving
from small_release import make_release, photo

from tasks.release import SIGNATURE

pytestmark = pytest.mark.slow
UNREACHABLE = ("No matching distribution found", "ConnectionError", "NewConnectionError", "Temporary failure in name")


@dataclass(frozen=True)
class Bare:
    """An environment that holds the wheel and what its `serve` extra brings."""

    folder: Path
    wheel: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env=bare_environment(**environment),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def distributions(self) -> dict[str, str]:
        """Name to version of all that is installed there."""
        listing = (
            "import json, importlib.metadata as m; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
        )
        return {canonicalize_name(name): version for name, version in json.loads(self.run("-c", listing).stdout)}


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    folder = tmp_path_factory.mktemp("bare").resolve()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    for name in tracked.stdout.split("\0"):
        if name.startswith(("deploy/", "flows/", "tasks/")) or name in ("pyproject.toml", "README.md"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "source" / name)
    built = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("graft-*.whl")
    venv.create(folder / "environment", with_pip=False)
    made = Bare(folder / "environment", wheel)
    lock = str(REPOSITORY / "requirements.lock")
    done = pip("--python", made.python, "install", "--constraint", lock, f"graft[serve] @ {wheel.as_uri()}")
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip(f"no package index to install from: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return made


def test_what_comes_with_the_wheel_is_what_the_lock_names(bare: Bare) -> None:
    found = bare.distributions()
    assert found.pop("graft")
    assert found == pins(REPOSITORY / "deploy" / "requirements.lock")
    assert found.keys().isdisjoint({"torch", "prefect", "dvc", "great-expectations", "triton", "pandas", "pyarrow"})
    checked = pip("--python", bare.python, "check")
    assert checked.returncode == 0, checked.stdout


def test_the_wheel_alone_serves(bare: Bare, tmp_path: Path) -> None:
    release = make_release(tmp_path / "release")
    with serving(tmp_path, "--release", str(release), command=(bare.python, "-m", "deploy.server")) as server:
        answer = server.predict(photo(1))
        assert server.ask("/")[0] == 200
        assert server.ask("/v2")[0] == 200
        assert b"graft_requests" in server.ask("/metrics")[1]
    assert server.code == 0
    with serving(tmp_path, "--release", str(release)) as server:
        assert answer["predictions"] == server.predict(photo(1))["predictions"]


def test_the_command_serves_there_and_says_what_the_pipeline_needs(bare: Bare, tmp_path: Path) -> None:
    release, command = make_release(tmp_path / "release"), str(bare.folder / "bin" / "graft")
    with serving(tmp_path, "--release", str(release), command=(command, "serve")) as server:
        server.predict(photo())
    assert server.code == 0
    done = subprocess.run([command, "adapt"], env=bare_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'graft[pipeline]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_images_own_commands_work_there(bare: Bare, store: Path, tmp_path: Path) -> None:
    """ENTRYPOINT, HEALTHCHECK and ENV of deploy/Dockerfile, with the store where it mounts it."""
    lines = (REPOSITORY / "deploy" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    entry = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).partition(" ")[2])
    check = json.loads(next(line for line in lines if line.startswith("HEALTHCHECK")).partition(" CMD ")[2])
    settings = next(line for line in lines if line.startswith("ENV PATH=")).partition(" ")[2]
    told = {name: value for name, _, value in (word.partition("=") for word in shlex.split(settings))}
    assert (entry[0], check[0]) == ("python", "python")
    assert told["GRAFT_STORE"] == "/releases"
    told |= {"PATH": str(Path(bare.python).parent), "GRAFT_STORE": str(store)}
    told.pop("GRAFT_SERVE_PORT")
    with serving(tmp_path, *entry[1:], command=(bare.python,), **told) as server:
        asked = bare.run(*check[1:], **told, GRAFT_SERVE_PORT=str(server.port))
        assert (asked.returncode, asked.stderr) == (0, "")
        assert server.predict(photo())["version"] == "1"
    asked = bare.run(*check[1:], GRAFT_SERVE_PORT=str(server.port))
    assert asked.returncode == 1
    assert f"no server answers on port {server.port}" in asked.stderr


def test_a_signed_release_is_asked_for_and_served_there(bare: Bare, tmp_path: Path) -> None:
    from flows.signing import new_key, signing_key
    from tasks.signatures import signature_of

    release, key = make_release(tmp_path / "release"), tmp_path / "key.pem"
    public, _ = new_key(key)
    refused = bare.run("-m", "deploy.server", "--release", str(release), GRAFT_SERVE_VERIFY_KEY=str(public))
    assert refused.returncode == 1
    assert "is not signed" in refused.stderr
    assert "Traceback" not in refused.stderr
    (release / SIGNATURE).write_bytes(signature_of(release, signing_key(key)))
    command = (bare.python, "-m", "deploy.server")
    with serving(tmp_path, "--release", str(release), command=command, GRAFT_SERVE_VERIFY_KEY=str(public)) as server:
        server.predict(photo())


def test_the_bill_of_materials_names_exactly_what_is_installed(bare: Bare, tmp_path: Path) -> None:
    file = tmp_path / "sbom.cdx.json"
    done = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "-o", str(file), bare.python],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {canonicalize_name(part["name"]): part["version"] for part in bill["components"]}
    assert named == bare.distributions()
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"] if part["name"] != "graft")
    licensed = [part["name"] for part in bill["components"] if part.get("licenses")]
    assert len(licensed) > len(named) / 2

"""Published, cloned elsewhere, pulled, and nothing to do: the whole way of a version through real remotes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

from flows.registry_refs import version_message
from flows.versions import versions
from tasks.release import manifest_sha256

TOKEN = "planted-token-0123456789"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Team:
    """A desk with data under DVC, and a bare repository that it pushes to."""

    desk: Desk
    remote: Path

    def publish(self, *arguments: str, **environment: str) -> dict[str, Any]:
        code, result, stderr = self.desk.adapt("--publish", "--why", "a test", *arguments, **environment)
        assert code == 0, stderr
        return result

    def clone(self, branch: str, folder: Path) -> Desk:
        """The run branch elsewhere, with nothing but what the remotes gave."""
        git(folder.parent, "clone", "--quiet", "--branch", branch, str(self.remote), str(folder))
        home = folder.with_name(f"{folder.name}-home")
        home.mkdir()
        return Desk(folder, home)


def use_remote(root: Path, url: str, **options: str) -> None:
    """Have DVC push to `url` by default."""
    config = root / ".dvc" / "config"
    settings = {"url": url, **options}
    section = "['remote \"store\"']\n" + "".join(f"    {key} = {value}\n" for key, value in settings.items())
    config.write_text(config.read_text().replace("[core]\n", "[core]\n    remote = store\n") + section)


@pytest.fixture
def team(released: Desk, tmp_path: Path) -> Team:
    """The released desk, its pictures brought under DVC from a folder that is gone afterwards, and all committed."""
    root, source, remote = released.root, tmp_path / "source", tmp_path.resolve() / "remote.git"
    shutil.move(root / "data" / "raw", source)
    added = released.graft("data", "add", str(source))
    assert added.returncode == 0, added.stderr
    shutil.rmtree(source)
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "Start")
    git(root, "branch", "--move", "main")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(root, "remote", "add", "origin", str(remote))
    git(root, "push", "--quiet", "origin", "main")
    return Team(released, remote)


def assert_nothing_to_do(desk: Desk) -> None:
    assert json.loads(desk.dvc("status", "--json")) == {}
    repro = desk.dvc("repro")
    assert "Running stage" not in repro
    assert "Data and pipelines are up to date." in repro


def test_a_version_reproduces_elsewhere_with_nothing_to_do(team: Team, tmp_path: Path) -> None:
    use_remote(team.desk.root, str(tmp_path / "store"))
    before = git(team.desk.root, "status", "--porcelain")

    result = team.publish()

    told = [result[key] for key in ("version", "outcome", "pushed", "not_pushed")]
    assert told == [1, "first", True, None]
    assert git(team.desk.root, "status", "--porcelain") == before
    digest = manifest_sha256(team.desk.workspace.release)
    shutil.move(team.desk.root, tmp_path / "gone")
    elsewhere = team.clone(result["branch"], tmp_path / "another place")
    elsewhere.dvc("pull", "--quiet")
    assert manifest_sha256(elsewhere.workspace.release) == digest
    assert_nothing_to_do(elsewhere)
    got = elsewhere.dvc("artifacts", "get", str(team.remote), "small", "--rev", "v1.0.0", "-o", "got")
    assert manifest_sha256(elsewhere.root / "got") == digest, got


@pytest.mark.slow
def test_publishing_again_changes_nothing_and_push_says_so(team: Team, tmp_path: Path) -> None:
    use_remote(team.desk.root, str(tmp_path / "store"))
    first = team.publish()
    refs = git(team.remote, "for-each-ref")

    again = team.publish()
    pushed = team.desk.graft("push")

    assert (again["version"], again["unchanged"], again["pushed"]) == (1, True, True)
    assert git(team.remote, "rev-parse", first["branch"]) == first["commit"]
    assert git(team.remote, "for-each-ref") == refs
    assert (pushed.returncode, pushed.stdout) == (0, "everything is pushed\n")


@pytest.mark.slow
def test_what_did_not_reach_the_remotes_goes_with_graft_push(team: Team, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_text("a file where the remote's folder should be")
    use_remote(team.desk.root, str(store / "inside"))
    quick = ("--set", "publish.attempts=2", "--set", "publish.retry_seconds=0")

    result = team.publish(*quick)

    assert (result["state"], result["version"], result["pushed"]) == ("released", 1, False)
    assert "data and models of v1 to DVC's store" in result["not_pushed"]
    assert "graft" not in git(team.remote, "for-each-ref"), "a version must not be named where its data are not"
    failed = team.desk.graft("push", "--json")
    assert (failed.returncode, json.loads(failed.stdout)["pushed"]) == (1, False)
    store.unlink()
    pushed = team.desk.graft("push", "--json")
    assert (pushed.returncode, json.loads(pushed.stdout)["pushed"]) == (0, True), pushed.stderr
    elsewhere = team.clone(result["branch"], tmp_path / "elsewhere")
    elsewhere.dvc("pull", "--quiet")
    assert_nothing_to_do(elsewhere)


@pytest.mark.slow
def test_weights_taken_in_by_backbone_add_travel_with_the_version(team: Team, tmp_path: Path) -> None:
    import torch
    from torchvision.models import squeezenet1_0

    torch.manual_seed(3)
    torch.save(squeezenet1_0(weights=None).state_dict(), tmp_path / "ours.pth")
    use_remote(team.desk.root, str(tmp_path / "store"))
    added = team.desk.graft("backbone", "add", str(tmp_path / "ours.pth"))
    assert added.returncode == 0, added.stderr
    (tmp_path / "ours.pth").unlink()

    result = team.publish()

    (record,) = versions(team.desk.root)
    assert not record.in_place
    assert version_message(record).strip() == git(team.remote, "show", "--no-patch", "--format=%B", result["commit"])
    elsewhere = team.clone(result["branch"], tmp_path / "elsewhere")
    elsewhere.dvc("pull", "--quiet")
    assert (elsewhere.root / "models" / "weights" / "ours.pth").is_file()
    assert_nothing_to_do(elsewhere)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server of the test's own, with a bucket `models` that knows no anonymous callers."""
    pytest.importorskip("dvc_s3", reason="the s3 extra is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "AKIAPLANTED", "aws_secret_access_key": TOKEN, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="models")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.slow
def test_versions_travel_through_s3_and_its_secret_is_nowhere(team: Team, bucket: str, tmp_path: Path) -> None:
    use_remote(team.desk.root, "s3://models/graft", endpointurl=bucket)
    secrets = {"AWS_ACCESS_KEY_ID": "AKIAPLANTED", "AWS_SECRET_ACCESS_KEY": TOKEN, "AWS_DEFAULT_REGION": "us-east-1"}

    result = team.publish(**secrets)

    assert (result["version"], result["pushed"]) == (1, True), result["not_pushed"]
    elsewhere = team.clone(result["branch"], tmp_path / "elsewhere")
    subprocess.run(
        [sys.executable, "-m", "dvc", "pull", "--quiet"],
        cwd=elsewhere.root,
        env=elsewhere.environment(**secrets),
        check=True,
    )
    assert_nothing_to_do(elsewhere)
    assert places_of(TOKEN, team.desk.root, team.desk.home, team.remote, elsewhere.root) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["environment", "git url", "dvc url", "config.local"])
def test_a_planted_secret_is_in_no_log_artifact_manifest_parameter_or_git_object(
    team: Team, place: str, tmp_path: Path
) -> None:
    root, environment = team.desk.root, {}
    local = root / ".dvc" / "config.local"
    if place == "environment":
        environment = {"AWS_SECRET_ACCESS_KEY": TOKEN, "GRAFT_WEBHOOK_TOKEN": TOKEN, "PREFECT_API_KEY": TOKEN}
        use_remote(root, str(tmp_path / "store"))
    elif place == "git url":
        git(root, "remote", "set-url", "origin", f"http://ada:{TOKEN}@127.0.0.1:9/x.git")
    elif place == "dvc url":
        local.write_text(f"[core]\n    remote = web\n['remote \"web\"']\n    url = http://ada:{TOKEN}@127.0.0.1:9/x\n")
    else:
        use_remote(root, "http://127.0.0.1:9/x", auth="basic", user="ada")
        local.write_text(f"['remote \"store\"']\n    password = {TOKEN}\n")
    quick = ("--set", "publish.attempts=1", "--set", "publish.retry_seconds=0")

    done = team.desk.graft("adapt", "--publish", "--json", *quick, **environment)

    result = json.loads(done.stdout)
    assert (result["state"], result["version"]) == ("released", 1), done.stderr
    assert result["pushed"] is (place == "environment")
    assert TOKEN not in done.stdout + done.stderr
    own = [local] if place in ("dvc url", "config.local") else [root / ".git" / "config"] if place == "git url" else []
    assert [found for found in places_of(TOKEN, root, team.desk.home, team.remote) if found not in own] == []


def places_of(secret: str, *folders: Path) -> list[Path]:
    """Files below `folders` that hold the secret (logs, results, Prefect's database, manifests, reports), and git
    repositories that hold it in any object."""
    found = []
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            if secret.encode() in file.read_bytes():
                found.append(file)
        if (folder / ".git").exists() or (folder / "objects").exists():
            objects = subprocess.run(
                ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=folder, capture_output=True, check=True
            )
            found += [folder] if secret.encode() in objects.stdout else []
    return found


def test_the_search_for_a_secret_would_find_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text(f"before {TOKEN} after")
    git(tmp_path, "hash-object", "-w", "file")
    assert places_of(TOKEN, tmp_path) == [tmp_path / "file", tmp_path]
    os.unlink(tmp_path / "file")  # noqa: PTH108
    assert places_of(TOKEN, tmp_path) == [tmp_path]

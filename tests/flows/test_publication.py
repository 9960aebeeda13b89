"""A version: a commit beside the user's work, a line in the registry, a tag; the same release never becomes two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_scene import Machine, git, make_machine, no_identity

from flows.publication import check_publishable
from flows.records import StageChange
from flows.registry_refs import complete
from flows.registry_tags import artifact_name, assign, version_tag
from flows.run_branch import KEEPING
from flows.versions import versions
from tasks.errors import WorkspaceError
from tasks.reports import write_bytes

RUN = "20261121T101500-1a2b3c4d"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    no_identity(monkeypatch, tmp_path)
    return make_machine(tmp_path.resolve() / "checkout")


def snapshot(root: Path) -> dict[str, bytes]:
    """Every byte of the checkout, its index, HEAD, branches and settings; not git's objects and not our own refs."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    ours = (".git/objects/", ".git/refs/graft/", ".git/refs/heads/graft/", ".git/refs/tags/", ".git/logs/refs/")
    return {name: data for name, data in files.items() if not name.startswith((*ours, ".graft/"))}


def files_of(machine: Machine, commit: str) -> set[str]:
    return set(machine.git("ls-tree", "-r", "--name-only", commit).splitlines())


def test_a_version_is_a_commit_on_a_run_branch_a_record_and_a_tag(machine: Machine) -> None:
    digest = machine.release("one")
    published = machine.publish(RUN, why="the nightly schedule")
    record = published.version
    assert (record.version, record.manifest_sha256, record.by, record.why) == (1, digest, "Ada", "the nightly schedule")
    assert record.branch == f"graft/run/{RUN}"
    assert machine.git("rev-parse", f"refs/heads/{record.branch}") == record.commit
    assert machine.git("rev-parse", "refs/tags/Small-model-no-1@v1.0.0^{commit}") == record.commit
    assert machine.git("cat-file", "-t", "refs/tags/Small-model-no-1@v1.0.0") == "tag"
    assert machine.git("rev-parse", f"{record.commit}^") == machine.git("rev-parse", "main")
    assert versions(machine.root) == [record]
    assert (published.pushed, published.not_pushed) == (
        None,
        "neither git nor DVC has a remote; the version stays on this machine",
    )


def test_the_commit_tells_version_outcome_accuracy_run_and_reason(machine: Machine) -> None:
    digest = machine.release("one", outcome="better", champion="c" * 64)
    record = machine.publish(RUN, why="labels of ticket 7 are in").version
    message = machine.git("show", "--no-patch", "--format=%an <%ae>%n%B", str(record.commit))
    assert message.splitlines()[:4] == [
        "Ada <ada@example.org>",
        "Publish Small model, no. 1 v1: better, accuracy 0.910",
        "",
        "labels of ticket 7 are in",
    ]
    for line in (f"Run: {RUN}", f"Release: {digest}", "Outcome: better (champion cccccccccccc); promotable"):
        assert line in message.splitlines()


def test_the_users_checkout_index_and_branch_stay_byte_for_byte_as_they_were(machine: Machine) -> None:
    machine.release("one")
    write_bytes(machine.root / "tasks" / "one.py", b"ONE = 2  # being written\n")
    write_bytes(machine.root / "tasks" / "staged.py", b"STAGED = 1\n")
    machine.git("add", "tasks/staged.py")
    write_bytes(machine.root / "tasks" / "staged.py", b"STAGED = 2\n")
    write_bytes(machine.root / "notes.txt", b"mine\n")
    status = machine.git("status", "--porcelain")
    before = snapshot(machine.root)
    machine.publish(RUN)
    assert snapshot(machine.root) == before
    assert machine.git("status", "--porcelain") == status
    assert machine.git("symbolic-ref", "HEAD") == "refs/heads/main"


def test_the_commit_holds_the_code_as_it_lies_there_and_what_the_run_pinned(machine: Machine) -> None:
    machine.release("one")
    write_bytes(machine.root / "tasks" / "one.py", b"ONE = 2  # not committed\n")
    write_bytes(machine.root / "tasks" / "new.py", b"NEW = 1\n")
    write_bytes(machine.root / "tasks" / "gone.py", b"")
    machine.git("add", "tasks/gone.py")
    machine.git("commit", "--quiet", "-m", "Add what will go")
    (machine.root / "tasks" / "gone.py").unlink()
    write_bytes(machine.root / "data" / "private.csv", b"not for others\n")
    write_bytes(machine.root / ".env", b"not for others either\n")
    commit = str(machine.publish(RUN).version.commit)
    assert machine.git("show", f"{commit}:tasks/one.py") == "ONE = 2  # not committed"
    assert files_of(machine, commit) == {
        *(".dvc/.gitignore", ".dvc/config", ".gitignore", "dvc.lock", "dvc.yaml", "params.yaml"),
        *("data/engine.json", "data/splits.lock", "tasks/new.py", "tasks/one.py"),
        *(f"published/{name}.json" for name in ("evaluation", "gate", "manifest", "metrics", "qualification")),
    }
    for name, path in (("gate", machine.workspace.verdict), ("metrics", machine.workspace.metrics)):
        assert machine.git("show", f"{commit}:published/{name}.json") == path.read_text().strip()


def test_a_workspace_below_the_repositorys_root_is_committed_where_it_lies(tmp_path: Path) -> None:
    whole = make_machine(tmp_path / "whole")
    inner = make_machine(whole.root / "vision")
    subprocess.run(["rm", "-rf", str(inner.root / ".git")], check=True)
    inner.git("add", "--all")
    inner.git("commit", "--quiet", "-m", "Add vision")
    inner.release("one")
    commit = str(inner.publish(RUN).version.commit)
    names = set(git(whole.root, "ls-tree", "-r", "--name-only", commit).splitlines())
    assert {"vision/published/gate.json", "vision/dvc.lock", "vision/data/engine.json", "tasks/one.py"} <= names
    assert "published/gate.json" not in names
    assert "artifacts:" in inner.git("show", f"{commit}:vision/dvc.yaml")


def test_publishing_the_same_release_again_is_the_same_version_and_commit(machine: Machine) -> None:
    machine.release("one")
    first = machine.publish(RUN)
    refs = machine.git("for-each-ref")
    assert machine.publish("20261122T101500-ffffffff", why="again") == first
    assert machine.git("for-each-ref") == refs


def test_the_next_release_is_the_next_version_beside_the_first(machine: Machine) -> None:
    machine.release("one")
    one = machine.publish(RUN).version
    machine.release("two", outcome="equivalent", champion=one.manifest_sha256)
    two = machine.publish("20261122T101500-1a2b3c4d").version
    assert [record.version for record in versions(machine.root)] == [1, 2]
    assert (two.outcome, two.champion) == ("equivalent", one.manifest_sha256)
    assert machine.git("tag", "--list").splitlines() == ["Small-model-no-1@v1.0.0", "Small-model-no-1@v2.0.0"]


def test_gto_and_dvc_read_the_registry_from_the_tags(machine: Machine) -> None:
    import dvc.api
    import gto.api

    machine.release("one")
    one = machine.publish(RUN).version
    machine.release("two")
    two = machine.publish("20261122T101500-1a2b3c4d").version
    for number, record in enumerate((one, two, one), start=1):
        change = StageChange(
            number=number,
            stage="prod",
            action="promote" if number < 3 else "rollback",
            version=record.version,
            manifest_sha256=record.manifest_sha256,
            previous=None,
            previous_sha256=None,
            forced=number == 2,
            actor="Ada",
            reason="it is better",
            at=f"2026-11-21T10:0{number}:00Z",
        )
        assert assign(machine.root, change) == f"Small-model-no-1#prod#{number}"
        assert assign(machine.root, change) == f"Small-model-no-1#prod#{number}"
    shown = gto.api.show(str(machine.root), "Small-model-no-1")
    assert [(row["version"], row["commit_hexsha"]) for row in shown] == [("v2.0.0", two.commit), ("v1.0.0", one.commit)]
    events = [(row["event"], row["version"]) for row in gto.api.history(str(machine.root), ascending=True)]
    assert [event for event in events if event[0] == "assignment"] == [
        ("assignment", "v1.0.0"),
        ("assignment", "v2.0.0"),
        ("assignment", "v1.0.0"),
    ]
    for asked, record in (({"stage": "prod"}, one), ({"version": "v2.0.0"}, two)):
        found = dvc.api.artifacts_show("Small-model-no-1", repo=str(machine.root), **asked)
        assert found == {"rev": record.commit, "path": "models/release"}


@pytest.mark.parametrize(
    "name", ["image-classifier", "Cats & dogs v2.1", "ä", "../../x", "x.lock", "-a-", "a@{1}", "#"]
)
def test_any_name_gives_tags_that_git_and_gto_take(machine: Machine, name: str) -> None:
    from gto.constants import assert_name_is_valid
    from gto.tag import parse_name

    assert_name_is_valid(artifact_name(name))
    machine.release("one")
    record = machine.publish(RUN).version.model_copy(update={"name": name})
    assert parse_name(version_tag(record)) == {**parse_name("a@v1.0.0"), "name": artifact_name(name)}
    machine.git("check-ref-format", f"refs/tags/{version_tag(record)}")


def test_an_artifacts_entry_is_added_once_and_beside_others(machine: Machine) -> None:
    from flows.run_branch import with_artifact

    alone = with_artifact(machine.workspace, "small").decode()
    assert alone.endswith("artifacts:\n  small:\n    path: models/release\n    type: model\n")
    machine.workspace.dvc_yaml.write_text(alone)
    assert with_artifact(machine.workspace, "small").decode() == alone
    both = with_artifact(machine.workspace, "other").decode()
    assert "  small:\n    path: models/release" in both
    assert "  other:\n    path: models/release" in both


def test_a_missing_identity_is_found_at_the_start_with_the_mend(machine: Machine) -> None:
    check_publishable(machine.workspace, machine.params)
    machine.git("config", "--unset", "user.email")
    with pytest.raises(WorkspaceError, match=r"does not know who publishes .*; run `git config user.email \"you@exam"):
        check_publishable(machine.workspace, machine.params)
    machine.git("config", "--unset", "user.name")
    with pytest.raises(WorkspaceError, match=r"git config user.name \"Your Name\" && git config user.email"):
        check_publishable(machine.workspace, machine.params)


def test_an_identity_from_the_environment_is_enough(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.git("config", "--unset", "user.email")
    machine.git("config", "--unset", "user.name")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Worker")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "worker@example.org")
    check_publishable(machine.workspace, machine.params)
    machine.release("one")
    commit = str(machine.publish(RUN).version.commit)
    assert machine.git("show", "--no-patch", "--format=%an", commit) == "Worker"


def test_without_a_checkout_or_a_commit_publishing_is_refused_at_the_start(machine: Machine, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (plain / name).write_text((machine.root / name).read_text())
    with pytest.raises(WorkspaceError, match="is no git checkout, and publishing is a commit and a tag"):
        check_publishable(Machine(plain).workspace, machine.params)
    git(plain, "init", "--quiet")
    with pytest.raises(WorkspaceError, match="has no commit yet"):
        check_publishable(Machine(plain).workspace, machine.params)


@pytest.mark.parametrize(
    ("publish", "message"),
    [
        ({"git_remote": "upstrem"}, r"publish.git_remote: git knows no remote 'upstrem'; did you mean 'upstream'\?"),
        ({"dvc_remote": "buket"}, r"publish.dvc_remote: DVC knows no remote 'buket'; did you mean 'bucket'\?"),
        ({"git_remote": "https://ada:planted@host/x.git"}, r"git knows no remote 'https://\*\*\*@host/x.git'"),
        ({"dvc_remote": "https://planted@host/x"}, r"DVC knows no remote 'https://\*\*\*@host/x'"),
    ],
)
def test_a_remote_that_is_not_set_up_is_named_at_the_start(
    tmp_path: Path, publish: dict[str, Any], message: str
) -> None:
    machine = make_machine(tmp_path / "checkout", publish=publish)
    machine.git("remote", "add", "upstream", "nowhere")
    with (machine.root / ".dvc" / "config").open("a") as config:
        config.write("['remote \"bucket\"']\n    url = /nowhere\n")
    with pytest.raises(WorkspaceError, match=message):
        check_publishable(machine.workspace, machine.params)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("secret_access_key", "    url = s3://bucket/x\n    secret_access_key = planted0123456789\n"),
        ("url", "    url = https://ada:planted0123456789@example.org/x\n"),
    ],
)
def test_a_secret_in_dvcs_shared_settings_is_refused_before_it_gets_into_git(
    machine: Machine, option: str, line: str
) -> None:
    config = machine.root / ".dvc" / "config"
    config.write_text(f"{config.read_text()}['remote \"bucket\"']\n{line}")
    with pytest.raises(WorkspaceError) as refused:
        check_publishable(machine.workspace, machine.params)
    assert f"(remote 'bucket': {option}); move it to .dvc/config.local" in str(refused.value)
    assert "planted" not in str(refused.value)


def test_data_read_in_place_are_marked_or_refused(tmp_path: Path) -> None:
    data = {"data": {"path": str(tmp_path / "elsewhere")}}
    (tmp_path / "elsewhere").mkdir()
    allowing = make_machine(tmp_path / "allowing", **data)
    allowing.release("one")
    check_publishable(allowing.workspace, allowing.params)
    record = allowing.publish(RUN).version
    assert record.in_place
    assert "Reproducible elsewhere: no" in allowing.git("show", "--no-patch", "--format=%B", str(record.commit))
    refusing = make_machine(tmp_path / "refusing", **data, publish={"in_place_data": "refuse"})
    refusing.release("one")
    for refuses in (lambda: check_publishable(refusing.workspace, refusing.params), lambda: refusing.publish(RUN)):
        with pytest.raises(WorkspaceError, match=r"data.path is .*elsewhere, outside of the checkout; `graft data"):
            refuses()
    assert versions(refusing.root) == []


def test_data_in_git_are_not_in_place_until_a_file_is_not_tracked(tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "checkout", data={"path": "pictures"})
    write_bytes(machine.root / "pictures" / "ember" / "1.png", b"1")
    machine.git("add", "pictures")
    machine.git("commit", "--quiet", "-m", "Add pictures")
    machine.release("one")
    assert not machine.publish(RUN).version.in_place
    write_bytes(machine.root / "pictures" / "ember" / "2.png", b"2")
    machine.release("two")
    assert machine.publish("20261122T101500-1a2b3c4d").version.in_place


# Interruptions


def killed_at(machine: Machine, command: int, run_id: str = RUN) -> bool:
    """Publish in a process that kills itself before its git command of that number; whether it got that far."""
    child = os.fork()
    if child == 0:
        try:
            _kill_before(command)
            machine.publish(run_id)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_before(command: int) -> None:
    run, count = subprocess.run, iter(range(1_000))

    def counted(arguments: Any, *others: Any, **options: Any) -> Any:
        if arguments[0] == "git" and next(count) == command:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(arguments, *others, **options)

    subprocess.run = counted


def registered(machine: Machine) -> Iterator[str]:
    """All that a version is, but for the objects' names and dates."""
    for record in versions(machine.root):
        yield record.model_dump_json(exclude={"commit", "at"})
        yield machine.git("rev-parse", f"{record.commit}^{{tree}}")
    yield machine.git("for-each-ref", "--format=%(refname)")


@pytest.mark.slow
def test_a_publisher_killed_before_any_of_its_git_commands_is_completed_by_the_next(
    machine: Machine, tmp_path: Path
) -> None:
    machine.release("one")
    whole = make_machine(tmp_path / "whole")
    whole.release("one")
    whole.publish(RUN)
    expected, command = list(registered(whole)), 0
    while True:
        here = Machine(tmp_path / f"killed-{command}")
        subprocess.run(["cp", "-a", str(machine.root), str(here.root)], check=True)
        if not killed_at(here, command):
            break
        here.publish(RUN)
        assert list(registered(here)) == expected, f"killed before git command {command}"
        assert here.git("fsck", "--connectivity-only", "--no-dangling") == ""
        command += 1
    assert command > 20


def test_what_a_killed_publisher_left_is_completed_even_where_another_release_follows(machine: Machine) -> None:
    machine.release("one")
    record = machine.publish(RUN).version
    machine.git("update-ref", f"{KEEPING}{RUN}", str(record.commit))
    machine.git("update-ref", "-d", f"refs/heads/{record.branch}")
    machine.git("tag", "--delete", "Small-model-no-1@v1.0.0")
    machine.release("two")
    machine.publish("20261122T101500-1a2b3c4d")
    assert machine.git("rev-parse", f"refs/heads/{record.branch}") == record.commit
    assert machine.git("rev-parse", "Small-model-no-1@v1.0.0^{commit}") == record.commit
    assert machine.git("for-each-ref", KEEPING) == ""


def test_a_commit_that_was_never_registered_is_let_go_after_a_day(machine: Machine) -> None:
    machine.release("one")
    commit = str(machine.publish(RUN).version.commit)
    tree = machine.git("rev-parse", f"{commit}^{{tree}}")
    old = {**os.environ, "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    command = ["git", "commit-tree", tree, "-m", "never registered"]
    left = subprocess.run(command, cwd=machine.root, env=old, capture_output=True, text=True, check=True).stdout.strip()
    machine.git("update-ref", f"{KEEPING}long-ago", left)
    machine.git("update-ref", f"{KEEPING}just-now", commit)
    assert complete(machine.root) == []
    assert machine.git("for-each-ref", "--format=%(refname)", KEEPING) == f"{KEEPING}just-now"


def test_what_a_person_committed_on_a_run_branch_stays_where_it_is(machine: Machine) -> None:
    machine.release("one")
    record = machine.publish(RUN).version
    branch = f"refs/heads/{record.branch}"
    theirs = machine.git("commit-tree", f"{record.commit}^{{tree}}", "-p", str(record.commit), "-m", "Look closer")
    machine.git("update-ref", branch, theirs)
    complete(machine.root)
    assert machine.git("rev-parse", branch) == theirs
    machine.release("two")
    machine.publish("20261122T101500-1a2b3c4d")
    assert machine.git("rev-parse", branch) == theirs
    machine.git("update-ref", branch, "HEAD")
    complete(machine.root)
    assert machine.git("rev-parse", branch) == machine.git("rev-parse", "HEAD")


def test_a_run_branch_that_was_cleaned_up_does_not_come_back(machine: Machine) -> None:
    machine.release("one")
    record = machine.publish(RUN).version
    machine.git("branch", "--quiet", "-D", str(record.branch))
    machine.publish(RUN)
    assert machine.git("for-each-ref", "refs/heads/graft") == ""
    assert json.loads(machine.git("show", "refs/graft/state:versions.jsonl"))["commit"] == record.commit

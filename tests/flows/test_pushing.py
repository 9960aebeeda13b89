"""To the remotes and back: nothing is lost when they are down, nothing clashes when two machines publish at once."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from publishing_scene import Machine, as_user, clone, git, make_machine, make_remote, no_identity
from test_publication import killed_at

from flows import pushing
from flows.journal import HISTORY, Journal
from flows.pushing import fetch_state, push_pending, push_registry
from flows.records import StageChange, now_text
from flows.registry_refs import complete
from flows.state import REF, StateRef
from flows.state_merge import merge_state, merged_sides
from flows.versions import versions
from tasks.errors import WorkspaceError
from tasks.tables import SPLIT_MEMORY, parse_table, table_bytes

NIGHT, DAY, NOON = "20261121T010000-aaaaaaaa", "20261121T080000-bbbbbbbb", "20261121T120000-cccccccc"


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    no_identity(monkeypatch, tmp_path)
    return make_machine(tmp_path.resolve() / "ada")


@pytest.fixture
def bob(ada: Machine, tmp_path: Path) -> Machine:
    return clone(ada, tmp_path.resolve() / "bob")


@pytest.fixture
def remote(ada: Machine, bob: Machine, tmp_path: Path) -> Path:
    return make_remote(tmp_path.resolve() / "remote.git", ada, bob)


def refs(root: Path) -> dict[str, str]:
    listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return {name: target for name, _, target in (line.partition(" ") for line in listed)}


def published(root: Path) -> list[tuple[int, str]]:
    return [(record.version, record.run_id) for record in versions(root)]


def assert_whole(root: Path, others: Sequence[str] = ()) -> None:
    """The registry of a repository is linear, its numbers have no gap, and every version has its branch and tag.

    Args:
        others: runs of other machines, whose branches need not be there.
    """
    assert git(root, "rev-list", "--min-parents=2", REF) == ""
    records = versions(root)
    assert [record.version for record in records] == list(range(1, len(records) + 1))
    assert len({record.manifest_sha256 for record in records}) == len(records)
    for record in records:
        assert record.run_id in others or git(root, "rev-parse", f"refs/heads/{record.branch}") == record.commit
        assert git(root, "rev-parse", f"refs/tags/Small-model-no-1@v{record.version}.0.0^{{commit}}") == record.commit
        assert f" v{record.version}: " in git(root, "show", "--no-patch", "--format=%s", str(record.commit))
    changes = Journal(root, HISTORY, StageChange).read()
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    assert [change.previous for change in changes] == [None, *(change.version for change in changes)][: len(changes)]


def promote(machine: Machine, version: int, forced: bool = False) -> None:
    """What `graft promote` leaves on the state."""
    record = versions(machine.root)[version - 1]

    def decide(changes: list[StageChange]) -> StageChange:
        before = changes[-1] if changes else None
        return StageChange(
            number=len(changes) + 1,
            stage="prod",
            action="promote",
            version=record.version,
            manifest_sha256=record.manifest_sha256,
            previous=before.version if before else None,
            previous_sha256=before.manifest_sha256 if before else None,
            forced=forced,
            actor=machine.git("config", "user.name"),
            reason="a test",
            at=now_text(),
        )

    Journal(machine.root, HISTORY, StageChange).append(decide, lambda change: f"Promote v{change.version}")


def test_a_version_reaches_the_remote_with_branch_tag_and_registry(ada: Machine, remote: Path) -> None:
    ada.release("one")
    ended = ada.publish(NIGHT)
    assert (ended.pushed, ended.not_pushed) == (True, None)
    assert_whole(remote)
    assert published(remote) == [(1, NIGHT)]
    assert set(refs(remote)) == {
        *("refs/heads/main", f"refs/heads/graft/run/{NIGHT}", "refs/tags/Small-model-no-1@v1.0.0", REF)
    }


def test_pushing_twice_transfers_nothing_the_second_time(
    ada: Machine, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    before, asked = refs(remote), []
    real = pushing.git_remotely

    def watched(root: Path, seconds: float, *arguments: str) -> object:
        asked.extend(arguments)
        return real(root, seconds, *arguments)

    monkeypatch.setattr(pushing, "git_remotely", watched)
    assert push_pending(ada.workspace, ada.params) == pushing.Pushed(True, None, [])
    assert refs(remote) == before
    assert "push" not in asked
    assert "ls-remote" in asked


def test_a_promotion_is_pushed_with_its_tag(ada: Machine, remote: Path) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    promote(ada, 1)
    assert push_pending(ada.workspace, ada.params).pushed
    assert_whole(remote)
    assert git(remote, "rev-parse", "Small-model-no-1#prod#1^{commit}") == versions(remote)[0].commit


def test_the_registry_alone_is_pushed_within_bounds_and_no_version_before_its_data(ada: Machine, remote: Path) -> None:
    assert push_registry(ada.workspace, ada.params) is None
    ada.release("one")
    ada.publish(NIGHT)
    promote(ada, 1)
    ada.git("remote", "set-url", "origin", f"{remote}.away")
    assert "does not appear to be a git repository" in str(push_registry(ada.workspace, ada.params))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ada.git("remote", "set-url", "origin", f"git://127.0.0.1:{silent.getsockname()[1]}/x.git")
        said = push_registry(ada.workspace, ada.params, seconds=0.5)
    assert said == "origin did not give its registry: it did not answer in time"
    ada.git("remote", "set-url", "origin", str(remote))
    assert push_registry(ada.workspace, ada.params) is None
    assert_whole(remote)
    assert git(remote, "rev-parse", "Small-model-no-1#prod#1^{commit}") == versions(remote)[0].commit
    (ada.root / ".dvc" / "config.local").write_text("[core]\n    remote = gone\n")
    ada.release("two")
    assert ada.publish(DAY).pushed is False
    promote(ada, 2)
    assert push_registry(ada.workspace, ada.params) == "the data of v2 are not at DVC's remote yet"
    assert published(remote) == [(1, NIGHT)]


HOOKS = ("pre-push", "pre-commit", "commit-msg", "prepare-commit-msg", "post-commit", "reference-transaction")


@pytest.mark.parametrize("hooks_path", [True, False])
def test_a_persons_settings_for_git_neither_stop_nor_widen_what_is_published(
    ada: Machine, remote: Path, tmp_path: Path, hooks_path: bool
) -> None:
    ada.git("tag", "-a", "-m", "a tag of a person's", "holiday")
    folder = tmp_path / "hooks" if hooks_path else ada.root / ".git" / "hooks"
    folder.mkdir(exist_ok=True)
    for name in HOOKS:
        (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-$(basename $0)\nexit 1\n")
        (folder / name).chmod(0o755)
    settings = {
        **dict.fromkeys(("commit.gpgSign", "tag.gpgSign", "tag.forceSignAnnotated", "push.gpgSign"), "true"),
        "gpg.program": "false",
        "user.signingKey": "nobody",
        "push.default": "matching",
        "push.followTags": "true",
        "push.recurseSubmodules": "check",
        "push.pushOption": "ci.skip",
        **({"core.hooksPath": str(folder)} if hooks_path else {}),
    }
    for key, value in settings.items():
        ada.git("config", key, value)
    ada.release("one")
    ended = ada.publish(NIGHT)
    assert (ended.pushed, ended.not_pushed) == (True, None)
    promote(ada, 1)
    assert push_registry(ada.workspace, ada.params) is None
    assert_whole(remote)
    assert [name for name in refs(remote) if "tags" in name] == [
        *("refs/tags/Small-model-no-1#prod#1", "refs/tags/Small-model-no-1@v1.0.0")
    ]
    assert list(tmp_path.glob("ran-*")) == []


def test_a_promotion_that_two_machines_tagged_each_for_itself_is_pushed_all_the_same(
    ada: Machine, bob: Machine, remote: Path
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    fetch_state(bob.workspace, bob.params)
    promote(ada, 1)
    push_pending(ada.workspace, ada.params)
    git(bob.root, "fetch", "--quiet", "--no-tags", "origin", f"+{REF}:{REF}")
    complete(bob.root)
    assert refs(bob.root)["refs/tags/Small-model-no-1#prod#1"] != refs(remote)["refs/tags/Small-model-no-1#prod#1"]
    bob.release("two")
    assert bob.publish(DAY).pushed
    assert_whole(remote)


def test_a_branch_with_a_persons_commit_stays_where_its_version_gets_another_number(
    ada: Machine, bob: Machine, remote: Path
) -> None:
    for machine, run in ((ada, NIGHT), (bob, DAY)):
        machine.git("remote", "set-url", "origin", f"{remote}.away")
        machine.release(run)
        machine.publish(run)
    bob.release(NOON)
    bob.publish(NOON)
    former = [str(record.commit) for record in versions(bob.root)]
    theirs = bob.git("commit-tree", f"{former[0]}^{{tree}}", "-p", former[0], "-m", "Look closer")
    bob.git("update-ref", f"refs/heads/graft/run/{DAY}", theirs)
    for machine in (ada, bob):
        machine.git("remote", "set-url", "origin", str(remote))
        assert push_pending(machine.workspace, machine.params).pushed
    assert published(bob.root) == [(1, NIGHT), (2, DAY), (3, NOON)]
    assert bob.git("rev-parse", f"graft/run/{DAY}") == theirs
    assert bob.git("rev-parse", f"graft/run/{NOON}") == versions(bob.root)[2].commit != former[1]
    assert_whole(remote)


def nameless(machine: Machine) -> None:
    machine.git("config", "--unset", "user.name")
    machine.git("config", "--unset", "user.email")
    machine.git("config", "user.useConfigOnly", "true")


def test_without_an_identity_what_others_published_is_taken_over_tagged_and_pushed_all_the_same(
    ada: Machine, bob: Machine, remote: Path
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    assert fetch_state(bob.workspace, bob.params) is None
    promote(bob, 1)
    nameless(bob)
    assert push_registry(bob.workspace, bob.params) is None
    assert "graft <graft@localhost>" in git(remote, "cat-file", "tag", "Small-model-no-1#prod#1")
    bob.git("remote", "set-url", "origin", f"{remote}.away")
    as_user(bob.root, "Bob")
    bob.release("two")
    bob.publish(DAY)
    ada.release("three")
    ada.publish(NOON)
    nameless(bob)
    bob.git("remote", "set-url", "origin", str(remote))
    assert push_pending(bob.workspace, bob.params).pushed
    assert published(remote) == [(1, NIGHT), (2, NOON), (3, DAY)]
    assert_whole(remote)


def test_a_tag_that_cannot_be_made_keeps_no_registry_from_anybody(
    ada: Machine, bob: Machine, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    promote(ada, 1)
    ada.git("tag", "Small-model-no-1#prod#1/mine")
    assert push_registry(ada.workspace, ada.params) is None
    assert Journal(remote, HISTORY, StageChange).read()[0].version == 1
    assert "branches and tags of versions could not be brought into step" in capsys.readouterr().err


def test_a_tag_of_somebody_elses_making_is_named(ada: Machine, remote: Path) -> None:
    ada.git("push", "--quiet", "origin", "main:refs/tags/Small-model-no-1@v1.0.0")
    ada.release("one")
    ended = ada.publish(NIGHT)
    assert ended.pushed is False
    assert "origin has a tag Small-model-no-1@v1.0.0 on another commit" in str(ended.not_pushed)


def test_a_new_remote_gets_every_version_and_branches_cleaned_up_at_the_old_one_stay_away(
    ada: Machine, remote: Path, tmp_path: Path
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    git(remote, "update-ref", "-d", f"refs/heads/graft/run/{NIGHT}")
    assert push_pending(ada.workspace, ada.params).done == []
    assert f"refs/heads/graft/run/{NIGHT}" not in refs(remote)
    other = tmp_path / "other.git"
    git(tmp_path, "init", "--quiet", "--bare", str(other))
    ada.git("remote", "set-url", "origin", str(other))
    assert push_pending(ada.workspace, ada.params).pushed
    assert_whole(other)


@pytest.mark.parametrize("fault", ["gone", "closed", "silent"])
def test_a_remote_that_is_down_costs_bounded_tries_and_the_next_run_pushes_both(
    ada: Machine, remote: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pushing, "PUSH_SECONDS", 1.0)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if fault == "silent":
            door.listen()
        away = {"gone": f"{remote}.gone"}.get(fault, f"git://127.0.0.1:{door.getsockname()[1]}/x.git")
        ada.git("remote", "set-url", "origin", away)
        ada.release("one")
        ended = ada.publish(NIGHT)
    assert ended.pushed is False
    said = {"gone": "does not appear to be a git repository", "closed": "refused", "silent": "did not answer in time"}
    assert said[fault] in str(ended.not_pushed)
    assert "origin" in str(ended.not_pushed)
    assert capsys.readouterr().err.count("trying again in 0 s") == 1
    assert published(ada.root) == [(1, NIGHT)]
    assert [name for name in refs(remote) if "graft" in name] == []
    ada.git("remote", "set-url", "origin", str(remote))
    ada.release("two")
    assert ada.publish(DAY).pushed
    assert published(remote) == [(1, NIGHT), (2, DAY)]
    assert_whole(remote)


def test_two_machines_that_published_apart_end_with_distinct_versions_and_one_line(
    ada: Machine, bob: Machine, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for machine in (ada, bob):
        machine.git("remote", "set-url", "origin", f"{remote}.away")
    ada.release("one")
    ada.publish(NIGHT)
    for model, run in (("two", DAY), ("three", NOON)):
        bob.release(model)
        assert bob.publish(run).pushed is False
    promote(ada, 1)
    promote(bob, 1, forced=True)
    promote(bob, 2)
    for machine in (ada, bob):
        machine.git("remote", "set-url", "origin", str(remote))
        assert push_pending(machine.workspace, machine.params).pushed
    assert published(remote) == [(1, NIGHT), (2, DAY), (3, NOON)]
    assert_whole(remote)
    assert_whole(bob.root, others=[NIGHT])
    changes = Journal(remote, HISTORY, StageChange).read()
    assert [(one.version, one.actor) for one in changes] == [(1, "Ada"), (2, "Bob"), (3, "Bob")]
    assert "v1 of this machine is v2 now: another machine had published v1" in capsys.readouterr().err
    assert fetch_state(ada.workspace, ada.params) is None
    assert published(ada.root) == [(1, NIGHT), (2, DAY), (3, NOON)]
    assert refs(ada.root)[REF] == refs(remote)[REF]
    assert {name for name in refs(ada.root) if "tags" in name} == {name for name in refs(remote) if "tags" in name}
    before = refs(remote)
    for machine in (ada, bob):
        assert push_pending(machine.workspace, machine.params).done == []
    assert refs(remote) == before


def test_a_release_that_both_machines_made_is_one_version(ada: Machine, bob: Machine, remote: Path) -> None:
    bob.git("remote", "set-url", "origin", f"{remote}.away")
    for machine, run in ((ada, NIGHT), (bob, DAY)):
        machine.release("the same")
        machine.publish(run)
    bob.release("another")
    bob.publish(NOON)
    bob.git("remote", "set-url", "origin", str(remote))
    assert push_pending(bob.workspace, bob.params).pushed
    assert published(remote) == [(1, NIGHT), (2, NOON)]
    assert_whole(remote)
    bob.release("the same")
    assert bob.publish(DAY).version.run_id == NIGHT


def test_a_run_is_told_of_what_other_machines_published_before_it_starts(
    ada: Machine, bob: Machine, remote: Path
) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    assert fetch_state(bob.workspace, bob.params) is None
    assert published(bob.root) == [(1, NIGHT)]
    assert "refs/tags/Small-model-no-1@v1.0.0" in refs(bob.root)
    assert f"refs/heads/graft/run/{NIGHT}" not in refs(bob.root)
    bob.release("two")
    assert bob.publish(DAY).version.version == 2
    assert_whole(remote)


def test_fetching_the_state_never_waits_long_nor_fails_a_run(ada: Machine, remote: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ada.git("remote", "set-url", "origin", f"git://127.0.0.1:{silent.getsockname()[1]}/x.git")
        said = fetch_state(ada.workspace, ada.params, seconds=0.5)
    assert said == (
        "what other machines published is not known: origin did not give its registry (it did not answer in time)"
    )
    ada.git("remote", "remove", "origin")
    assert fetch_state(ada.workspace, ada.params) is None


def test_a_fetch_from_a_remote_without_a_registry_changes_nothing(ada: Machine, remote: Path) -> None:
    before = refs(ada.root)
    assert fetch_state(ada.workspace, ada.params) is None
    assert refs(ada.root) == before


def publish_many(root: Path, models: list[str]) -> None:
    machine = Machine(root)
    for model in models:
        machine.release(model)
        ended = machine.publish(f"run-{model}")
        assert ended.pushed, ended.not_pushed


def test_machines_that_publish_at_once_all_arrive_and_none_twice(ada: Machine, bob: Machine, remote: Path) -> None:
    models = {ada: [f"a{number}" for number in range(4)], bob: [f"b{number}" for number in range(4)]}
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=publish_many, args=(machine.root, some)) for machine, some in models.items()]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    runs = [f"run-{model}" for some in models.values() for model in some]
    assert sorted(run for _, run in published(remote)) == sorted(runs)
    assert_whole(remote)


def test_what_the_remote_refuses_is_told_and_nothing_of_it_arrives(ada: Machine, remote: Path) -> None:
    hook = remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/tags/*) echo "tags are for releases" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    ada.release("one")
    ended = ada.publish(NIGHT)
    assert ended.pushed is False
    assert "refs/tags/Small-model-no-1@v1.0.0 [remote rejected] (hook declined)" in str(ended.not_pushed)
    assert [name for name in refs(remote) if "graft" in name or "tags" in name] == []


def test_a_rewritten_journal_is_refused_and_named(ada: Machine, bob: Machine, remote: Path) -> None:
    ada.release("one")
    ada.publish(NIGHT)
    fetch_state(bob.workspace, bob.params)
    bob.git("remote", "set-url", "origin", f"{remote}.away")
    bob.release("two")
    bob.publish(DAY)
    state = StateRef(ada.root)
    state.write({"versions.jsonl": b""}, "Forget everything", state.head())
    git(bob.root, "fetch", "--quiet", str(ada.root), REF)
    with pytest.raises(WorkspaceError, match=r"versions.jsonl on refs/graft/state was rewritten, here or at the rem"):
        merge_state(bob.root, git(bob.root, "rev-parse", "FETCH_HEAD"))


def test_of_two_split_memories_the_remotes_side_holds_and_nothing_is_lost() -> None:
    def memory(**sides: str) -> bytes:
        rows = [{"sha256": name, "label": "x", "label_index": 0, "side": side} for name, side in sorted(sides.items())]
        return table_bytes(pa.Table.from_pylist(rows, schema=SPLIT_MEMORY))

    merged = merged_sides(memory(a="train", b="test"), memory(b="train", c="test"), "splits/x.parquet")
    found = parse_table(merged, SPLIT_MEMORY, "merged")
    assert dict(zip(found["sha256"].to_pylist(), found["side"].to_pylist(), strict=True)) == {
        "a": "train",
        "b": "test",
        "c": "test",
    }
    assert merged_sides(memory(a="train"), memory(a="test"), "splits/x.parquet") == memory(a="train")


@pytest.mark.slow
def test_a_publisher_killed_before_any_command_of_its_push_is_completed_by_the_next(
    ada: Machine, bob: Machine, remote: Path, tmp_path: Path
) -> None:
    ada.release("one")
    bob.release("two")
    ada.publish(NIGHT)
    command = 0
    while True:
        scene = tmp_path / f"killed-{command}"
        scene.mkdir()
        shutil.copytree(remote, scene / "remote.git", symlinks=True)
        shutil.copytree(bob.root, scene / "bob", symlinks=True)
        here = Machine(scene / "bob")
        here.git("remote", "set-url", "origin", str(scene / "remote.git"))
        if not killed_at(here, command, DAY):
            break
        assert here.publish(DAY).pushed
        assert published(scene / "remote.git") == [(1, NIGHT), (2, DAY)], f"killed before git command {command}"
        assert_whole(scene / "remote.git")
        assert here.git("for-each-ref", "refs/graft/publishing") == ""
        shutil.rmtree(scene)
        command += 3
    assert command > 40


@pytest.fixture
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers every request with 401 and keeps what it was sent."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    heard: list[bytes] = []

    class Unfriendly(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(str(self.headers).encode())
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Unfriendly)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", heard
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_no_program_of_a_desktop_is_asked_for_a_password(
    ada: Machine, listening: tuple[str, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = tmp_path / "window"
    window.write_text(f"#!/bin/sh\ntouch {tmp_path}/shown\necho word\n")
    window.chmod(0o755)
    ada.git("remote", "add", "origin", f"http://{listening[0]}/x.git")
    ada.git("config", "core.askPass", str(window))
    monkeypatch.setenv("SSH_ASKPASS", str(window))
    ada.release("one")
    assert "Authentication failed" in str(ada.publish(NIGHT).not_pushed)
    assert not (tmp_path / "shown").exists()
    monkeypatch.setenv("GIT_ASKPASS", str(window))
    assert push_pending(ada.workspace, ada.params).pushed is False
    assert (tmp_path / "shown").exists()


def test_a_token_in_a_remotes_url_is_in_no_message_nor_git_object(
    ada: Machine, listening: tuple[str, list[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    import base64

    token, (address, heard) = "ghp_planted0123456789", listening
    ada.git("remote", "add", "origin", f"http://ada:{token}@{address}/x.git")
    ada.release("one")
    ended = ada.publish(NIGHT)
    assert ended.pushed is False
    assert base64.b64encode(f"ada:{token}".encode()) in b"".join(heard)
    printed = capsys.readouterr()
    assert token not in printed.err + printed.out + str(ended)
    for line in ada.git("cat-file", "--batch-check", "--batch-all-objects").splitlines():
        name, kind, _ = line.split()
        assert token not in ada.git("cat-file", kind, name) if kind != "tree" else True
    assert json.loads(ada.git("show", f"{REF}:versions.jsonl"))["version"] == 1

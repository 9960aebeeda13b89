"""What other programs say is shown without the secrets that they repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.bounded_commands import git_remotely, run_bounded
from flows.redaction import holds_secret, redacted, secrets_of


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fatal: https://ada:pl@nted@host/x.git refuses", "fatal: https://***@host/x.git refuses"),
        ("ssh://git@host:22/x and s3://bucket/x", "ssh://***@host:22/x and s3://bucket/x"),
        ("nothing@all to://hide", "nothing@all to://hide"),
        ("key abc/DEF+ghi= was denied", "key *** was denied"),
        ("the value 1 stays", "the value 1 stays"),
    ],
)
def test_users_of_urls_and_values_of_secret_variables_are_hidden(
    said: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/DEF+ghi=")
    monkeypatch.setenv("SOME_TOKEN", "1")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "nothing")
    assert redacted(said) == shown


def test_a_secret_that_begins_as_a_path_is_hidden_and_a_key_files_path_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key.pem"
    file.write_text("x")
    monkeypatch.setenv("PRIVATE_KEY", str(file))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/slash/begins/it")
    assert redacted(f"{file} and /slash/begins/it") == f"{file} and ***"


def test_secret_options_of_dvcs_settings_are_found_at_any_depth() -> None:
    settings = {"core": {"remote": "store"}, "remote": {"store": {"url": "http://host", "password": "planted0"}}}
    assert secrets_of(settings) == ["planted0"]
    assert redacted("401 for planted0", secrets_of(settings)) == "401 for ***"


@pytest.mark.parametrize(
    ("url", "secret"),
    [("https://token@host/x", True), ("https://host/x@y", False), ("ssh://git@host/x", False), ("/a/path@2", False)],
)
def test_a_url_with_a_password_or_token_is_told_from_one_with_a_user(url: str, secret: bool) -> None:
    assert holds_secret(url) is secret


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    import psutil

    script = f"echo begun; sleep 600 & echo $! > {tmp_path / 'child'}; wait"
    ended = run_bounded(["sh", "-c", script], tmp_path, 1.0, {"PATH": "/usr/bin:/bin"})
    assert (ended.code, ended.output, ended.why) == (None, "begun\n", "it did not answer in time")
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_git_asks_nobody_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nenv > {tmp_path}/environment\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    assert not git_remotely(tmp_path, 20, "ls-remote", "ssh://host/x").ok
    assert (tmp_path / "asked").read_text().startswith("-o BatchMode=yes -o ConnectTimeout=10 ")
    environment = (tmp_path / "environment").read_text().splitlines()
    assert {"GIT_TERMINAL_PROMPT=0", "SSH_ASKPASS_REQUIRE=never"} <= set(environment)

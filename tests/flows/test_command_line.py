"""What the command line says of itself and of a slip."""

from __future__ import annotations

import sys

import pytest

from flows import cli


def graft(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the console script."""
    monkeypatch.setattr(sys, "argv", ["somewhere/cli.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_data_alone_shows_its_help_as_graft_alone_does(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert graft(monkeypatch, "data") == 0
    shown = capfd.readouterr()
    assert "Usage: graft data" in shown.out + shown.err
    assert "graft: " not in shown.err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [("data add", "graft data add"), ("adapt --dta x", "graft adapt"), ("nothing", "graft"), ("data no", "graft data")],
)
def test_a_slip_names_the_help_of_its_own_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: str, command: str
) -> None:
    assert graft(monkeypatch, *arguments.split()) == 1
    assert f"({command} --help shows what there is)" in capfd.readouterr().err


def test_a_reason_for_no_version_is_refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert graft(monkeypatch, "adapt", "--why", "curious") == 1
    assert "--why is kept with the version that --publish registers; add --publish" in capfd.readouterr().err

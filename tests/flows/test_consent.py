"""What is removed for good is agreed to first: by a person at a terminal, or by --yes."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from flows.consent import ask
from tasks.errors import UserError


def asked(yes: bool = False, is_terminal: bool = True, read: Callable[[str], str] = input) -> bool:
    return ask("summary", "for good?", yes, is_terminal, read)


def test_a_terminal_is_asked_and_a_script_must_agree(capsys: pytest.CaptureFixture[str]) -> None:
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return " Y "

    assert asked(read=answer)
    assert questions == ["for good? [y/N] "]
    assert asked(yes=True, is_terminal=False)
    assert not asked(read=lambda _: "")
    with pytest.raises(UserError, match="add --yes"):
        asked(is_terminal=False)
    assert capsys.readouterr().out == "summary\n" * 4


def test_the_end_of_input_at_the_question_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert not asked()

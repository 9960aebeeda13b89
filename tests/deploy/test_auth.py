"""The bearer token: who passes, and how it is renewed."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_scene import app_of, png
from asgi_client import asking

from deploy.auth import TOKEN, TokenGuard
from deploy.faults import Fault
from tasks.errors import ParamsError


def passes(guard: TokenGuard, sent: bytes | None) -> bool:
    try:
        guard.check(sent)
    except Fault:
        return False
    return True


def test_a_refusal_tells_the_scheme_and_whether_the_token_was_wrong() -> None:
    guard = TokenGuard(token="secret")

    for sent, more in ((None, ""), (b"Bearer other", ', error="invalid_token"')):
        with pytest.raises(Fault) as caught:
            guard.check(sent)
        assert (caught.value.status, caught.value.reason) == (401, "auth")
        assert caught.value.headers == {"WWW-Authenticate": f'Bearer realm="graft"{more}'}


def test_without_a_token_everybody_passes() -> None:
    assert passes(TokenGuard(), None)
    assert TokenGuard.of(None, {}).open


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"Bearer secret", True),
        (b"bearer  secret ", True),
        (b"Bearer secre", False),
        (b"Bearer secret2", False),
        (b"Bearer", False),
        (b"Bearer ", False),
        (b"Basic secret", False),
        (b"secret", False),
        (b"Bearer \xff\xfe", False),
        (b"", False),
        (None, False),
    ],
)
def test_only_the_whole_token_passes(sent: bytes | None, passed: bool) -> None:
    assert passes(TokenGuard.of(None, {TOKEN: "secret"}), sent) is passed


def test_a_changed_file_counts_at_once_and_may_hold_the_old_token_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    guard = TokenGuard(file)
    assert passes(guard, b"Bearer old")

    replace(file, "old\nnewer\n")
    assert passes(guard, b"Bearer old")
    assert passes(guard, b"Bearer newer")

    replace(file, "newer\n")
    assert not passes(guard, b"Bearer old")


def test_nobody_passes_while_the_file_is_gone_or_empty(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    guard = TokenGuard(file)

    file.unlink()
    assert not passes(guard, b"Bearer secret")
    replace(file, "\n")
    assert not passes(guard, b"Bearer ")
    replace(file, "secret")
    assert passes(guard, b"Bearer secret")


def test_a_server_does_not_start_with_a_token_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")

    with pytest.raises(ParamsError, match="token_file"):
        TokenGuard(tmp_path / "nowhere")
    with pytest.raises(ParamsError, match="token_file"):
        TokenGuard(tmp_path / "empty")
    with pytest.raises(ParamsError, match=TOKEN):
        TokenGuard.of(None, {TOKEN: " "})


@pytest.mark.parametrize("text", ["my long pass phrase\n", "secret\n# renewed by Ann\n", "sécret\n"])
def test_a_line_that_is_no_token_ends_the_start_and_lets_nobody_pass_later(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"token_file .*: a token is letters, figures"):
        TokenGuard(file)
    replace(file, "secret\n")
    guard = TokenGuard(file)
    replace(file, text)
    assert not any(passes(guard, f"Bearer {word}".encode()) for word in (*text.split(), text.strip()))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret\n")
    return tmp_path / "token"


def test_every_route_but_health_asks_for_the_token(release_template: Path, token_file: Path) -> None:
    with asking(app_of(release_template, token_file=str(token_file))) as client:
        assert client.post("/predict", png()).status == 401
        assert client.get("/metrics").status == 401
        assert client.get("/openapi.json").status == 401
        assert client.get("/nothing/here").status == 401
        assert client.get("/v2/health/live").status != 401
        assert client.get("/v2/health/ready").status != 401

        allowed = client.post("/predict", png(), authorization="Bearer secret")

    assert allowed.status == 200


def test_metrics_may_be_opened(release_template: Path, token_file: Path) -> None:
    with asking(app_of(release_template, token_file=str(token_file), open_metrics=True)) as client:
        refused, metrics = client.post("/predict", png()), client.get("/metrics")

    assert refused.status == 401
    assert b'graft_rejected_total{reason="auth"} 1.0' in metrics.body


def replace(file: Path, text: str) -> None:
    """As a secret store does: a new file in the old one's place."""
    beside = file.with_name("next")
    beside.write_text(text)
    beside.replace(file)

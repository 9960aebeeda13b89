"""Who may ask: a bearer token (RFC 6750) that guards every path but those that say only that the server lives."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from deploy.faults import Fault
from tasks.errors import ParamsError

TOKEN = "GRAFT_SERVE_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What RFC 6750 lets a client send."""
_Stamp = tuple[int, int, int]
_logger = logging.getLogger(__name__)


class TokenGuard:
    """Compares in constant time; reads the file again when it changes, so that a token is renewed without a restart.

    The file holds one token a line: while clients change over, the old and the new one pass. A file that vanishes or
    becomes empty, or whose lines are no tokens, lets nobody pass.
    """

    def __init__(self, file: Path | None = None, token: str | None = None) -> None:
        """Tokens of a file, or one; with neither every request passes.

        Raises:
            ParamsError: the file cannot be read, or there is no token in it or in the variable.
        """
        self._file = file
        self._stamp: _Stamp | None = None
        self._digests: list[bytes] = []
        self.open = file is None and token is None
        if file is not None:
            try:
                self._stamp, self._digests = _stamp_of(file), _digests_of(file)
            except OSError as err:
                raise ParamsError(
                    f"serve.token_file {file} cannot be read ({err.strerror}); write a token a line"
                ) from err
            except ValueError as err:
                raise ParamsError(f"serve.token_file {file}: {err}") from err
        elif token is not None:
            try:
                self._digests = [_digest(token.strip())]
            except ValueError as err:
                raise ParamsError(f"{TOKEN}: {err}; or unset it") from err

    @classmethod
    def of(cls, file: Path | None, environment: Mapping[str, str]) -> TokenGuard:
        """The guard of a server: its file, else GRAFT_SERVE_TOKEN, else none."""
        return cls(file) if file is not None else cls(token=environment.get(TOKEN))

    def check(self, authorization: bytes | None) -> None:
        """Pass a request that sends a right token.

        Raises:
            Fault: 401 there is none, or a wrong one.
        """
        if self.open:
            return
        if self._file is not None:
            self._reread()
        scheme, _, sent = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not sent.strip():
            raise _unauthorized("send a token: Authorization: Bearer TOKEN", 'Bearer realm="graft"')
        digest = hashlib.sha256(sent.strip()).digest()
        if sum(hmac.compare_digest(digest, one) for one in self._digests) == 0:
            raise _unauthorized("this token is not accepted", 'Bearer realm="graft", error="invalid_token"')

    def _reread(self) -> None:
        assert self._file is not None
        try:
            stamp = _stamp_of(self._file)
            if stamp != self._stamp:
                self._digests = _digests_of(self._file)
                self._stamp = stamp
        except (OSError, ValueError) as err:
            if self._digests:
                _logger.error("token file cannot be read, nobody passes: %s", err)
            self._stamp, self._digests = None, []


def _stamp_of(file: Path) -> _Stamp:
    found = file.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _digests_of(file: Path) -> list[bytes]:
    """Of every token of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, holds no token, or a line that is none.
    """
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    tokens = [line.strip() for line in lines if line.strip()]
    if not tokens:
        raise ValueError("it holds no token; write one a line (`openssl rand -hex 24` makes one)")
    return [_digest(token) for token in tokens]


def _digest(token: str) -> bytes:
    """sha256 of a token.

    Raises:
        ValueError: a client could not send it.
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "a token is letters, figures and - . _ ~ + / =, without blanks (`openssl rand -hex 24` makes one)"
        )
    return hashlib.sha256(token.encode()).digest()


def _unauthorized(message: str, challenge: str) -> Fault:
    return Fault(401, "unauthorized", message, "auth", {"WWW-Authenticate": challenge})

"""Who may ask: a bearer token (RFC 6750) that guards every path but those that say only that the server lives."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from pathlib import Path

from deploy.faults import Fault
from tasks.errors import ParamsError

TOKEN = "GRAFT_SERVE_TOKEN"
_Stamp = tuple[int, int, int]
_logger = logging.getLogger(__name__)


class TokenGuard:
    """Compares in constant time; reads the file again when it changes, so that a token is renewed without a restart.

    The file holds one token a line: while clients change over, the old and the new one pass. A file that vanishes or
    becomes empty lets nobody pass.
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
            self._reread()
            if not self._digests:
                raise ParamsError(f"serve.token_file {file} holds no token or cannot be read: write one a line")
        elif token is not None:
            if not token.strip():
                raise ParamsError(f"{TOKEN} is empty: give it a token, or unset it")
            self._digests = [_digest(token.strip())]

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
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp == self._stamp:
                return
            lines = self._file.read_text(encoding="utf-8").split()
        except (OSError, ValueError) as err:
            if self._digests:
                _logger.error("token file cannot be read, nobody passes: %s", err)
            self._stamp, self._digests = None, []
            return
        self._stamp, self._digests = stamp, [_digest(line) for line in lines]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _unauthorized(message: str, challenge: str) -> Fault:
    return Fault(401, "unauthorized", message, "auth", {"WWW-Authenticate": challenge})

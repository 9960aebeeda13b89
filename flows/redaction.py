"""Takes secrets out of what other programs say, before it reaches a log, a result or a person."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HIDDEN = "***"
SHORTEST = 6
"""A shorter value (`1`, `true`) is no secret, and hiding it would spoil the text."""

_USER_INFO = re.compile(r"(?<=://)[^/\s'\"<>]+@")
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|CONNECTION_STRING|KEY|AUTH(?!OR)|COOKIE", re.IGNORECASE
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the user part of URLs, without `secrets`, and without what the environment holds as a secret.

    >>> redacted("fatal: https://ada:t0psecret@git.example.org/x.git refuses")
    'fatal: https://***@git.example.org/x.git refuses'
    """
    # The longest first: one secret may hold another.
    for secret in sorted({*secrets, *_of_environment(os.environ)}, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _USER_INFO.sub(f"{HIDDEN}@", text)


def holds_secret(url: str) -> bool:
    """Whether a URL carries a password or token: `user:word@`, or `word@` of http.

    >>> holds_secret("https://t0psecret@host/x"), holds_secret("ssh://git@host/x"), holds_secret("s3://bucket/x")
    (True, False, False)
    """
    found = re.match(r"([a-z0-9+.-]+)://([^/\s]+)@", url, re.IGNORECASE)
    return bool(found) and (":" in found[2] or found[1].lower().startswith("http")) if found else False


SECRET_OPTIONS = frozenset(
    {
        *("password", "passphrase", "token", "session_token", "sas_token", "secret_access_key", "account_key"),
        *("client_secret", "connection_string", "gdrive_client_secret", "oss_key_secret"),
    }
)
"""Options of DVC's remotes that are secret beyond doubt."""


def secret_options(remote: Mapping[str, Any]) -> list[str]:
    """Which settings of a DVC remote are secrets.

    >>> secret_options({"url": "s3://bucket", "secret_access_key": "x", "ask_password": True})
    ['secret_access_key']
    """
    named = [name for name in remote if name in SECRET_OPTIONS]
    return named + (["url"] if holds_secret(str(remote.get("url", ""))) else [])


def secrets_of(settings: Mapping[str, Any]) -> list[str]:
    """Values of secret options anywhere in DVC's settings, such as a remote's password in .dvc/config.local."""
    return list(_secret_values(settings))


def _secret_values(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _secret_values(value)
        elif isinstance(value, str) and _is_secret(str(name), value):
            yield value


def _of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _is_secret(name, value):
            yield value


def _is_secret(name: str, value: str) -> bool:
    """By its name; the path of a key file is none."""
    return bool(_SECRET_NAME.search(name)) and not Path(value).exists()

"""The key that releases are signed with, and the signing of what lies in the store."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from flows.store import releases_of, store_lock, stored_release
from tasks.errors import ReleaseError, UserError
from tasks.params import Params
from tasks.release import QUALIFICATION, SIGNATURE, manifest_sha256, verify_release
from tasks.reports.document import write_bytes
from tasks.signatures import key_hint, signature_of
from tasks.workspace import Workspace, expanded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CURVES = ("secp256r1", "secp384r1", "secp521r1")
WHERE = "see publish.signing_key in params.yaml"


def new_key(file: Path) -> tuple[Path, str]:
    """Write a new private key that its owner alone can read, and its public key beside it.

    Returns:
        the public key's file, FILE.pub, and the hint by which signatures name it.
    Raises:
        UserError: one of the files is there, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key, public = ec.generate_private_key(ec.SECP256R1()), file.with_name(f"{file.name}.pub")
    try:
        _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
        _write_new(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    except FileExistsError as err:
        raise UserError(f"{err.filename} is there already, and a key is never overwritten; name another file") from err
    except OSError as err:
        raise UserError(f"the key cannot be written: {err}") from err
    return public, key_hint(key.public_key())


def _write_new(file: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
        os.fsync(opened.fileno())


def signing_key(file: Path) -> EllipticCurvePrivateKey:
    """Read a private key, if nobody else can.

    Raises:
        UserError: it is missing, others may read it, or it is no private key that signs releases.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with file.open("rb") as opened:
            _check_private(file, os.fstat(opened.fileno()))
            data = opened.read()
        key = load_pem_private_key(data, None)
    except OSError as err:
        raise UserError(f"signing key {file} cannot be read ({err.strerror}); {WHERE}") from err
    except TypeError as err:
        raise UserError(
            f"signing key {file} is encrypted, and nobody is there to type its passphrase; `openssl pkey -in {file} "
            f"-out NEW` writes it without one; {WHERE}"
        ) from err
    except (ValueError, UnsupportedAlgorithm):
        # The library's own text is left out: it may quote what it read.
        raise UserError(f"{file} is no private key in PEM; `graft key new FILE` makes one; {WHERE}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise UserError(f"signing key {file} must be on the curve P-256, P-384 or P-521; {WHERE}")
    return key


def _check_private(file: Path, found: os.stat_result) -> None:
    """As ssh does: a file of one's own is for nobody else; another's (a mounted secret) may be for one's group."""
    allowed = 0o700 if found.st_uid == os.geteuid() else 0o740
    if stat.S_IMODE(found.st_mode) & ~allowed & 0o077:
        raise UserError(f"others may read or change the signing key {file}; chmod 600 {file}")


def configured_key(workspace: Workspace, params: Params) -> EllipticCurvePrivateKey | None:
    """The key of publish.signing_key; None: releases are not signed.

    Raises:
        UserError: as `signing_key`.
    """
    named = params.publish.signing_key
    return None if named is None else signing_key(workspace.home / expanded(named))


def configured_trust(workspace: Workspace, params: Params) -> Path | None:
    """The file of serve.verify_key, which promotion asks for as servers do; None: no signature is asked for."""
    named = params.serve.verify_key
    return None if named is None else workspace.home / expanded(named)


def sign_stored(store: Path, digest: str, key: EllipticCurvePrivateKey) -> Path:
    """Sign a release of the store as it lies there, in place of a signature that it may have.

    Returns:
        the signature's file.
    Raises:
        ReleaseError: it is not there, or damaged.
    """
    folder = stored_release(store, digest)
    if not folder.is_dir():
        raise ReleaseError(
            f"release {digest[:12]} is not in the store {store}; it holds {len(releases_of(store))} others"
        )
    with store_lock(store):
        verify_release(folder, beside=(QUALIFICATION,))
        if manifest_sha256(folder) != digest:
            raise ReleaseError(f"{folder} holds another release than its name says")
        write_bytes(folder / SIGNATURE, signature_of(folder, key))
    return folder / SIGNATURE

"""Signatures of releases in the format of OpenSSF Model Signing v1.0, made and checked with elliptic curve keys.

The file `model.sig` of a release is a Sigstore bundle: a DSSE envelope around an in-toto statement that names the
sha256 of every other file. `model_signing verify key` checks ours, and this module checks what `model_signing sign key`
wrote; of its packages a server needs `cryptography` alone (docs/decisions/0039).
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tasks.digests import bytes_sha256, file_sha256
from tasks.errors import ReleaseError
from tasks.release import SIGNATURE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
LARGEST_BYTES = 1_000_000
"""Of a signature: it holds some 100 bytes a file, and is read before anything of it is trusted."""
PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class _Part(BaseModel):
    """What further members a bundle holds (certificates, log entries) says nothing here, and is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class _OneSignature(_Part):
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: str
    signatures: list[_OneSignature] = Field(min_length=1, max_length=1)


class _Bundle(_Part):
    dsse_envelope: _Envelope


class _Resource(_Part):
    name: str
    algorithm: str
    digest: str


class _Predicate(_Part):
    resources: list[_Resource]


class _Statement(_Part):
    type: str = Field(alias="_type")
    predicate_type: str
    predicate: _Predicate


def signature_of(folder: Path, key: EllipticCurvePrivateKey) -> bytes:
    """The content of `model.sig` for the files that lie in a release's folder now."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    payload = json.dumps(_statement(folder), sort_keys=True, separators=(",", ":")).encode()
    signature = key.sign(_pre_authentication(payload), ECDSA(_hash_of(key.public_key())))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_hint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=2).encode() + b"\n"


def verify_signature(folder: Path, public_key: Path) -> dict[str, str]:
    """Check that a release's folder holds exactly the files that were signed, by one of the keys that are trusted.

    Args:
        public_key: PEM file of one or several public keys; several let an old key and its successor stand together.
    Returns:
        what was signed: sha256 by name.
    Raises:
        ReleaseError: it is unsigned, signed by another key, altered since, or the key or signature cannot be read.
    """
    keys = public_keys(public_key)
    payload, signature = _envelope(folder)
    if not any(_is_signed(payload, signature, key) for key in keys):
        raise ReleaseError(
            f"release {folder} is not signed by a trusted key: {SIGNATURE} was made with another key than "
            f"{public_key} holds, or altered; sign the release again, or add the key that signed it"
        )
    signed, present = _signed_files(payload, folder), _files(folder)
    faults = [f"{name} is missing" for name in sorted(signed.keys() - present.keys())]
    faults += [f"{name} was not signed" for name in sorted(present.keys() - signed.keys())]
    faults += [
        f"{name} was altered" for name in sorted(signed.keys() & present.keys()) if signed[name] != present[name]
    ]
    if faults:
        raise ReleaseError(f"release {folder} is not what was signed: {'; '.join(faults)}")
    return signed


def public_keys(file: Path) -> list[EllipticCurvePublicKey]:
    """The trusted keys of a PEM file.

    Raises:
        ReleaseError: it cannot be read, or holds something else.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as err:
        raise ReleaseError("signatures are checked with the package `cryptography`; pip install graft[serve]") from err
    try:
        blocks = [match.group() for match in PEM.finditer(file.read_bytes())]
        keys = [load_pem_public_key(block) for block in blocks]
    except OSError as err:
        raise ReleaseError(f"public key {file} cannot be read ({err.strerror}); see serve.verify_key") from err
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ReleaseError(f"{file} holds something else than PEM public keys; see serve.verify_key") from err
    curves = [key for key in keys if isinstance(key, EllipticCurvePublicKey) and _hash_name(key)]
    if not keys or len(curves) != len(keys):
        raise ReleaseError(f"{file} must hold public keys on the curve P-256, P-384 or P-521; see serve.verify_key")
    return curves


def key_hint(key: EllipticCurvePublicKey) -> str:
    """How a bundle names the key that verifies it: sha256 of its PEM text."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes_sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _statement(folder: Path) -> dict[str, Any]:
    files = _files(folder)
    whole = hashlib.sha256(b"".join(bytes.fromhex(files[name]) for name in sorted(files))).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": folder.name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": files[name]} for name in sorted(files)],
        },
    }


def _files(folder: Path) -> dict[str, str]:
    """Relative path to sha256 of all that lies there but the signature.

    Raises:
        ReleaseError: something there is no plain file.
    """
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name == SIGNATURE or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise ReleaseError(f"release {folder}: {name} is no plain file")
        found[name] = file_sha256(path)
    return found


def _envelope(folder: Path) -> tuple[bytes, bytes]:
    """Payload and signature of the bundle, neither of them checked yet."""
    file = folder / SIGNATURE
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise ValueError("too large")
        envelope = _Bundle.model_validate_json(file.read_bytes()).dsse_envelope
        if envelope.payload_type != PAYLOAD_TYPE:
            raise ValueError("another payload type")
        return b64decode(envelope.payload, validate=True), b64decode(envelope.signatures[0].sig, validate=True)
    except FileNotFoundError as err:
        raise ReleaseError(
            f"release {folder} is not signed, and serve.verify_key asks for a signature; `graft sign VERSION` signs it"
        ) from err
    except (OSError, ValueError) as err:
        raise ReleaseError(f"{file} is no signature of OpenSSF Model Signing v1.0; sign the release again") from err


def _signed_files(payload: bytes, folder: Path) -> dict[str, str]:
    """What a statement whose signature holds says of each file."""
    try:
        statement = _Statement.model_validate_json(payload)
    except ValidationError as err:
        raise ReleaseError(f"{folder / SIGNATURE} signs something else than a model") from err
    resources = statement.predicate.resources
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ReleaseError(f"{folder / SIGNATURE} signs something else than a model ({statement.predicate_type})")
    named = {resource.name: resource.digest for resource in resources}
    if len(named) != len(resources) or any(resource.algorithm != "sha256" for resource in resources):
        raise ReleaseError(f"{folder / SIGNATURE} names files twice, or by another digest than sha256")
    return named


def _is_signed(payload: bytes, signature: bytes, key: EllipticCurvePublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    try:
        key.verify(signature, _pre_authentication(payload), ECDSA(_hash_of(key)))
    except InvalidSignature:
        return False
    return True


def _pre_authentication(payload: bytes) -> bytes:
    """What is signed. Source: DSSE v1.0, PAE(type, body)."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _hash_name(key: EllipticCurvePublicKey) -> str | None:
    return {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}.get(key.curve.name)


def _hash_of(key: EllipticCurvePublicKey) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    found: HashAlgorithm = getattr(hashes, _hash_name(key) or "")()
    return found

"""Signed releases: what is trusted, what is refused, and that OpenSSF Model Signing reads the same format."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from small_release import answer_nan, flip_a_bit, make_release

from tasks.errors import ReleaseError
from tasks.release import SIGNATURE
from tasks.signatures import signature_of, verify_signature


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_pem(*keys: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return b"".join(key.public_key().public_bytes(serialization.Encoding.PEM, form) for key in keys)


def private_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "release")


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return new_key()


@pytest.fixture
def trusted(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    file = tmp_path / "trusted.pem"
    file.write_bytes(public_pem(key))
    return file


@pytest.fixture
def signed(release: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    (release / SIGNATURE).write_bytes(signature_of(release, key))
    return release


def changed_statement(signed: Path, key: ec.EllipticCurvePrivateKey, change: Callable[[dict[str, Any]], None]) -> None:
    """Sign another statement with the trusted key."""
    from cryptography.hazmat.primitives import hashes

    bundle = json.loads((signed / SIGNATURE).read_text())
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    kind = envelope["payloadType"]
    body = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    envelope["payload"], envelope["signatures"][0]["sig"] = b64encode(payload).decode(), b64encode(signature).decode()
    (signed / SIGNATURE).write_text(json.dumps(bundle))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_signed_release_is_trusted_and_another_key_is_not(tmp_path: Path, release: Path, curve: Any) -> None:
    key, other, file = new_key(curve), new_key(curve), tmp_path / "keys.pem"
    (release / SIGNATURE).write_bytes(signature_of(release, key))
    file.write_bytes(public_pem(key))
    verify_signature(release, file)
    file.write_bytes(public_pem(other))
    with pytest.raises(ReleaseError, match="not signed by a trusted key"):
        verify_signature(release, file)
    file.write_bytes(b"the next key\n" + public_pem(other) + b"\nthe present one\n" + public_pem(key))
    verify_signature(release, file)


def test_an_unsigned_release_is_refused_with_the_mend(release: Path, trusted: Path) -> None:
    with pytest.raises(ReleaseError, match=r"is not signed, and serve\.verify_key asks .* `graft sign VERSION`"):
        verify_signature(release, trusted)


def test_a_file_that_is_altered_missing_or_new_breaks_the_signature(signed: Path, trusted: Path) -> None:
    flip_a_bit(signed)
    (signed / "labels.json").unlink()
    (signed / "golden" / "more.png").write_bytes(b"")
    with pytest.raises(ReleaseError) as caught:
        verify_signature(signed, trusted)
    assert str(caught.value).endswith(
        "is not what was signed: labels.json is missing; golden/more.png was not signed; model.onnx was altered"
    )


def test_a_release_that_was_sealed_anew_is_refused(signed: Path, trusted: Path) -> None:
    """Every sha256 of its manifest holds: only the signature tells that somebody else made it."""
    answer_nan(signed)
    with pytest.raises(ReleaseError, match=r"manifest\.json was altered; model\.onnx was altered; qualification\.json"):
        verify_signature(signed, trusted)


def test_no_flipped_bit_of_any_file_passes(signed: Path, trusted: Path) -> None:
    numbers = np.random.default_rng(0)
    files = sorted(path for path in signed.rglob("*") if path.is_file() and path.name != SIGNATURE)
    for _ in range(150):
        file = files[numbers.integers(len(files))]
        sound = file.read_bytes()
        spoilt = bytearray(sound)
        spoilt[numbers.integers(len(sound))] ^= 1 << int(numbers.integers(8))
        file.write_bytes(spoilt)
        with pytest.raises(ReleaseError, match=f"{file.name} was altered"):
            verify_signature(signed, trusted)
        file.write_bytes(sound)
    verify_signature(signed, trusted)


def test_a_flipped_bit_of_the_signature_is_refused_or_means_the_same(signed: Path, trusted: Path) -> None:
    """What lies round payload and signature (the key's hint, blanks) decides nothing; nothing ends in another error."""
    numbers, file = np.random.default_rng(1), signed / SIGNATURE
    sound = file.read_bytes()
    envelope = json.loads(sound)["dsseEnvelope"]
    refused = 0
    for _ in range(300):
        spoilt = bytearray(sound)
        spoilt[numbers.integers(len(sound))] ^= 1 << int(numbers.integers(8))
        file.write_bytes(spoilt)
        try:
            verify_signature(signed, trusted)
        except ReleaseError:
            refused += 1
        else:
            found = json.loads(bytes(spoilt))["dsseEnvelope"]
            assert b64decode(found["payload"]) == b64decode(envelope["payload"])
    assert refused > 200


def test_a_signature_of_another_release_is_refused(
    tmp_path: Path, signed: Path, trusted: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    other = make_release(tmp_path / "other", seed=1)
    (signed / SIGNATURE).write_bytes(signature_of(other, key))
    with pytest.raises(ReleaseError, match=r"model\.onnx was altered"):
        verify_signature(signed, trusted)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, signed: Path, trusted: Path) -> None:
    (signed / "model.onnx").rename(tmp_path / "model.onnx")
    (signed / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(ReleaseError, match=r"model\.onnx is no plain file"):
        verify_signature(signed, trusted)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bundle: b"",
        lambda bundle: b"\xff\xfe",
        lambda bundle: b"[]",
        lambda bundle: b"[" * 200_000,
        lambda bundle: bundle[: len(bundle) // 2],
        lambda bundle: bundle.replace(b"in-toto+json", b"else+json"),
        lambda bundle: bundle.replace(b'"signatures": [', b'"signatures": [], "was": ['),
        lambda bundle: bundle.replace(b'"payload": "', b'"payload": "*'),
        lambda bundle: bundle + b" " * 2_000_000,
    ],
)
def test_a_malformed_signature_is_named(signed: Path, trusted: Path, spoil: Callable[[bytes], bytes]) -> None:
    (signed / SIGNATURE).write_bytes(spoil((signed / SIGNATURE).read_bytes()))
    with pytest.raises(ReleaseError, match=r"model\.sig is no signature of OpenSSF Model Signing"):
        verify_signature(signed, trusted)


def test_a_payload_changed_after_signing_is_refused_before_it_is_believed(signed: Path, trusted: Path) -> None:
    bundle = json.loads((signed / SIGNATURE).read_text())
    payload = b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"labels.json", b"labels.jsoN")
    bundle["dsseEnvelope"]["payload"] = b64encode(payload).decode()
    (signed / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(ReleaseError, match="not signed by a trusted key"):
        verify_signature(signed, trusted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"), "something else than a model"),
        (lambda one: one.update(_type="x"), "something else than a model"),
        (lambda one: one.pop("predicate"), "something else than a model"),
        (lambda one: one["predicate"]["resources"].append(one["predicate"]["resources"][0]), "names files twice"),
        (lambda one: one["predicate"]["resources"][0].update(algorithm="blake2b"), "another digest than sha256"),
        (lambda one: one["predicate"]["resources"].pop(0), "was not signed"),
    ],
)
def test_what_the_key_signed_must_be_this_model(
    signed: Path, trusted: Path, key: ec.EllipticCurvePrivateKey, change: Callable[[Any], None], words: str
) -> None:
    changed_statement(signed, key, lambda one: None)
    verify_signature(signed, trusted)
    changed_statement(signed, key, change)
    with pytest.raises(ReleaseError, match=words):
        verify_signature(signed, trusted)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must hold public keys"),
        (b"ssh-ed25519 AAAAC3 me", "must hold public keys"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "must hold public keys on the curve"),
        (public_pem(new_key(ec.SECP256K1())), "must hold public keys on the curve"),
        (public_pem(new_key(), ed25519.Ed25519PrivateKey.generate()), "must hold public keys on the curve"),
        (private_pem(new_key()), "something else than PEM public keys"),
        (public_pem(new_key()).replace(b"M", b"N", 1), "something else than PEM public keys"),
    ],
    ids=["empty", "ssh", "ed25519", "curve", "one of two", "private", "damaged"],
)
def test_a_key_file_that_cannot_be_used_is_named(signed: Path, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ReleaseError, match=rf"key\.pem .*{words}.*serve\.verify_key"):
        verify_signature(signed, file)


def test_a_key_file_that_is_not_there_is_named(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"nowhere\.pem cannot be read .*serve\.verify_key"):
        verify_signature(signed, tmp_path / "nowhere.pem")


def model_signing(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_openssf_model_signing_verifies_ours_and_finds_a_change(signed: Path, trusted: Path) -> None:
    pytest.importorskip("model_signing.signing")
    verify = ("verify", "key", "--signature", signed / SIGNATURE, "--public_key", trusted, signed)
    done = model_signing(*verify)
    assert done.returncode == 0, done.stderr
    flip_a_bit(signed)
    assert model_signing(*verify).returncode != 0


def test_what_openssf_model_signing_signed_is_trusted(
    tmp_path: Path, release: Path, trusted: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    pytest.importorskip("model_signing.signing")
    secret = tmp_path / "secret.pem"
    secret.write_bytes(private_pem(key))
    done = model_signing("sign", "key", "--signature", release / SIGNATURE, "--private_key", secret, release)
    assert done.returncode == 0, done.stderr
    verify_signature(release, trusted)
    flip_a_bit(release)
    with pytest.raises(ReleaseError, match=r"model\.onnx was altered"):
        verify_signature(release, trusted)

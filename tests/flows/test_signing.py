"""Keys and signed releases: made, published, signed later, and asked for by promotion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene, make_servable
from small_workspace import make_workspace

from flows import desk, signing
from flows.params_file import Edit
from flows.signing import new_key, sign_stored, signing_key
from flows.store import publish_release
from tasks.errors import ReleaseError, UserError
from tasks.release import QUALIFICATION, SIGNATURE
from tasks.signatures import key_hint, public_keys, verify_signature


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "signing.pem"
    new_key(file)
    return file


def trusted(key_file: Path) -> Path:
    return key_file.with_name(f"{key_file.name}.pub")


def test_a_new_key_is_for_its_owner_alone_and_never_overwrites(tmp_path: Path) -> None:
    public, hint = new_key(tmp_path / "signing.pem")
    assert (tmp_path / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert key_hint(signing_key(tmp_path / "signing.pem").public_key()) == hint
    assert [key_hint(key) for key in public_keys(public)] == [hint]
    before = (tmp_path / "signing.pem").read_bytes(), public.read_bytes()
    with pytest.raises(UserError, match="is there already, and a key is never overwritten"):
        new_key(tmp_path / "signing.pem")
    public.unlink()
    with pytest.raises(UserError, match=r"signing\.pem is there already"):
        new_key(tmp_path / "signing.pem")
    assert (tmp_path / "signing.pem").read_bytes() == before[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o660, 0o644])
def test_a_key_that_others_may_read_or_change_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(UserError, match="others may read or change the signing key"):
        signing_key(key_file)


def test_a_mounted_key_of_another_owner_may_be_read_by_the_group_alone(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that a cluster mounts belongs to root and to the pod's group."""
    monkeypatch.setattr(signing.os, "geteuid", lambda: os.getuid() + 1)
    key_file.chmod(0o440)
    signing_key(key_file)
    for mode in (0o460, 0o444):
        key_file.chmod(mode)
        with pytest.raises(UserError, match="others may read or change"):
            signing_key(key_file)


def test_a_key_file_of_another_kind_is_named_and_never_quoted(tmp_path: Path, key_file: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    secret = key_file.read_bytes()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"passphrase")
    cases = {
        b"nothing": "is no private key in PEM",
        secret[: len(secret) // 2]: "is no private key in PEM",
        trusted(key_file).read_bytes(): "is no private key in PEM",
        ed25519.Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, plain): "must be on the curve P-256",
        ec.generate_private_key(ec.SECP256K1()).private_bytes(pem, pkcs8, plain): "must be on the curve P-256",
        signing_key(key_file).private_bytes(pem, pkcs8, locked): "is encrypted",
    }
    for content, words in cases.items():
        key_file.write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            signing_key(key_file)
        assert not any(line in str(caught.value) for line in content.decode().split("\n") if len(line) > 30)
    with pytest.raises(UserError, match=r"nowhere\.pem cannot be read .*publish\.signing_key"):
        signing_key(tmp_path / "nowhere.pem")


def test_a_release_is_signed_before_it_is_visible(
    tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_servable(tmp_path, 0)
    seen: list[bool] = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: seen.append((self / SIGNATURE).is_file()) or rename(self, to))
    stored = publish_release(release, tmp_path / QUALIFICATION, tmp_path / "store", signing_key(key_file))
    assert seen == [True]
    verify_signature(stored, trusted(key_file))


def test_an_unsigned_release_of_the_store_is_signed_when_it_is_published_again(tmp_path: Path, key_file: Path) -> None:
    release, store = make_servable(tmp_path, 0), tmp_path / "store"
    stored = publish_release(release, tmp_path / QUALIFICATION, store)
    assert not (stored / SIGNATURE).exists()
    publish_release(release, tmp_path / QUALIFICATION, store, signing_key(key_file))
    verify_signature(stored, trusted(key_file))
    before = (stored / SIGNATURE).read_bytes()
    publish_release(release, tmp_path / QUALIFICATION, store, signing_key(key_file))
    assert (stored / SIGNATURE).read_bytes() == before


def test_a_damaged_or_absent_release_is_not_signed(tmp_path: Path, key_file: Path) -> None:
    stored = publish_release(make_servable(tmp_path, 0), tmp_path / QUALIFICATION, tmp_path / "store")
    key = signing_key(key_file)
    with pytest.raises(ReleaseError, match="release ffffffffffff is not in the store"):
        sign_stored(stored.parent, "f" * 64, key)
    (stored / "labels.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"labels\.json was altered"):
        sign_stored(stored.parent, stored.name, key)
    assert not (stored / SIGNATURE).exists()


def configure(scene: Scene, key_file: Path) -> None:
    scene.workspace.params.write_text(
        f"schema_version: 2\npublish:\n  signing_key: {key_file}\nserve:\n  verify_key: {trusted(key_file)}\n"
    )


def test_promotion_and_rollback_ask_for_the_signature_that_servers_ask_for(tmp_path: Path, key_file: Path) -> None:
    scene = make_scene(tmp_path)
    first = scene.publish(1)
    scene.promote("v1")
    second = scene.publish(2)
    configure(scene, key_file)
    with pytest.raises(ReleaseError, match=r"is not signed, and serve\.verify_key asks for a signature"):
        scene.promote("v2")
    sign_stored(scene.store, second.manifest_sha256, signing_key(key_file))
    assert scene.promote("v2").version == 2
    with pytest.raises(ReleaseError, match=r"v1 is not gone back to: .* is not signed"):
        scene.rollback()
    sign_stored(scene.store, first.manifest_sha256, signing_key(key_file))
    assert scene.rollback().version == 1


def test_the_commands_make_a_key_and_sign_a_version(tmp_path: Path) -> None:
    scene, key_file = make_scene(tmp_path), tmp_path / "signing.pem"
    stored = scene.store / scene.publish(1).manifest_sha256
    made = scene.graft("key", "new", str(key_file))
    assert made.returncode == 0, made.stderr
    assert "PRIVATE" not in made.stdout + made.stderr
    without = scene.graft("sign", "v1")
    assert without.returncode == 1
    assert "no key to sign with" in without.stderr
    assert "Traceback" not in without.stderr
    configure(scene, key_file)
    signed = scene.graft("sign", "v1")
    assert signed.returncode == 0, signed.stderr
    verify_signature(stored, trusted(key_file))


def test_a_key_that_cannot_be_used_ends_a_run_before_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path.resolve() / "workspace", pictures=2)
    monkeypatch.setattr(desk, "run_flow", lambda *_: pytest.fail("Prefect was started"))
    before = workspace.params.read_bytes()
    with pytest.raises(UserError, match=r"signing key .*nowhere\.pem cannot be read .*publish\.signing_key"):
        desk.adapt_here(workspace, [Edit(("publish", "signing_key"), "nowhere.pem")])
    assert workspace.params.read_bytes() == before

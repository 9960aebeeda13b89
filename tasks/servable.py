"""Whether a release may be served on this machine: what promotion asks before, and a server at every load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.digests import bytes_sha256
from tasks.errors import ReleaseError, StageInputError
from tasks.opened_release import OUTPUTS, OpenedRelease, golden_faults
from tasks.release import MANIFEST, QUALIFICATION, verify_release
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification

MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class Servable:
    """A release that held every check, opened."""

    digest: str
    manifest: Manifest
    opened: OpenedRelease
    card: str


def open_servable(
    folder: Path, digest: str | None = None, verify_key: Path | None = None, qualification: Path | None = None
) -> Servable:
    """Check a stored release: every sha256, its qualification, its answers to the golden files, and its outputs.

    What was checked is what is opened: the model is made from the bytes whose sha256 held, not read a second time.

    Args:
        folder: of the release store.
        digest: sha256 that its manifest must have; None takes what is there.
        verify_key: public key that it must be signed by; None asks for no signature.
        qualification: the file that qualifies it; None: the one that a store keeps inside the folder.
    Raises:
        ReleaseError: it is damaged, another one, not qualified, not signed, or answers otherwise than at its export.
    """
    try:
        return _checked(folder, digest, verify_key, qualification or folder / QUALIFICATION)
    except ReleaseError:
        raise
    except (OSError, ValueError, StageInputError) as err:
        raise ReleaseError(f"{folder} cannot be read: {_line(err)}") from err


def _checked(folder: Path, digest: str | None, verify_key: Path | None, qualification: Path) -> Servable:
    listed = verify_release(folder, beside=(QUALIFICATION,))
    contents = {name: (folder / name).read_bytes() for name in (MANIFEST, *listed.files)}
    found = bytes_sha256(contents[MANIFEST])
    if digest is not None and found != digest:
        raise ReleaseError(f"{folder} holds another release ({found[:12]}) than its name says")
    manifest = Manifest.parse(contents[MANIFEST], str(folder / MANIFEST))
    if any(bytes_sha256(contents.get(name, b"")) != sha256 for name, sha256 in manifest.files.items()):
        raise ReleaseError(f"{folder} was changed while it was read")
    judged = _check_qualified(qualification, folder, found)
    if verify_key is not None:
        _check_signed(folder, verify_key, {MANIFEST: found, QUALIFICATION: judged})
    opened = OpenedRelease(folder, contents)
    _check_golden(opened, contents)
    _check_outputs(opened)
    return Servable(found, manifest, opened, contents.get(MODEL_CARD, b"").decode("utf-8", "replace"))


def _check_qualified(file: Path, folder: Path, digest: str) -> str:
    """The sha256 of what qualifies it, as it was read."""
    mend = f"; run `graft adapt` (stage {Qualification.produced_by})"
    try:
        content = file.read_bytes()
        qualification = Qualification.parse(content, str(file), mend)
    except OSError as err:
        raise ReleaseError(f"{file} cannot be read ({err.strerror}){mend}") from err
    except StageInputError as err:
        raise ReleaseError(str(err)) from err
    if qualification.manifest_sha256 != digest:
        raise ReleaseError(f"{file} is of another release")
    if not qualification.passed:
        raise ReleaseError(f"{folder} is not qualified: {'; '.join(qualification.reasons)}")
    return bytes_sha256(content)


def _check_signed(folder: Path, verify_key: Path, read: Mapping[str, str]) -> None:
    """That the folder is signed, and that what was read of it (sha256 by name) is what was signed.

    What qualifies a folder from outside is not signed with it.
    """
    from tasks.signatures import verify_signature

    signed = verify_signature(folder, verify_key)
    if MANIFEST not in signed or any(signed[name] != sha256 for name, sha256 in read.items() if name in signed):
        raise ReleaseError(f"{folder} was changed while it was read")


def _check_golden(opened: OpenedRelease, contents: Mapping[str, bytes]) -> None:
    try:
        faults = golden_faults(opened, contents)
    except Exception as err:  # ONNX Runtime's own errors have no base but Exception
        raise ReleaseError(f"{opened.folder} cannot answer its golden files: {_line(err)}") from err
    if faults:
        raise ReleaseError(
            f"{opened.folder} does not answer its golden files as at its export: {'; '.join(faults)}; another ONNX "
            "Runtime or Pillow than then, or another kind of processor"
        )


def _check_outputs(opened: OpenedRelease) -> None:
    """Every output that a server gives, of two plain images: its shape, and that it is finite."""
    crop, classes = opened.preprocess.crop, len(opened.labels)
    try:
        outputs = opened.outputs(np.zeros((2, crop, crop, 3), dtype=np.uint8))
    except Exception as err:  # as above
        raise ReleaseError(f"{opened.folder} does not give {', '.join(OUTPUTS)}: {_line(err)}") from err
    for name, values in zip(OUTPUTS, outputs, strict=True):
        width = values.shape[1] if name == "embedding" and values.ndim == 2 else classes
        if values.shape != (2, width) or values.dtype != np.float32:
            raise ReleaseError(f"{opened.folder} gives `{name}` as {values.dtype} {values.shape}, not (2, {width})")
        if not np.isfinite(values).all():
            raise ReleaseError(f"{opened.folder} gives `{name}` that is not finite")


def _line(err: Exception) -> str:
    return (" ".join(str(err).split()) or type(err).__name__)[:300]

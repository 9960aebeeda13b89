"""A release store as servers see it: folders named by digest, and pointers that are replaced as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from small_release import make_release

from tasks.release import manifest_sha256
from tasks.reports.prod_pointer import ProdPointer

PROD = "prod"


def put(store: Path, release: Path, digest: str | None = None) -> str:
    """Copy a release into the store, visible when it is complete, and return its digest.

    Args:
        digest: the folder's name, where it is to be another than the release's.
    """
    name = digest or manifest_sha256(release)
    if not (store / name).exists():
        incoming = store / f".incoming-{name}"
        shutil.copytree(release, incoming)
        incoming.rename(store / name)
    return name


def point(store: Path, digest: str, version: int = 1, number: int | None = None, pointer: str = PROD) -> None:
    """Have `prod` (or another pointer) name a release, written atomically as a promotion does."""
    prod = ProdPointer(number=number or version, version=version, manifest_sha256=digest)
    prod.write(store / pointer)


def add_release(store: Path, seed: int, **more: object) -> str:
    """Make a release of that seed and put it into the store; no pointer names it yet."""
    draft = make_release(store / f".draft-{seed}", seed, **more)  # type: ignore[arg-type]
    digest = put(store, draft)
    shutil.rmtree(draft)
    return digest


def make_store(folder: Path, seed: int = 0, version: int = 1) -> Path:
    """A store with one release, in production as `version`."""
    folder.mkdir(parents=True)
    point(folder, add_release(folder, seed), version)
    return folder

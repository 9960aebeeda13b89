"""Following a pointer file of the release store, such as `prod`: what it names now, and when to try that."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.model import Model
from tasks.errors import ReleaseError, StageInputError
from tasks.reports.prod_pointer import ProdPointer

PROD, SHADOW = "prod", "shadow"
LARGEST_BYTES = 65536
MOST_TRIES = 6
"""Of a release that could not be read (a disk or network that faltered) and has not changed since."""
LONGEST_PAUSE_SECONDS = 60.0
Fingerprint = tuple[tuple[str, int, int, int], ...]


class UnreadablePointer(ReleaseError):
    """The pointer file holds nothing that names a release."""


class RefusedRelease(ReleaseError):
    """What the pointer names must not be served; `pointer` says which it is."""

    def __init__(self, pointer: ProdPointer, reason: str) -> None:
        super().__init__(reason)
        self.pointer = pointer


def read_pointer(file: Path) -> ProdPointer | None:
    """What a pointer file names; None: there is none.

    Raises:
        UnreadablePointer: it is no pointer, or cannot be read.
    """
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_BYTES:
            raise UnreadablePointer(_names_nothing(file))
        return ProdPointer.parse(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None
    except StageInputError as err:
        raise UnreadablePointer(_names_nothing(file)) from err
    except OSError as err:
        raise UnreadablePointer(f"{file} cannot be read: {err.strerror or err}") from err


def _names_nothing(file: Path) -> str:
    mend = "move it away, and `graft history` in the workspace writes it anew from the history"
    if file.name == SHADOW:
        mend = "`graft shadow --off` takes it away, `graft shadow VERSION --reason TEXT` writes it anew"
    return f"{file} holds nothing that names a release of this Graft; {mend}"


@dataclass
class _Refusal:
    """A release that was refused, and as it lay on the disk then.

    Attributes:
        seen: its fingerprint at the last look; a folder that differs from one look to the next is still being copied.
        passing: it could not be read, which may mend itself without any change.
    """

    pointer: ProdPointer
    fingerprint: Fingerprint
    seen: Fingerprint
    passing: bool
    tries: int
    not_before: float


class Follower:
    """Follows one pointer. What it names is loaded once; what was refused again only when it may be another."""

    def __init__(
        self,
        store: Path,
        name: str,
        load: Callable[[ProdPointer], Model],
        present: Model | None = None,
        beside: Sequence[Path] = (),
        pause_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            load: checks and opens a release; whatever it raises refuses that.
            present: what answers already.
            beside: files outside of a release's folder that its check depends on, such as a key.
            pause_seconds: between the first two tries of a refused release; doubled each time.
        """
        self.present = present
        self._store, self._file, self._load, self._clock = store, store / name, load, clock
        self._pause_seconds, self._beside = pause_seconds, beside
        self._stamp: tuple[int, ...] | None = None
        self._told = ""
        self._pointer: ProdPointer | None = None
        self._refusal: _Refusal | None = None

    def named(self) -> ProdPointer | None:
        """What the pointer names now, read where the file is another than at the last look; None: there is none.

        Raises:
            UnreadablePointer: once for each reason; what could not be read is read again at every look.
        """
        try:
            found = self._file.stat()
            stamp: tuple[int, ...] = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError:
            stamp = ()
        if stamp != self._stamp:
            self._stamp, earlier = stamp, self._pointer
            self._pointer = None
            try:
                self._pointer = read_pointer(self._file)
                self._told = ""
            except UnreadablePointer as err:
                self._pointer = earlier
                if _may_pass(err):
                    self._stamp = None
                if str(err) != self._told:
                    self._told = str(err)
                    raise
        return self._pointer

    @property
    def served(self) -> bool:
        """Whether what answers is what the pointer named at the last look, if it could be read and named anything."""
        if self._told:
            return False
        return self._pointer is None or (
            self.present is not None and self.present.digest == self._pointer.manifest_sha256
        )

    def change(self, pointer: ProdPointer) -> Model | None:
        """The model to answer with from now on, or None: the present one goes on.

        Raises:
            RefusedRelease: it was tried and must not be served.
        """
        if self.present is not None and self.present.digest == pointer.manifest_sha256:
            self._refusal = None
            if self.present.version == str(pointer.version):
                return None
            self.present = replace(self.present, version=str(pointer.version))
            return self.present
        if not self._due(pointer):
            return None
        before = self._fingerprint(pointer)
        try:
            self.present = self._load(pointer)
        except Exception as err:  # a server outlives whatever a release does to it
            self._refusal = self._refused(pointer, before, err)
            reason = str(err) if isinstance(err, ReleaseError) else f"{type(err).__name__}: {err}"
            raise RefusedRelease(pointer, " ".join(reason.split())) from err
        self._refusal = None
        return self.present

    def drop(self) -> None:
        """There is nothing to follow any more."""
        self.present = self._refusal = None

    def _fingerprint(self, pointer: ProdPointer) -> Fingerprint:
        return fingerprint_of(self._store / pointer.manifest_sha256, self._beside)

    def _refused(self, pointer: ProdPointer, before: Fingerprint, err: Exception) -> _Refusal:
        earlier = self._refusal if self._refusal and self._refusal.pointer == pointer else None
        tries = earlier.tries + 1 if earlier else 1
        pause = min(self._pause_seconds * 2 ** (tries - 1), LONGEST_PAUSE_SECONDS)
        return _Refusal(pointer, before, before, _may_pass(err), tries, self._clock() + pause)

    def _due(self, pointer: ProdPointer) -> bool:
        refusal = self._refusal
        if refusal is None or refusal.pointer != pointer:
            return True
        now = self._fingerprint(pointer)
        rests, refusal.seen = now == refusal.seen, now
        if not rests or self._clock() < refusal.not_before:
            return False
        return now != refusal.fingerprint or (refusal.passing and refusal.tries < MOST_TRIES)


def _may_pass(err: BaseException | None) -> bool:
    """Whether a disk, a network or memory failed rather than the release."""
    while err is not None:
        if isinstance(err, MemoryError | OSError) and not isinstance(err, FileNotFoundError):
            return True
        err = err.__cause__
    return False


def fingerprint_of(folder: Path, beside: Sequence[Path] = ()) -> Fingerprint:
    """Name, size, time of change and inode of all in a folder, and of files beside it; of those that there are."""
    found = []
    looks = [(path.relative_to(folder).as_posix(), path.lstat) for path in sorted(folder.rglob("*"))]
    looks += [(str(path), path.stat) for path in beside]  # a mounted key is a link to what is renewed
    for name, look in looks:
        try:
            known = look()
        except OSError:
            continue
        found.append((name, known.st_size, known.st_mtime_ns, known.st_ino))
    return tuple(found)

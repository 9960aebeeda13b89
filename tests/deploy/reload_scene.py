"""Sound and bad releases to promote one after another, and what each of them answers to a few photos."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from release_scene import add_release, point
from small_release import photo
from spoilt_releases import SPOILT

from tasks.opened_release import FloatMatrix, OpenedRelease
from tasks.release import manifest_sha256
from tasks.reports.prod_pointer import ProdPointer

PHOTOS = [photo(seed) for seed in range(4)]
SOUND = 5
CLASSES = ("ember", "meadow", "ocean", "snow")


def spoilt_release(store: Path, seed: int, spoil: Callable[[Path], object]) -> str:
    """A bad release in the store, under the name that its manifest demands."""
    folder = store / add_release(store, seed)
    spoil(folder)
    digest = manifest_sha256(folder)
    if digest != folder.name:
        shutil.rmtree(store / digest, ignore_errors=True)
        folder.rename(store / digest)
    return digest


@dataclass(frozen=True)
class Promotion:
    """One change of `prod`; `sound` tells whether it is to be followed."""

    version: int
    digest: str
    sound: bool


class ReloadScene:
    """A store of sound releases (one of them of four classes) and bad ones, promoted in turn."""

    def __init__(self, store: Path) -> None:
        self.store = store
        digests = [ProdPointer.read(store / "prod").manifest_sha256]
        digests += [add_release(store, seed) for seed in range(1, SOUND)]
        digests.append(add_release(store, SOUND, labels=CLASSES))
        self.answers = {digest: self._answers(digest) for digest in digests}
        self.labels = {digest: OpenedRelease(store / digest).labels for digest in digests}
        self._sound = cycle(digests[1:] + digests[:1])
        self._bad = cycle([spoilt_release(store, 20 + place, spoil) for place, (spoil, _) in enumerate(SPOILT)])
        self.expected = {"1": digests[0]}

    def _answers(self, digest: str) -> FloatMatrix:
        opened = OpenedRelease(self.store / digest)
        return opened.answers(np.stack([opened.preprocess.prepare(data) for data in PHOTOS]), 1)

    def promotions(self, sound: int, bad: int) -> Iterator[Promotion]:
        """So many sound and bad promotions, the bad ones spread among the others; each is made when it is asked for."""
        total = sound + bad
        for place in range(total):
            is_bad = (place + 1) * bad // total > place * bad // total
            digest, version = next(self._bad if is_bad else self._sound), place + 2
            if not is_bad:
                self.expected[str(version)] = digest
            point(self.store, digest, version)
            yield Promotion(version, digest, not is_bad)

    def is_right(self, version: str, place: int, probabilities: FloatMatrix) -> bool:
        """Whether these are what the release of that version answers to that photo."""
        wanted = self.answers[self.expected[version]][place]
        return wanted.shape == probabilities.shape and bool(np.allclose(wanted, probabilities, atol=1e-5))

"""What trials leave on the disk: the state of each one's trainings, kept while it may be of use again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.digests import value_sha256


class Trainings:
    """Folders of checkpoints, one for each set of settings; all but the best and the unfinished are removed.

    A search of twenty trials with three folds each would otherwise leave sixty sets of weights behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, settings: Mapping[str, Any]) -> Path:
        """Where a trial keeps its trainings; the same settings, tried again, go on there."""
        return self.folder / value_sha256(settings)[:24]

    def keep_only(self, *kept: Mapping[str, Any]) -> None:
        """Remove what trials of other settings left."""
        names = {self.of(settings).name for settings in kept}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def hand_on(self, settings: Mapping[str, Any], checkpoints: Path) -> None:
        """Move a trial's trainings to where adapt looks for them, so that it need not repeat them."""
        for path in sorted(self.of(settings).glob("*")):
            if not (checkpoints / path.name).exists():
                checkpoints.mkdir(parents=True, exist_ok=True)
                path.rename(checkpoints / path.name)

"""Running a release over many files, as qualify and the champion's scoring do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.backbones.session import prepare_batch, run_over_files
from tasks.opened_release import FloatMatrix, OpenedRelease


class ReleaseRun(OpenedRelease):
    """An opened release that answers files of known content."""

    def probabilities(
        self,
        files: Sequence[Path],
        contents: Sequence[str],
        batch_size: int = 16,
        threads: int = 0,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> FloatMatrix:
        """(len(files), classes) float32, rows in the order of `files`, whose sha256 must be `contents`.

        Raises:
            DataError: a file is gone, changed since it was validated or no longer decodes.
        """
        rows = np.zeros((len(files), len(self.labels)), dtype=np.float32)
        batches = run_over_files(
            self.session, ["probabilities"], files, contents, self.preprocess, batch_size, threads, on_batch
        )
        for part, (values,) in batches:
            rows[part] = values
        return rows

    def prepared(self, files: Sequence[Path], contents: Sequence[str]) -> npt.NDArray[np.uint8]:
        """(len(files), crop, crop, 3) images, ready for `answers`; raises as `probabilities` does."""
        if not files:
            return np.zeros((0, self.preprocess.crop, self.preprocess.crop, 3), dtype=np.uint8)
        return prepare_batch(files, contents, self.preprocess)

"""Running a release as a server would: from file bytes through ONNX Runtime, with nothing but its own folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.backbones.session import open_session, prepare_batch, run_over_files
from tasks.digests import bytes_sha256
from tasks.errors import ReleaseError, StageInputError
from tasks.preprocess import Preprocess
from tasks.reports.release_parts import GoldenCase, GoldenCases, Labels

FloatMatrix = npt.NDArray[np.float32]
GOLDEN_TOLERANCE = 1e-4


class ReleaseRun:
    """An opened release."""

    def __init__(self, folder: Path) -> None:
        """Open the folder.

        Raises:
            ReleaseError: a part cannot be read, or the parts do not fit each other.
        """
        self.folder = folder
        try:
            self.preprocess = Preprocess.model_validate_json((folder / "preprocess.json").read_bytes())
            self.labels = Labels.read(folder / "labels.json").labels
            self.session: Any = open_session(folder / "model.onnx")
        except (OSError, ValueError, StageInputError) as err:
            raise ReleaseError(f"release {folder} cannot be opened: {err}") from err
        self._check_fit()

    def _check_fit(self) -> None:
        image = next((part.shape for part in self.session.get_inputs() if part.name == "image"), None)
        answer = next((part.shape for part in self.session.get_outputs() if part.name == "probabilities"), None)
        crop, classes = self.preprocess.crop, len(self.labels)
        if image is None or image[1:] != [crop, crop, 3]:
            raise ReleaseError(
                f"release {self.folder}: model.onnx takes `image` {image}, preprocess.json crops to {crop}"
            )
        if isinstance(image[0], int):
            raise ReleaseError(f"release {self.folder}: model.onnx takes batches of {image[0]} only")
        if answer is None or answer[1:] != [classes]:
            raise ReleaseError(
                f"release {self.folder}: model.onnx gives `probabilities` {answer}, labels.json names {classes} classes"
            )

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

    def answers(self, images: npt.NDArray[np.uint8], batch_size: int) -> FloatMatrix:
        """(n, classes) probabilities of (n, crop, crop, 3) prepared images; threads may ask at once."""
        parts = [
            self.session.run(["probabilities"], {"image": images[start : start + batch_size]})[0]
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate([np.zeros((0, len(self.labels)), dtype=np.float32), *parts])

    def answer(self, image: npt.NDArray[np.uint8]) -> FloatMatrix:
        """(classes,) probabilities of one prepared (crop, crop, 3) image."""
        return np.asarray(self.answers(image[None], 1)[0], dtype=np.float32)


def golden_cases(run: ReleaseRun, files: Sequence[Path]) -> GoldenCases:
    """What this release answers to the golden files now."""
    cases = []
    for file in files:
        image = run.preprocess.prepare(file.read_bytes())
        cases.append(
            GoldenCase(
                file=file.name,
                preprocessed_sha256=bytes_sha256(image.tobytes()),
                probabilities=[round(float(value), 7) for value in run.answer(image)],
            )
        )
    return GoldenCases(tolerance=GOLDEN_TOLERANCE, cases=cases)


def golden_faults(run: ReleaseRun) -> list[str]:
    """Golden files that this environment no longer answers as the release says; empty when all hold."""
    expected = GoldenCases.read(run.folder / "golden" / "golden.json")
    faults = []
    for case in expected.cases:
        image = run.preprocess.prepare((run.folder / "golden" / case.file).read_bytes())
        if bytes_sha256(image.tobytes()) != case.preprocessed_sha256:
            faults.append(f"{case.file} is preprocessed to other pixels")
            continue
        difference = float(np.abs(run.answer(image) - np.asarray(case.probabilities, dtype=np.float32)).max())
        if not difference <= expected.tolerance:
            faults.append(f"{case.file}: probabilities differ by {difference:.2g}, allowed {expected.tolerance:.0e}")
    return faults

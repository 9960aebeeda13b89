"""A release that is opened to answer: what qualify judges and what servers serve, by the same lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.digests import bytes_sha256
from tasks.errors import ReleaseError, StageInputError
from tasks.onnx_session import open_session
from tasks.preprocess import Preprocess, UInt8Image
from tasks.reports.release_parts import GoldenCase, GoldenCases, Labels

FloatMatrix = npt.NDArray[np.float32]
OUTPUTS = ("probabilities", "logits", "embedding")
GOLDEN_TOLERANCE = 1e-4
WIDEST_TOLERANCE = 0.1
"""What a release may ask for at most: with more its golden files would prove nothing."""
MODEL, LABELS, PREPROCESS, GOLDEN = "model.onnx", "labels.json", "preprocess.json", "golden/golden.json"


class OpenedRelease:
    """A release's session, labels and preprocessing; threads may ask at once."""

    def __init__(self, folder: Path, contents: Mapping[str, bytes] | None = None) -> None:
        """Open the folder, with nothing but its own files.

        Args:
            contents: of its files by name, where they were read already: what was checked is then what is opened, and
                the folder is not read again. None reads it.
        Raises:
            ReleaseError: a part cannot be read, or the parts do not fit each other.
        """
        self.folder = folder
        try:
            self.preprocess = Preprocess.model_validate_json(_content(folder, PREPROCESS, contents))
            self.labels = Labels.parse(_content(folder, LABELS, contents), str(folder / LABELS)).labels
            self.session: Any = open_session(folder / MODEL if contents is None else contents[MODEL])
        except KeyError as err:
            raise ReleaseError(f"release {folder} has no {err.args[0]}") from err
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

    def outputs(self, images: UInt8Image, names: Sequence[str] = OUTPUTS) -> list[FloatMatrix]:
        """The named outputs of (n, crop, crop, 3) prepared images in one run, each (n, its width) float32."""
        found: list[FloatMatrix] = self.session.run(list(names), {"image": images})
        return found

    def answers(self, images: UInt8Image, batch_size: int) -> FloatMatrix:
        """(n, classes) probabilities of (n, crop, crop, 3) prepared images."""
        parts = [
            self.outputs(images[start : start + batch_size], ["probabilities"])[0]
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate([np.zeros((0, len(self.labels)), dtype=np.float32), *parts])

    def answer(self, image: UInt8Image) -> FloatMatrix:
        """(classes,) probabilities of one prepared (crop, crop, 3) image."""
        return np.asarray(self.answers(image[None], 1)[0], dtype=np.float32)


def _content(folder: Path, name: str, contents: Mapping[str, bytes] | None) -> bytes:
    return (folder / name).read_bytes() if contents is None else contents[name]


def golden_cases(opened: OpenedRelease, files: Sequence[Path]) -> GoldenCases:
    """What this release answers to the golden files now."""
    cases = []
    for file in files:
        image = opened.preprocess.prepare(file.read_bytes())
        cases.append(
            GoldenCase(
                file=file.name,
                preprocessed_sha256=bytes_sha256(image.tobytes()),
                probabilities=[round(float(value), 7) for value in opened.answer(image)],
            )
        )
    return GoldenCases(tolerance=GOLDEN_TOLERANCE, cases=cases)


def golden_faults(opened: OpenedRelease, contents: Mapping[str, bytes] | None = None) -> list[str]:
    """Golden files that this environment no longer answers as the release says; empty when all hold.

    Args:
        contents: of the release's files by name, where they were read already.
    Raises:
        StageInputError, OSError, KeyError: golden.json or a file that it names is not there or cannot be read.
    """
    folder = opened.folder
    expected = GoldenCases.parse(_content(folder, GOLDEN, contents), str(folder / GOLDEN))
    if not expected.cases:
        return [f"{GOLDEN} names no file, so nothing shows that the answers are right"]
    if not 0 <= expected.tolerance <= WIDEST_TOLERANCE:
        return [f"{GOLDEN} allows a difference of {expected.tolerance:g}, at most {WIDEST_TOLERANCE:g} proves anything"]
    faults = []
    for case in expected.cases:
        image = opened.preprocess.prepare(_content(folder, f"golden/{case.file}", contents))
        faults.append(_golden_fault(opened, case, image, expected.tolerance))
    return [fault for fault in faults if fault]


def _golden_fault(opened: OpenedRelease, case: GoldenCase, image: UInt8Image, tolerance: float) -> str | None:
    if bytes_sha256(image.tobytes()) != case.preprocessed_sha256:
        return f"{case.file} is preprocessed to other pixels"
    wanted = np.asarray(case.probabilities, dtype=np.float32)
    if wanted.shape != (len(opened.labels),):
        return f"{case.file}: {len(wanted)} probabilities for {len(opened.labels)} classes"
    difference = float(np.abs(opened.answer(image) - wanted).max())
    if not difference <= tolerance:
        return f"{case.file}: probabilities differ by {difference:.2g}, allowed {tolerance:.0e}"
    return None

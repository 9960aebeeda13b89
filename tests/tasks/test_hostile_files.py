"""Every kind of fault is refused with its reason, every odd file is read, and neither costs memory, time or noise."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import pytest
from hostile_files import FAULTS, ODD, bomb_gif, bomb_tiff, bomb_webp, photo, scan_bomb, tiff
from image_files import bomb_png, encoded, noise, write, write_classes
from PIL import Image

from tasks.modalities.images import inspect
from tasks.params import Params, ValidateParams
from tasks.preprocess import UndecodableImage, read_header
from tasks.validate import check_data

RULES = ValidateParams()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faulty_file_is_refused_with_a_reason_that_a_person_understands(kind: str) -> None:
    _, make, reason = FAULTS[kind]
    found = inspect(make(3), RULES)
    assert re.search(reason, found.reason or "")
    assert "\n" not in (found.reason or "")
    assert "object at 0x" not in (found.reason or "")


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_is_read(kind: str) -> None:
    _, make = ODD[kind]
    found = inspect(make(3), RULES)
    assert (found.reason, len(found.pixels or b"")) == (None, 256)
    assert found.several_frames == (kind.startswith("deep"))


def test_of_a_deep_file_the_first_frame_is_read_and_no_frame_behind_the_second_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in ("GIF", "TIFF", "PNG"):
        pages = [noise(seed).quantize(8).convert("RGB") for seed in range(30)]
        data = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
        seen: list[int] = []
        cls = type(Image.open(io.BytesIO(data)))
        seek = cls._seek  # type: ignore[attr-defined]

        def watched(self: Image.Image, frame: int, *more: object, seek: object = seek, to: list[int] = seen) -> None:
            to.append(frame)
            seek(self, frame, *more)  # type: ignore[operator]

        monkeypatch.setattr(cls, "_seek", watched)
        found = inspect(data, RULES)
        assert (found.several_frames, found.pixels) == (True, inspect(encoded(pages[0]), RULES).pixels)
        assert max(seen, default=0) <= 1


@pytest.mark.parametrize("bomb", [bomb_png(), bomb_gif(), bomb_tiff(), bomb_webp(), scan_bomb(1, 5000)])
def test_a_bomb_costs_no_memory(bomb: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(UndecodableImage):
        read_header(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 + 2 * len(bomb)


def test_scans_are_counted_in_the_photo_alone() -> None:
    preview = b"\xff\xe1\x7f\xff" + (b"\xff\xda\0\x08" * 9000)[:0x7FFD]
    data = photo(1)
    assert inspect(data[:2] + preview + data[2:], RULES).reason is None
    assert inspect(data + b"\xff\xda\0\x08" * 500, RULES).reason is None
    assert "a JPEG of 510 scans" in (inspect(scan_bomb(1, 500), RULES).reason or "")


def test_whatever_a_decoder_raises_is_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(1))
    for error in (RecursionError("deep"), MemoryError(), ZeroDivisionError("by zero"), AssertionError("odd")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        reason = inspect(data, RULES).reason or ""
        assert reason.startswith("broken PNG data: ")
        assert ("more memory than there is" in reason) == isinstance(error, MemoryError)


def test_the_pixel_cap_of_params_can_be_no_higher_than_pillows_own() -> None:
    largest = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    assert ValidateParams(max_pixels=largest).max_pixels == largest
    with pytest.raises(ValueError, match="max_pixels"):
        ValidateParams(max_pixels=largest + 1)


def test_files_are_inspected_without_a_word_on_the_terminal_and_without_a_filter_left_behind(tmp_path: Path) -> None:
    """libtiff writes to file descriptor 2 past Python; catch_warnings in threads would leave warnings switched off."""
    for number in range(6):
        write(tmp_path / f"{number}.tif", FAULTS["garbled TIFF"][1](number))
        samples = {256: (9,), 257: (9,), 258: (8,), 259: (1,), 262: (2,), 277: (300 + number,), 278: (9,)}
        write(tmp_path / f"samples{number}.tif", tiff(samples, bytes(243)))
        write(tmp_path / f"{number}.jpg", FAULTS["cut JPEG"][1](number))
        write(tmp_path / f"odd{number}.jpg", ODD["malformed EXIF"][1](number))
    code = (
        "import sys, warnings; from pathlib import Path; from tasks.modalities.images import inspect_files\n"
        "from tasks.params import ValidateParams\n"
        "found = list(inspect_files(sorted(Path(sys.argv[1]).iterdir()), ValidateParams()))\n"
        "print(sum(one.reason is not None for one in found)); warnings.warn('still heard')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "18\n"
    assert ran.stderr.splitlines()[0].endswith("UserWarning: still heard")
    assert len(ran.stderr.splitlines()) == 1


def test_pillows_warnings_of_skipped_metadata_are_not_the_users(recwarn: pytest.WarningsRecorder) -> None:
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as at import; pytest sets filters of its own
    for kind in ("malformed EXIF", "stereo pair"):
        inspect(ODD[kind][1](1), RULES)
    assert not recwarn.list


def write_ten_thousand(root: Path) -> dict[str, str]:
    """10,000 files, 100 of each kind of fault; path -> pattern of the reason."""
    write_classes(root, {"cat": 1, "dog": 1})
    expected = {}
    for kind, (suffix, make, reason) in FAULTS.items():
        for number in range(100):
            path = f"{'cat' if number % 2 else 'dog'}/{kind} {number:03d}{suffix}"
            write(root / path, make(number))
            expected[path] = reason
    for number in range(10_000 - 2 - len(expected)):
        kind = list(ODD)[number % len(ODD)]
        suffix, make = ODD[kind]
        data = make(number + 2) if number < 10 * len(ODD) else encoded(noise(number + 2))
        write(root / ("cat" if number % 2 else "dog") / f"good {number}{suffix}", data)
    return expected


@pytest.mark.slow
def test_of_ten_thousand_files_every_faulty_one_is_named_with_its_reason_and_no_other(tmp_path: Path) -> None:
    expected = write_ten_thousand(tmp_path)
    report = check_data(tmp_path, Params(validate=ValidateParams(max_undecodable_share=0.5)))
    assert (report.listed, report.accepted) == (10_000, 10_000 - len(expected))
    named = {item.path: item.reason for item in report.quarantined}
    assert named.keys() == expected.keys()
    assert [(path, named[path]) for path, reason in expected.items() if not re.search(reason, named[path])] == []
    assert report.passed

"""A release folder: whole or refused, and opened with nothing but itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_workspace import picture

from tasks.digests import file_sha256
from tasks.errors import DataError, ReleaseError
from tasks.opened_release import golden_faults
from tasks.release import manifest_sha256, verify_release
from tasks.release_run import ReleaseRun
from tasks.workspace import Workspace

FILES = {
    "manifest.json",
    "model.onnx",
    "preprocess.json",
    "labels.json",
    "model_card.md",
    "golden/golden.json",
    "golden/alpha.png",
    "golden/cmyk.jpg",
    "golden/exif_rotated.jpg",
    "golden/grey.jpg",
    "golden/grey_16bit.png",
    "golden/odd_size.jpg",
    "golden/palette_alpha.png",
    "golden/tiny.png",
    "golden/wide.png",
}


@pytest.fixture
def release(finished: Workspace) -> Path:
    return finished.release


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_release_holds_exactly_the_stated_files_and_the_manifest_names_all_others(release: Path) -> None:
    present = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
    assert present == FILES
    assert verify_release(release).files.keys() == FILES - {"manifest.json"}


def test_the_manifests_digest_moves_with_every_files_content(release: Path) -> None:
    assert manifest_sha256(release) == file_sha256(release / "manifest.json")
    recorded = verify_release(release).files
    assert recorded == {name: file_sha256(release / name) for name in FILES - {"manifest.json"}}


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_one_flipped_bit_in_any_file_is_found(release: Path, name: str) -> None:
    data = bytearray((release / name).read_bytes())
    data[len(data) // 2] ^= 1
    (release / name).write_bytes(data)
    with pytest.raises(ReleaseError, match=rf"is damaged: {name} was altered or truncated$"):
        verify_release(release)


def add_fifo(release: Path) -> None:
    (release / "model.onnx").unlink()
    os.mkfifo(release / "model.onnx")


def link_out(release: Path) -> None:
    outside = release.parent / "outside.json"
    (release / "labels.json").rename(outside)
    (release / "labels.json").symlink_to(outside)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda release: (release / "model.onnx").unlink(), r"model\.onnx is missing"),
        (lambda release: (release / "golden" / "new.png").write_bytes(b""), r"golden/new\.png does not belong there"),
        (lambda release: (release / "link").symlink_to(release / "golden"), "link does not belong there"),
        (link_out, r"labels\.json was altered"),
        (add_fifo, r"model\.onnx was altered"),
    ],
)
def test_a_folder_that_is_not_exactly_the_release_is_refused(
    release: Path, damage: Callable[[Path], None], fault: str
) -> None:
    damage(release)
    with pytest.raises(ReleaseError, match=fault):
        verify_release(release)


def test_every_fault_is_named_at_once(release: Path) -> None:
    (release / "model.onnx").unlink()
    (release / "labels.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"model\.onnx is missing; labels\.json was altered or truncated"):
        verify_release(release)


def test_names_that_lead_out_of_the_folder_are_never_followed(release: Path) -> None:
    files = json.loads((release / "manifest.json").read_text())["files"]
    change_json(release / "manifest.json", files={**files, "../../params.yaml": "0"})
    with pytest.raises(ReleaseError, match=r"\.\./\.\./params\.yaml is missing"):
        verify_release(release)


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_a_folder_without_a_readable_manifest_is_no_release(release: Path, content: str) -> None:
    (release / "manifest.json").write_text(content)
    with pytest.raises(ReleaseError, match=r"is no release: .*manifest\.json"):
        verify_release(release)


def test_what_may_lie_beside_is_named_by_the_caller(release: Path) -> None:
    (release / "qualification.json").write_text("{}")
    assert verify_release(release, beside=("qualification.json",))
    with pytest.raises(ReleaseError, match=r"qualification\.json does not belong there"):
        verify_release(release)


# running it


def test_single_answers_equal_the_rows_of_a_batch_and_sum_to_one(release: Path, tmp_path: Path) -> None:
    run = ReleaseRun(release)
    files = [tmp_path / f"{seed}.png" for seed in range(5)]
    for seed, file in enumerate(files):
        picture("ember" if seed % 2 else "ocean", 700 + seed).save(file)
    rows = run.probabilities(files, [file_sha256(file) for file in files], batch_size=3, threads=2)
    assert rows.shape == (5, 2)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    for file, row in zip(files, rows, strict=True):
        np.testing.assert_array_equal(run.answer(run.preprocess.prepare(file.read_bytes())), row)


def test_a_file_that_is_not_the_one_that_was_tested_is_named(release: Path, tmp_path: Path) -> None:
    picture("ember", 1).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png changed after the data were validated"):
        ReleaseRun(release).probabilities([tmp_path / "a.png"], ["0" * 64])


def test_the_golden_files_are_answered_as_recorded(release: Path) -> None:
    assert golden_faults(ReleaseRun(release)) == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("preprocess.json", b"{", "cannot be opened"),
        ("preprocess.json", b"\xff", "cannot be opened"),
        ("labels.json", b'{"schema_version": 1}', r"cannot be opened: .*labels\.json"),
        ("labels.json", b'{"schema_version": 1, "labels": ["a"]}', "labels.json names 1 classes"),
        ("model.onnx", b"junk", r"model\.onnx is no graph that ONNX Runtime can open"),
        ("model.onnx", None, "cannot be opened"),
    ],
)
def test_a_release_whose_parts_do_not_fit_is_refused_when_it_is_opened(
    release: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is None:
        (release / name).unlink()
    else:
        (release / name).write_bytes(content)
    with pytest.raises(ReleaseError, match=complaint):
        ReleaseRun(release)


def test_a_crop_that_the_graph_does_not_take_is_refused_when_it_is_opened(release: Path) -> None:
    change_json(release / "preprocess.json", crop=31)
    with pytest.raises(ReleaseError, match=r"takes `image` \['batch', 32, 32, 3\], preprocess\.json crops to 31"):
        ReleaseRun(release)

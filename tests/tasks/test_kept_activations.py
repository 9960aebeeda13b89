"""Activations of a frozen prefix: what is read back is what the prefix computes; kills, damage and budgets."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from image_files import encoded, noise, write
from torch import nn

from tasks.digests import file_sha256
from tasks.errors import StageInputError
from tasks.params.training import FineTuneParams
from tasks.preprocess import Preprocess
from tasks.training import frozen_engine, kept_activations, sources
from tasks.training.activation_folders import forget_activations, in_use, is_in_use, items_of, make_room
from tasks.training.frozen_engine import for_inference
from tasks.training.kept_activations import (
    KeptExamples,
    keep_activations,
    one_torch_thread,
    shapes_of,
    size_of,
)
from tasks.training.pixels import PixelExamples
from tasks.training.prefix import split_network

PREPROCESS = Preprocess(resize=20, crop=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SETTINGS = FineTuneParams(augmentation="standard", views=3)
COUNT = 40
EACH = (4 * 14 * 14 + 4 * 14 * 14) * 4
"""Bytes of one variant of one item: two values cross."""


class Network(nn.Module):
    """Two frozen layers, each of which a trained one sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.last, self.other = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = self.norm(self.first(images))
        return (self.last(self.second(first)) + self.other(first)).mean((2, 3))


def parts() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    body = Network().eval()
    nn.init.uniform_(body.norm.running_mean), nn.init.uniform_(body.norm.running_var, 0.5, 2.0)
    prefix, suffix = split_network(body, {"last.weight", "other.weight"}, PREPROCESS.crop)
    assert prefix is not None
    return prefix, suffix


def pixels(folder: Path, settings: FineTuneParams = SETTINGS, count: int = COUNT, threads: int = 1) -> PixelExamples:
    files = [folder / "images" / f"{place}.png" for place in range(count)]
    for place, file in enumerate(files):
        if not file.exists():
            write(file, encoded(noise(place, 26, 22)))
    return PixelExamples(files, [file_sha256(file) for file in files], PREPROCESS, settings, threads)


def kept(folder: Path, settings: FineTuneParams = SETTINGS, threads: int = 1) -> KeptExamples:
    found = keep_activations(pixels(folder, settings), parts()[0], folder / "kept", settings, threads)
    assert found is not None
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "kept").glob("*/*.f32")}


def test_what_is_read_is_what_the_prefix_computes_bit_for_bit(tmp_path: Path) -> None:
    found, images, network = kept(tmp_path), pixels(tmp_path), for_inference(parts()[0])
    chunk = np.arange(16, 32)
    with torch.inference_mode(), one_torch_thread():
        for values, read in (
            (images.plain(chunk), found.plain(chunk)),
            (images.inputs(chunk, 1), found.inputs(chunk, 1)),
            (images.inputs(chunk, 3), found.inputs(chunk, 3)),
        ):
            computed = network(values[0].to(memory_format=torch.channels_last))
            assert len(computed) == len(read) == 2
            assert all(torch.equal(one, other) for one, other in zip(computed, read, strict=True))
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in read)


def test_the_upper_part_gives_the_networks_features_from_them(tmp_path: Path) -> None:
    prefix, suffix = parts()
    found, images, rows = kept(tmp_path), pixels(tmp_path), np.array([39, 0, 17, 17, 16])
    with torch.no_grad():
        for epoch in (1, 2, 3):
            expected = suffix(*prefix(*images.inputs(rows, epoch)))
            torch.testing.assert_close(suffix(*found.inputs(rows, epoch)), expected, rtol=1e-4, atol=1e-5)
        expected = suffix(*prefix(*images.plain(rows)))
        torch.testing.assert_close(suffix(*found.plain(rows)), expected, rtol=1e-4, atol=1e-5)


def test_variants_come_round_again_and_without_augmentation_there_is_one(tmp_path: Path) -> None:
    found, rows = kept(tmp_path), np.arange(COUNT)
    first, second, third, fourth = (found.inputs(rows, epoch)[0] for epoch in (1, 2, 3, 4))
    assert torch.equal(first, fourth)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    plain = kept(tmp_path, SETTINGS.model_copy(update={"augmentation": "none"}))
    assert plain.views == 0
    assert torch.equal(plain.inputs(rows, 7)[1], plain.plain(rows)[1])
    assert torch.equal(plain.plain(rows)[0], found.plain(rows)[0])


def test_no_thread_count_changes_a_byte(tmp_path: Path) -> None:
    kept(tmp_path, threads=1)
    one = files_of(tmp_path)
    for folder in (tmp_path / "kept").iterdir():
        for file in folder.iterdir():
            file.unlink()
    kept(tmp_path, threads=3)
    assert files_of(tmp_path) == one
    assert len(one) == 3


def test_a_second_run_computes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path)
    assert "frozen part of 40 of 40 items to compute, 4 times each" in capsys.readouterr().err
    before = files_of(tmp_path)
    kept(tmp_path)
    assert "to compute" not in capsys.readouterr().err
    assert files_of(tmp_path) == before


def test_damaged_activations_are_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path)
    before = files_of(tmp_path)
    first, second, third = sorted((tmp_path / "kept").glob("*/*.f32"))
    first.write_bytes(first.read_bytes()[:-4] + b"\0\0\0\1")
    os.truncate(second, 100)
    third.with_name("000002-draft.f32").write_bytes(b"")
    capsys.readouterr()
    kept(tmp_path)
    said = capsys.readouterr().err
    assert said.count("are damaged; they are computed again") == 3
    assert "frozen part of 32 of 40 items" in said
    assert files_of(tmp_path) == before


def test_what_is_cut_short_while_it_is_in_use_is_never_read_as_numbers(tmp_path: Path) -> None:
    found = kept(tmp_path)
    os.truncate(sorted(found.folder.glob("*.f32"))[1], 100)
    found.plain(np.array([0, 39]))
    with pytest.raises(StageInputError, match=r"000001-\w+\.f32 ends early; run `graft adapt` again"):
        found.plain(np.array([0, 20]))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import tasks.training.kept_activations as module
from test_kept_activations import kept
written, write = [], module.write_bytes

def killed(path, data):
    if path.suffix == ".f32" and len(written) == 2:
        path.with_name("." + path.name + ".draft").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(path) if path.suffix == ".f32" else None
    write(path, data)

module.write_bytes = killed
kept(Path({folder!r}))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = KILLED.format(paths=sys.path, folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert len(files_of(tmp_path)) == 2
    kept(tmp_path)
    assert "frozen part of 8 of 40 items to compute" in capsys.readouterr().err
    undisturbed = tmp_path / "undisturbed"
    kept(undisturbed)
    assert files_of(tmp_path) == files_of(undisturbed)


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        run, calls = frozen_engine._run, iter(range(100))

        def interrupted(network: nn.Module, images: torch.Tensor) -> np.ndarray:
            if next(calls) == 6:  # in the middle of the second chunk
                raise KeyboardInterrupt
            return run(network, images)

        patch.setattr(frozen_engine, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept(tmp_path)
    first = files_of(tmp_path)
    found = {name.split("-")[0] for name in first}
    assert "000000" in found
    assert "000001" not in found
    capsys.readouterr()
    kept(tmp_path)
    assert f"frozen part of {16 if '000002' in found else 24} of 40 items to compute" in capsys.readouterr().err
    assert first.items() <= files_of(tmp_path).items()
    assert len(files_of(tmp_path)) == 3


@pytest.mark.parametrize(("variants", "views"), [(4.5, 3), (4, 3), (3.9, 2), (2, 1), (1.9, None), (0, None)])
def test_the_disk_that_it_may_take_decides_how_many_variants_are_kept(
    tmp_path: Path, variants: float, views: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS.model_copy(update={"frozen_cache_gb": variants * EACH * COUNT / 1e9})
    found = keep_activations(pixels(tmp_path, settings), parts()[0], tmp_path / "kept", settings)
    said = capsys.readouterr().err
    if views is None:
        assert found is None
        assert "the frozen part is computed in every epoch: keeping it takes 0.0 GB for 3 variants of 40 items" in said
        assert not (tmp_path / "kept").exists()
        return
    assert found is not None
    assert found.views == views
    assert (f"{views} variants of each image are kept" in said) == (views < 3)
    written = sum(len(data) for data in files_of(tmp_path).values())
    assert written == size_of(COUNT, shapes_of(parts()[0], 16), views) <= variants * EACH * COUNT


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"views": 2}, {"horizontal_flip": False}, {"augmentation": "light"}, {"augmentation": "none"}],
)
def test_other_variants_have_a_folder_of_their_own(tmp_path: Path, change: dict[str, object]) -> None:
    first, other = kept(tmp_path), kept(tmp_path, SETTINGS.model_copy(update=change))
    assert first.folder != other.folder
    assert kept(tmp_path, SETTINGS.model_copy(update={"epochs": 99, "learning_rate": 0.5})).folder == first.folder


def test_other_weights_or_items_have_a_folder_of_their_own(tmp_path: Path) -> None:
    first, (prefix, _) = kept(tmp_path), parts()
    fewer = keep_activations(pixels(tmp_path, count=39), prefix, tmp_path / "kept", SETTINGS)
    with torch.no_grad():
        next(prefix.parameters()).add_(1e-3)
    moved = keep_activations(pixels(tmp_path), prefix, tmp_path / "kept", SETTINGS)
    assert fewer is not None
    assert moved is not None
    assert len({first.folder, fewer.folder, moved.folder}) == 3


def test_activations_used_longest_ago_make_room(tmp_path: Path) -> None:
    for place, name in enumerate(("old", "newer", "newest", "mine")):
        write(tmp_path / name / "000000-x.f32", bytes(100))
        os.utime(tmp_path / name, (place, place))
    make_room(tmp_path, "mine", 250)
    assert {folder.name for folder in tmp_path.iterdir()} == {"newer", "newest", "mine"}
    make_room(tmp_path, "mine", -1)
    assert {folder.name for folder in tmp_path.iterdir()} == {"mine"}


def test_activations_in_use_stay_until_their_reader_is_gone(tmp_path: Path) -> None:
    found = kept(tmp_path)
    folder, rows = found.folder, np.arange(COUNT)
    before = found.plain(rows)
    assert is_in_use(folder)
    make_room(folder.parent, "other", 0)
    assert torch.equal(found.plain(rows)[0], before[0])
    del found
    assert not is_in_use(folder)
    make_room(folder.parent, "other", 0)
    assert not folder.exists()


def test_a_folder_that_is_removed_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "key", fcntl.flock
    write(folder / "items.json", b"[]")

    def removed_meanwhile(file: IO[bytes], how: int) -> None:
        monkeypatch.setattr("tasks.training.activation_folders.fcntl.flock", lock)
        shutil.rmtree(folder)
        lock(file, how)

    monkeypatch.setattr("tasks.training.activation_folders.fcntl.flock", removed_meanwhile)
    with in_use(folder, ["a"]):
        assert items_of(folder) == {"a"}
        assert is_in_use(folder)
    assert not is_in_use(folder)


def test_forgotten_items_leave_no_activations(tmp_path: Path) -> None:
    kept(tmp_path)
    item = pixels(tmp_path).contents[7]
    assert forget_activations(tmp_path / "nowhere", [item]) == 0
    assert forget_activations(tmp_path / "kept", ["00" * 32]) == 0
    assert files_of(tmp_path)
    assert forget_activations(tmp_path / "kept", [item]) == 1
    assert not files_of(tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_many_images_are_computed_by_onnx_runtime_or_by_torch_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    rows, by_torch = np.array([39, 3, 20]), kept(tmp_path)
    monkeypatch.setattr(frozen_engine, "EXPORT_PAYS_FROM", COUNT * 4)
    if fails:
        monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
    found = kept(tmp_path, threads=2)
    assert found.folder != by_torch.folder
    assert ("cannot be exported (ZeroDivisionError" in capsys.readouterr().err) == fails
    assert not list(found.folder.glob("*.onnx"))
    for one, other in zip(found.inputs(rows, 2), by_torch.inputs(rows, 2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    same = files_of(tmp_path)
    assert kept(tmp_path, threads=1).folder == found.folder
    assert files_of(tmp_path) == same


@pytest.mark.parametrize("name", ["augmentation", "pixels", "prefix", "frozen_engine", "kept_activations"])
def test_activations_of_other_code_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, read = kept(tmp_path).folder, sources.file_sha256
    assert kept(tmp_path).folder == before
    monkeypatch.setattr(sources, "file_sha256", lambda path: "0" if path.name == f"{name}.py" else read(path))
    assert kept(tmp_path).folder != before


def test_no_more_variants_are_computed_than_epochs_and_passes_read(tmp_path: Path) -> None:
    assert kept(tmp_path, SETTINGS.model_copy(update={"epochs": 1, "passes": 2})).views == 2
    assert kept(tmp_path, SETTINGS.model_copy(update={"epochs": 1, "passes": 4})).views == 3


@pytest.mark.parametrize("call", ["write_bytes", "in_use", "make_room"])
def test_a_disk_that_takes_nothing_is_told_once_and_the_prefix_runs_in_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_activations, call, refuse)
    assert keep_activations(pixels(tmp_path), parts()[0], tmp_path / "kept", SETTINGS, 2) is None
    told = capsys.readouterr().err
    assert told.count("computed in every epoch") == 1
    assert "No space left on device" in told
    assert not list(tmp_path.glob("kept/*"))
    monkeypatch.undo()
    assert kept(tmp_path).views == SETTINGS.views

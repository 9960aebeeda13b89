"""Thumbnails: small, upright, of the pixels alone, only of the validated content, and never an error."""

from __future__ import annotations

import hashlib
import io
import os
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from image_files import bomb_png, encoded, noise, write
from PIL import Image

from tasks.params import ValidateParams
from tasks.plots.thumbnails import Thumbnail, Wanted, make_thumbnail, make_thumbnails

RULES = ValidateParams()
ORIENTATION, COPYRIGHT = 0x0112, 0x8298


def made(path: Path, data: bytes, rules: ValidateParams = RULES) -> Thumbnail:
    write(path, data)
    return make_thumbnail(path, hashlib.sha256(data).hexdigest(), rules)


def decoded(thumbnail: Thumbnail) -> Image.Image:
    kind, _, body = thumbnail.uri.partition(";base64,")
    assert kind == "data:image/jpeg"
    return Image.open(io.BytesIO(b64decode(body)))


def test_the_longest_side_is_160_pixels_and_the_shape_stays(tmp_path: Path) -> None:
    wide = decoded(made(tmp_path / "a.jpg", encoded(noise(1, 640, 320), "JPEG")))
    assert wide.size == (160, 80)
    small = made(tmp_path / "b.png", encoded(noise(2, 20, 10)))
    assert (small.width, small.height) == decoded(small).size == (20, 10)


def test_the_orientation_is_applied_and_nothing_else_of_the_file_is_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[COPYRIGHT] = 6, "Ada Lovelace"
    photo = Image.new("RGB", (640, 320), "navy")
    photo.paste("red", (0, 0, 320, 320))
    data = encoded(photo, "JPEG", exif=exif, comment=b"at home", icc_profile=b"profile of a camera")
    shown = decoded(made(tmp_path / "a.jpg", data))
    assert shown.size == (80, 160)
    top, bottom = (np.asarray(shown.convert("RGB"))[row, 40] for row in (20, 140))
    assert top[0] > 200
    assert bottom[2] > 90
    assert not shown.getexif()
    assert not {"icc_profile", "comment"} & set(shown.info)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bomb_png(), "pixels, more than the"),
        (encoded(noise(3, 200, 200))[:500], "broken PNG data"),
        (b"<html>", "not an image of an allowed format"),
        (b"", "empty file"),
        (encoded(Image.new("L", (9000, 9000))), "more than the 40000000 allowed"),
    ],
)
def test_a_hostile_file_gives_a_reason_and_no_picture(tmp_path: Path, data: bytes, says: str) -> None:
    thumbnail = made(tmp_path / "a.png", data)
    assert thumbnail.uri == ""
    assert says in thumbnail.reason


def test_the_door_s_own_limits_hold(tmp_path: Path) -> None:
    strict = ValidateParams(formats=["JPEG"], max_pixels=100)
    assert "not an image of an allowed format" in made(tmp_path / "a.png", encoded(noise(4)), strict).reason
    assert "more than the 100 allowed" in made(tmp_path / "b.jpg", encoded(noise(4), "JPEG"), strict).reason


def test_what_is_not_the_validated_file_any_more_is_not_shown(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    write(photo, encoded(noise(5)))
    changed = make_thumbnail(photo, "0" * 64, RULES)
    assert (changed.uri, changed.reason) == ("", "the file is not the one that was validated")
    assert "cannot be read" in make_thumbnail(tmp_path / "gone.png", "0" * 64, RULES).reason
    assert "cannot be read" in make_thumbnail(tmp_path / "a\0b.png", "0" * 64, RULES).reason
    (tmp_path / "link.png").symlink_to(photo)
    content = hashlib.sha256(photo.read_bytes()).hexdigest()
    assert make_thumbnail(tmp_path / "link.png", content, RULES).uri == ""


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert make_thumbnail(tmp_path / "a.png", "0" * 64, RULES).uri == ""


def test_the_budget_counts_a_picture_as_often_as_it_is_shown(tmp_path: Path) -> None:
    wanted = []
    for number in range(3):
        data = encoded(noise(number, 100, 100), "JPEG")
        write(tmp_path / f"{number}.jpg", data)
        wanted.append(Wanted(f"{number}.jpg", hashlib.sha256(data).hexdigest()))
    whole = make_thumbnails(tmp_path, wanted, RULES)
    sizes = [len(whole[item.path].uri) for item in wanted]
    assert min(sizes) > 1000
    budget = 2 * sizes[0] + sizes[1]
    kept = make_thumbnails(tmp_path, [wanted[0], wanted[1], wanted[0], wanted[2]], RULES, most_bytes=budget)
    assert [bool(kept[item.path].uri) for item in wanted] == [True, True, False]
    assert kept["2.jpg"].reason == "left out to keep the page small"

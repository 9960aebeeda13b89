"""A broken TIFF is told of by the error alone."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from tasks.decoding import UndecodableImage, decode_rgb
from tasks.libtiff_messages import silence_libtiff

BARE = "import io, sys; from PIL import Image; Image.open(io.BytesIO(sys.stdin.buffer.read())).load()"


def broken_tiff() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    for place in range(60, 400):
        data[place] = 0xFF
    return bytes(data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the library is found by Linux's /proc")
def test_nothing_is_written_to_stderr_for_a_broken_tiff(capfd: pytest.CaptureFixture[str]) -> None:
    assert silence_libtiff()
    with pytest.raises(UndecodableImage, match="broken TIFF data"):
        decode_rgb(broken_tiff())
    assert capfd.readouterr().err == ""


def test_without_it_pillow_lets_libtiff_write(tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", BARE], input=broken_tiff(), capture_output=True, check=False)
    assert done.returncode != 0
    assert b"tempfile.tif" in done.stderr

"""Applications over releases made in code, and photos to send them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image

from deploy.app import make_app
from deploy.settings import Settings
from tasks.params import ServeParams


def app_of(release: Path, **serve: Any) -> FastAPI:
    """The application over a release folder; `serve` are params of that section."""
    return make_app(settings_of(release, **serve))


def settings_of(release: Path, **serve: Any) -> Settings:
    return Settings(ServeParams.model_validate(serve), release.parent, release)


def png(height: int = 40, width: int = 40, seed: int = 0) -> bytes:
    """A photo of random colours as PNG."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

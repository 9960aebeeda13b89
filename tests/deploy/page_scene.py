"""The page in a headless Chromium: how a test opens it, gives it files and reads what it says."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from browser import Page, chromium
from small_release import make_release, photo, seal
from starlette.responses import JSONResponse

from tasks.opened_release import OpenedRelease

HOSTILE = "<img src=x onerror='document.title=1'>"
LABELS = [HOSTILE, "meadow", "ocean"]
CARD = f"# {HOSTILE}\n\n<script>document.title = 1</script> of `{HOSTILE}`\n\n| a |\n|---|\n| {HOSTILE} |\n"
SHOWN = "!document.getElementById('release').hidden"
ANSWERED = "document.querySelectorAll('#answer .bars .value').length"


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own; skips where there is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with chromium(folder, port) as page:
        yield page


def hostile_release(folder: Path) -> Path:
    """A release whose labels and card try to become markup."""
    make_release(folder, labels=LABELS)
    (folder / "model_card.md").write_text(CARD, encoding="utf-8")
    seal(folder)
    return folder


def opened(page: Page, address: str, width: int = 1280, dark: bool = False) -> None:
    """Load the page anew at a width in CSS pixels; below 600 it is a phone."""
    phone = width < 600
    page.command(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=2 if phone else 1, mobile=phone
    )
    page.command("Emulation.setTouchEmulationEnabled", enabled=phone)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.command("Emulation.setEmulatedMedia", features=[scheme])
    page.command("Page.navigate", url=address)
    page.wait(SHOWN)


def choose(page: Page, *files: Path, field: str = "files") -> None:
    root = page.command("DOM.getDocument")["root"]["nodeId"]
    node = page.command("DOM.querySelector", nodeId=root, selector=f"#{field}")["nodeId"]
    page.command("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)


def drop(page: Page, file: Path) -> None:
    """Drag a file over the middle of the window and let it go."""
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.command("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)


def bars(page: Page) -> dict[str, str]:
    """What the stage says: label to percent, in their order."""
    rows = "[...document.querySelectorAll('#answer .bars li:not(.rest)')]"
    inside = "[li.querySelector('.label').textContent, li.querySelector('.value').textContent]"
    return dict(page.value(f"{rows}.map(li => {inside})"))


def put(folder: Path, name: str, seed: int = 1) -> Path:
    file = folder / name
    file.write_bytes(photo(seed, 90, 60))
    return file


def expected(release: Path, file: Path) -> dict[str, float]:
    opened = OpenedRelease(release)
    answer = opened.answer(opened.preprocess.prepare(file.read_bytes()))
    return {opened.labels[place]: float(answer[place]) for place in np.argsort(-answer, kind="stable")}


def agrees(shown: dict[str, str], probabilities: dict[str, float]) -> bool:
    """Whether the bars are the answer, each to a tenth of a percent."""
    near = {"<0.1%": (0.0, 0.0005), ">99.9%": (0.9995, 1.0)}
    numbers = {text: float(text.strip("<>%")) / 100 for text in shown.values()}
    bounds = [near.get(text) or (numbers[text] - 6e-4, numbers[text] + 6e-4) for text in shown.values()]
    inside = [low <= value <= high for (low, high), value in zip(bounds, probabilities.values(), strict=True)]
    return list(shown) == list(probabilities) and all(inside)


def contrast(page: Page, element: str) -> float:
    """WCAG 2 contrast of an element's text against the nearest ground that is not transparent."""
    colours = page.value(
        f"(() => {{ let e = document.querySelector({json.dumps(element)}); const ink = getComputedStyle(e).color;"
        "let ground; do { ground = getComputedStyle(e).backgroundColor; e = e.parentElement; }"
        " while (ground === 'rgba(0, 0, 0, 0)'); return [ink, ground]; })()"
    )
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


class Troubled:
    """An application before which something stands that refuses the first photos with a status."""

    def __init__(self, app: Any, status: int, times: int, **headers: str) -> None:
        self.app, self.status, self.times, self.headers = app, status, times, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict" or self.times == 0:
            await self.app(scope, receive, send)
            return
        self.times -= 1
        error = {"error": {"code": "x", "message": f"words of {self.status}", "request_id": "r-1"}}
        await JSONResponse(error, self.status, self.headers)(scope, receive, send)

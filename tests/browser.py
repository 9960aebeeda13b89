"""A headless Chromium as a person uses it: pages, clicks, keys, what the page says. Chrome DevTools Protocol only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")


@dataclass
class Page:
    """The one tab of the browser."""

    connection: ClientConnection
    number: int = 0

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.connection.recv(timeout=60))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives; None where it throws."""
        answer = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return None if "exceptionDetails" in answer else answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.value(expression):
                return found
            time.sleep(0.3)
        raise AssertionError(f"{expression} did not come true; the page says:\n{self.text()[:4000]}")

    def open(self, address: str) -> None:
        self.command("Page.navigate", url=address)

    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def says(self, words: str, seconds: float = 60.0) -> None:
        self.wait(f"document.body.innerText.includes({json.dumps(words)})", seconds)

    def no_longer_says(self, words: str, seconds: float = 60.0) -> None:
        self.wait(f"!document.body.innerText.includes({json.dumps(words)})", seconds)

    def click(self, element: str, seconds: float = 30.0) -> None:
        """Click the middle of what an expression gives, once it is there and stands still."""
        place = "(() => {const e = %s; e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
        place = f"{place} return [r.x + r.width / 2, r.y + r.height / 2]}})()" % element
        self.wait(place, seconds)
        time.sleep(0.4)
        x, y = self.value(place)
        for kind, button in (("mouseMoved", "none"), ("mousePressed", "left"), ("mouseReleased", "left")):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def fill(self, element: str, text: str) -> None:
        """Write into a field instead of what stands there."""
        self.click(element)
        self.value(f"{element}.select()")
        self.command("Input.insertText", text=text)

    def shot(self, file: Path) -> None:
        import base64

        file.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(folder: Path, port: int) -> Iterator[Page]:
    """A browser of its own; skips where there is none."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    options = [*FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={folder}", "--window-size=1500,1100"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([program, *options, "about:blank"], start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        with connect(_tab(port), max_size=None, proxy=None) as connection:
            page = Page(connection)
            page.command("Page.enable")
            page.command("Runtime.enable")
            yield page
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tab(port: int) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
            for tab in json.loads(answer.read()):
                if tab["type"] == "page":
                    return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.2)
    raise AssertionError("Chromium did not start")

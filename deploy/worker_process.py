"""One of several workers: told what to serve on stdin, and ends when stdin does, which is when its parent ends.

python -m deploy.worker_process        (started by deploy/workers.py)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from deploy.listening import inherited
from deploy.load_board import Place
from deploy.request_log import configure_logging
from deploy.serving import Serving
from deploy.worker_order import Order
from tasks.errors import GraftError


class Lifeline:
    """Watches stdin in a thread: it ends when the parent does, however that ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._serving: Serving | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def hold(self, serving: Serving) -> None:
        """From now on the end of the parent ends this, in its own time."""
        with self._lock:
            self._serving = serving

    def _watch(self) -> None:
        while os.read(0, 65536):
            pass
        shutil.rmtree(self._folder, ignore_errors=True)
        with self._lock:
            if self._serving is None or not self._serving.abandon_from_thread():
                os._exit(1)


def report(fields: dict[str, Any]) -> None:
    """One line for the parent."""
    os.write(1, json.dumps(fields).encode() + b"\n")


def main() -> None:
    """Serve as told; a fault that the user can mend is reported to the parent, who says it once."""
    order = Order.from_line(_first_line())
    lifeline = Lifeline(order.folder)
    configure_logging(order.settings.serve.log_format)
    sock = inherited(order.descriptor)
    try:
        serving = Serving(order.settings, sock, Place(order.board(), order.number))
    except GraftError as err:
        report({"fault": str(err)})
        sys.exit(1)
    lifeline.hold(serving)
    model = serving.model
    served = {"model": model.name, "version": model.version, "digest": model.digest}
    serving.run(lambda: report({"ready": served}))


def _first_line() -> bytes:
    """Read without a buffer: the thread reads on from there."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            sys.exit(1)
        line += part
    return line


if __name__ == "__main__":
    main()

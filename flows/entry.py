"""The console script `graft`: the server is another program than the pipeline, and each installs without the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

SERVE = "serve"
OURS = ("deploy", "flows", "tasks")


def main() -> None:
    """`graft serve ...` becomes the server's process; every other command is the pipeline's."""
    arguments = sys.argv[1:]
    if arguments[:1] == [SERVE]:
        start_server(arguments[1:])
    try:
        from flows.cli import main as pipeline
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] in OURS:
            raise
        command = f"`graft {arguments[0]}`" if arguments and not arguments[0].startswith("-") else "the pipeline"
        sys.exit(f"graft: {command} needs {err.name}: pip install 'graft[pipeline]' (`graft serve` works without)")
    pipeline()


def start_server(arguments: Sequence[str]) -> NoReturn:
    """Become `python -m deploy.server`: signals and the exit code are the server's own.

    -P: a folder named deploy or tasks where the caller stands is not taken for Graft's.
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "deploy.server", *arguments])


if __name__ == "__main__":
    main()

"""Serve a release over HTTP: python -m deploy.server [--release DIR] [--host H] [--port N]."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvicorn

from deploy.app import make_app
from deploy.model import load_model
from deploy.settings import read_settings
from tasks.errors import GraftError
from tasks.reports.prod_pointer import ProdPointer


def main() -> None:
    """The command; a user's mistake ends in one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="graft serve", description=__doc__)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    try:
        here = Path("params.yaml")
        settings = read_settings(here if here.is_file() else None, os.environ)
        folder, version = arguments.release or settings.release, None
        if folder is None:
            prod = ProdPointer.read(settings.store / "prod")
            folder, version = settings.store / prod.manifest_sha256, str(prod.version)
        model = load_model(folder, version)
    except GraftError as err:
        sys.exit(f"graft: {err}")
    host, port = arguments.host or settings.serve.host, arguments.port or settings.serve.port
    uvicorn.run(make_app(settings, model), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()

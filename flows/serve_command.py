"""`graft serve` among the other commands; the server is a program of its own."""

from __future__ import annotations

import typer

from flows.entry import start_server

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}


def serve(context: typer.Context) -> None:
    """Answer images over HTTP by the release in production; `graft serve --help` has its options."""
    start_server(context.args)

"""`graft serve` in the list of commands; flows/entry.py starts the server before this is read."""

from __future__ import annotations

import typer

from flows.entry import start_server

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def serve(context: typer.Context) -> None:
    """Serve the release in production over HTTP; `graft serve --help` shows its options."""
    start_server(context.args)


def add_serve_command(app: typer.Typer) -> None:
    """Have the app know it."""
    app.command(context_settings=PASSED_ON)(serve)

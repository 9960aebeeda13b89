"""The data page, reports/validation.html."""

from __future__ import annotations

from html import escape

from tasks.params import Params
from tasks.reports import ValidationReport, write_bytes
from tasks.workspace import Workspace


def write_validation_page(workspace: Workspace, params: Params, *, reviewed: bool) -> None:
    """Write reports/validation.html from what validate found, and split and review where they are done."""
    report = ValidationReport.read(workspace.validation)
    lines = [f"{report.listed} items, {report.accepted} accepted", *report.reasons]
    text = "<!doctype html><meta charset=utf-8><title>The data</title>" + "".join(f"<p>{escape(one)}" for one in lines)
    write_bytes(workspace.validation_page, text.encode())

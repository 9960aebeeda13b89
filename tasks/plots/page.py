"""What both pages share: the frame, the style sheet, the filters, and the policy that nothing is loaded from elsewhere.

A page is one HTML file from a Jinja2 template. It holds no script; labels, paths and reasons are data and escaped
wherever they stand. Equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.plots import number_text
from tasks.plots.thumbnails import Thumbnail
from tasks.reports import ClassScore

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
Pictures = Mapping[str, Thumbnail] | None
"""Thumbnails by path; None where params say that no image may stand on a page."""


def render(template: str, pictures: Pictures, context: Mapping[str, Any], filters: Mapping[str, Any]) -> str:
    """A page as text, from a template of this folder."""
    from markupsafe import Markup

    style = (HERE / "page.css").read_text(encoding="utf-8")
    style_hash = f"sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
    environment = _environment()
    environment.filters |= filters
    # Globals, because macros that are imported from another file see those and nothing else.
    environment.globals |= {"pictures": pictures}
    return environment.get_template(template).render(style=Markup(style), style_hash=style_hash, **context)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ratio": number_text.ratio_text,
        "signed": number_text.signed_text,
        "count": number_text.count_text,
        "counted": number_text.counted_text,
        "strength": number_text.strength_text,
        "interval": number_text.interval_text,
        "signed_interval": number_text.signed_interval_text,
        "recall_interval": _recall_interval,
        "breakable": _breakable,
        "sentence": _sentence,
        "side": lambda side: side.replace("_", " ").capitalize(),
    }
    return environment


def _breakable(name: str) -> Any:
    """A key that may wrap after its dots and underscores, which a phone needs."""
    from markupsafe import Markup, escape

    return Markup(str(escape(name)).replace("_", "_<wbr>").replace(".", ".<wbr>"))


def _sentence(text: str) -> str:
    """Text with a capital at its start."""
    return text[:1].upper() + text[1:]


def _recall_interval(score: ClassScore) -> str:
    low, high = number_text.ratio_text(score.recall_low), number_text.ratio_text(score.recall_high)
    return f"{low}{number_text.EN_DASH}{high}"

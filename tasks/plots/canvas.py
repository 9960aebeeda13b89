"""A matplotlib figure as inline SVG in the page's own colours and type, so that it follows light, dark and print.

Text stays text. Words that are data (class names) never reach matplotlib: it places a token, and the escaped word takes
the token's place, so no name is read as mathematics, changes the layout or asks for a font. Sizes are CSS pixels.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width
from xml.etree import ElementTree

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

INK, QUIET, LINE, OURS, OTHER, MISS, REFUSE, CARD = (f"#0a0b{place:02x}" for place in range(8))
"""Stand-ins for the style sheet's colours while matplotlib draws."""

VARIABLES = dict(
    zip(
        (INK, QUIET, LINE, OURS, OTHER, MISS, REFUSE, CARD),
        ("text", "quiet", "line", "ours", "other", "miss4", "refuse", "card"),
        strict=True,
    )
)
WIDTH = 340
"""Of every drawing: what a phone has, so that text is as large there as on a desk."""

FONT_SIZE = 12
_POINTS_PER_INCH = 72
_KEPT = (
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "stroke-opacity",
    "opacity",
    "text-anchor",
    "font-weight",
)
_TOKEN = re.compile(r"~(\d+)~")
_XLINK = "{http://www.w3.org/1999/xlink}href"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.dpi": _POINTS_PER_INCH,
    "savefig.dpi": _POINTS_PER_INCH,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "lines.solid_capstyle": "butt",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.bottom": False,
    "ytick.left": False,
    "hatch.color": CARD,
}


class Drawing:
    """One chart under way: draw on `axes`, hand every word that is data to `word`, then take `svg`."""

    def __init__(self, axes: Axes, size: tuple[int, int]) -> None:
        self.axes, self.size = axes, size
        self._words: list[tuple[str, str]] = []

    def word(self, text: str, most: int = 18) -> str:
        """A token for a text, shown about `most` letters wide and whole where the pointer rests."""
        clean = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
        self._words.append((_clipped(clean, most), clean))
        return f"~{len(self._words) - 1}~"

    def svg(self, label: str) -> Markup:
        """The drawing; `label` says in words what it shows."""
        from markupsafe import Markup, escape

        buffer = io.StringIO()
        figure: Any = self.axes.figure
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        root = ElementTree.fromstring(buffer.getvalue())
        body = "".join(self._element(child) for child in root)
        width, height = self.size
        head = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        return Markup(f"{head}{body}</svg>")

    def _element(self, element: ElementTree.Element) -> str:
        """Paths, texts and what holds them; style rules become attributes, which the page's policy allows."""
        kind = element.tag.rpartition("}")[2]
        if kind in ("metadata", "style", "clipPath"):
            return ""
        if kind in ("g", "defs"):
            inner = "".join(self._element(child) for child in element)
            return self._group(kind, element.get("id", ""), inner) if inner else ""
        attributes = _presented(element)
        if kind == "path" and attributes.get("fill") == "none" and "stroke" not in attributes:
            return ""
        if kind == "text":
            return f"<text{_written(attributes)}>{self._said(element.text or '')}</text>"
        return f"<{kind}{_written(attributes)}/>"

    def _group(self, kind: str, name: str, inner: str) -> str:
        """Definitions stay; of groups only those that a token names, which becomes their title."""
        from markupsafe import escape

        token = _TOKEN.fullmatch(name)
        if token:
            return f"<g><title>{escape(self._words[int(token[1])][1])}</title>{inner}</g>"
        return f"<defs>{inner}</defs>" if kind == "defs" else inner

    def _said(self, text: str) -> str:
        from markupsafe import escape

        token = _TOKEN.fullmatch(text)
        if token is None:
            return str(escape(text))
        short, whole = self._words[int(token[1])]
        return f"{escape(short)}<title>{escape(whole)}</title>" if short != whole else str(escape(short))


@contextmanager
def drawing(name: str, height: int, box: tuple[float, float, float, float]) -> Iterator[Drawing]:
    """A figure of WIDTH x `height` with one pair of axes.

    Args:
        name: of the chart, one of its own on a page: it makes the names inside the SVG.
        box: left, top, right and bottom margin of the axes, pixels.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, top, right, bottom = box
    with matplotlib.rc_context():
        # What a matplotlibrc of the user or of the folder says must not change the page.
        matplotlib.rcdefaults()
        style: Any = {**_STYLE, "svg.hashsalt": name}
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
        FigureCanvasSVG(figure)
        axes = figure.add_axes(
            (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        )
        yield Drawing(axes, (WIDTH, height))


def _clipped(text: str, most: int) -> str:
    """The start of a text that is too long; a Chinese or Japanese sign is as wide as two letters."""
    widths = list(accumulate(2 if east_asian_width(mark) in "WF" else 1 for mark in text))
    if not widths or widths[-1] <= most:
        return text
    return f"{text[: sum(width < most for width in widths)]}…"


def _presented(element: ElementTree.Element) -> dict[str, str]:
    """Place and looks of an element, as attributes; type comes from the style sheet."""
    rules = [rule.partition(":") for rule in element.get("style", "").split(";") if rule.strip()]
    looks = {name.strip(): value.strip() for name, _, value in rules}
    attributes = {name: _coloured(looks[name]) for name in _KEPT if name in looks}
    for name in ("x", "y"):
        if name in element.attrib:
            attributes[name] = _short(element.attrib[name])
    if "d" in element.attrib:
        attributes["d"] = _short(" ".join(element.attrib["d"].split()))
    if element.tag.endswith("path") and "id" in element.attrib:
        attributes["id"] = element.attrib["id"]
    if _XLINK in element.attrib:
        attributes["href"] = element.attrib[_XLINK]
    return attributes


def _coloured(value: str) -> str:
    return f"var(--{VARIABLES[value]})" if value in VARIABLES else value


def _short(numbers: str) -> str:
    """Coordinates to a hundredth of a pixel: smaller, and alike where the last bits of two machines differ."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]) + 0.0:.2f}".rstrip("0").rstrip("."), numbers)


def _written(attributes: dict[str, str]) -> str:
    from markupsafe import escape

    return "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())

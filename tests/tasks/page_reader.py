"""A page as a reader meets it: its tags, its words, and what it would load."""

from __future__ import annotations

import re
from html.parser import HTMLParser

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "כלב גדול", "a" * 300]
VOID = {"meta", "link", "br", "img", "wbr"}


class PageReader(HTMLParser):
    """The tags and the text of a page; fails where a tag is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        assert not self.open_tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.words.append(data)

    def named(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag with these values; `class_` for class."""
        asked = {name.rstrip("_"): value for name, value in wanted.items()}
        return [found for name, found in self.tags if name == tag and asked.items() <= found.items()]

    @property
    def pictures(self) -> list[str]:
        """The alternative texts of the pictures, in order."""
        return [str(found["alt"]) for found in self.named("img")]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def assert_self_contained(page: str) -> None:
    """Nothing is loaded, nothing runs, nothing is styled past the policy, and no name stands for two things."""
    tags = PageReader(page).tags
    links = {str(found[name]) for _, found in tags for name in ("href", "src") if found.get(name)}
    local = ("#", "data:image/jpeg;base64,", "data:,")
    assert {link for link in links if not link.startswith(local)} <= {"validation.html"}
    assert not {tag for tag, _ in tags} & {"script", "iframe", "object", "form", "base"}
    assert not [name for _, found in tags for name in found if name.startswith("on") or name == "style"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page)
    names = [found["id"] for _, found in tags if "id" in found]
    assert len(names) == len(set(names))
    assert all(found.get("alt") is not None for tag, found in tags if tag == "img")

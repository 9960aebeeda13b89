"""The page as a person uses it: a photo is chosen, dropped or pasted in a real browser, and its answer read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_scene import app_of
from browser import Page
from page_scene import (
    ANSWERED,
    HOSTILE,
    agrees,
    bars,
    browsing,
    choose,
    drop,
    expected,
    hostile_release,
    opened,
    put,
)
from served_app import served

from deploy.model import load_model


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_release(tmp_path_factory.mktemp("page") / "release")


@pytest.fixture(scope="module")
def address(release: Path) -> Iterator[str]:
    with served(app_of(release, limits={"body_mb": 1.0})) as address:
        yield address


def test_a_chosen_photo_is_answered_with_the_release_s_probabilities(
    page: Page, address: str, release: Path, tmp_path: Path
) -> None:
    opened(page, address)
    file = put(tmp_path, "holiday.jpg")

    choose(page, file)
    page.wait(ANSWERED)

    assert agrees(bars(page), expected(release, file))
    widths = page.value("[...document.querySelectorAll('.fill')].map(e => parseFloat(e.style.width))")
    assert widths == pytest.approx([100 * value for value in expected(release, file).values()], abs=1e-3)
    digest = load_model(release).digest
    assert f"release {digest[:12]}" in page.value("document.querySelector('#answer .by').innerText")
    assert "ms there and back" in page.text()
    best = next(iter(expected(release, file)))
    page.wait(f"document.getElementById('spoken').textContent.includes({json.dumps(best)})")
    assert page.value("document.getElementById('spoken').getAttribute('aria-live')") == "polite"
    page.wait("document.getElementById('preview').naturalWidth === 90")


def test_a_dropped_and_a_pasted_photo_are_answered_too(page: Page, address: str, release: Path, tmp_path: Path) -> None:
    opened(page, address)
    first = put(tmp_path, "dropped.jpg", 2)
    drop(page, first)
    page.wait(ANSWERED)
    assert agrees(bars(page), expected(release, first))
    assert page.value("document.getElementById('file').textContent") == "dropped.jpg"
    assert page.value("document.getElementById('veil').hidden")

    second = put(tmp_path, "pasted.png", 3)
    page.value(
        f"const data = new DataTransfer(); data.items.add(new File([new Uint8Array({list(second.read_bytes())})],"
        " 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))"
    )
    page.wait("document.querySelectorAll('#strip .value:not(:empty)').length === 2")
    assert agrees(bars(page), expected(release, second))


def test_nothing_that_a_release_or_a_file_says_becomes_markup(page: Page, address: str, tmp_path: Path) -> None:
    opened(page, address)
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    choose(page, put(tmp_path, f"{HOSTILE}.jpg"))
    page.wait(ANSWERED)

    assert page.value("document.title") == "made-up · Graft"
    assert page.value("document.querySelectorAll('img').length") == 1
    assert page.value("document.querySelectorAll('script').length") == 1
    assert page.value("document.getElementById('card').innerText").count(HOSTILE) == 3
    assert HOSTILE in bars(page)
    assert HOSTILE in page.value("document.getElementById('file').textContent")


def test_the_browser_keeps_to_the_policy_and_asks_nobody_else(page: Page, address: str, tmp_path: Path) -> None:
    opened(page, address)
    choose(page, put(tmp_path, "photo.jpg"))
    page.wait(ANSWERED)

    names = page.value("performance.getEntriesByType('resource').map(one => one.name)")
    assert len(names) >= 7
    assert all(name.startswith((f"{address}/", f"blob:{address}/")) for name in names)
    assert page.value("(() => { try { document.body.innerHTML = '<b>x</b>'; } catch { return true; } })()")
    for attempt, directive in (
        ("new Image().src = 'http://127.0.0.1:9/x.png'", "img-src"),
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "connect-src"),
        ("document.body.setAttribute('style', 'color: red')", "style-src-attr"),
    ):
        refused = (
            "document.addEventListener('securitypolicyviolation', one => done(one.effectiveDirective), {once: true})"
        )
        assert page.value(f"new Promise(done => {{ {refused}; {attempt}; }})") == directive

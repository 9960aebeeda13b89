"""The page as a person uses it: a photo is chosen, dropped or pasted in a real browser, and its answer read."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_scene import app_of
from browser import Page, chromium
from capture_scene import wait_for
from PIL import Image
from served_app import served
from small_release import make_release, photo, seal
from starlette.responses import JSONResponse

from deploy.app import make_app
from deploy.model import load_model
from deploy.settings import Settings
from tasks.opened_release import OpenedRelease
from tasks.params import ServeParams

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='document.title=1'>"
LABELS = [HOSTILE, "meadow", "ocean"]
CARD = f"# {HOSTILE}\n\n<script>document.title = 1</script> of `{HOSTILE}`\n\n| a |\n|---|\n| {HOSTILE} |\n"
SHOWN = "!document.getElementById('release').hidden"
ANSWERED = "document.querySelectorAll('#answer .bars .value').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with chromium(tmp_path_factory.mktemp("chromium"), port) as page:
        page.command("Network.enable")
        yield page


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose labels and card try to become markup."""
    folder = make_release(tmp_path_factory.mktemp("page") / "release", labels=LABELS)
    (folder / "model_card.md").write_text(CARD, encoding="utf-8")
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def address(release: Path) -> Iterator[str]:
    with served(app_of(release, limits={"body_mb": 1.0})) as address:
        yield address


def opened(page: Page, address: str, width: int = 1280, dark: bool = False) -> None:
    """Load the page anew at a width in CSS pixels; below 600 it is a phone."""
    phone = width < 600
    page.command(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=2 if phone else 1, mobile=phone
    )
    page.command("Emulation.setTouchEmulationEnabled", enabled=phone)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.command("Emulation.setEmulatedMedia", features=[scheme])
    page.command("Page.navigate", url=address)
    page.wait(SHOWN)


def choose(page: Page, *files: Path, field: str = "files") -> None:
    root = page.command("DOM.getDocument")["root"]["nodeId"]
    node = page.command("DOM.querySelector", nodeId=root, selector=f"#{field}")["nodeId"]
    page.command("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)


def drop(page: Page, file: Path) -> None:
    """Drag a file over the middle of the window and let it go."""
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.command("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)


def bars(page: Page) -> dict[str, str]:
    """What the stage says: label to percent, in their order."""
    rows = "[...document.querySelectorAll('#answer .bars li:not(.rest)')]"
    inside = "[li.querySelector('.label').textContent, li.querySelector('.value').textContent]"
    return dict(page.value(f"{rows}.map(li => {inside})"))


def put(folder: Path, name: str, seed: int = 1) -> Path:
    file = folder / name
    file.write_bytes(photo(seed, 90, 60))
    return file


def expected(release: Path, file: Path) -> dict[str, float]:
    opened = OpenedRelease(release)
    answer = opened.answer(opened.preprocess.prepare(file.read_bytes()))
    return {opened.labels[place]: float(answer[place]) for place in np.argsort(-answer, kind="stable")}


def agrees(shown: dict[str, str], probabilities: dict[str, float]) -> bool:
    """Whether the bars are the answer, each to a tenth of a percent."""
    near = {"<0.1%": (0.0, 0.0005), ">99.9%": (0.9995, 1.0)}
    numbers = {text: float(text.strip("<>%")) / 100 for text in shown.values()}
    bounds = [near.get(text) or (numbers[text] - 6e-4, numbers[text] + 6e-4) for text in shown.values()]
    inside = [low <= value <= high for (low, high), value in zip(bounds, probabilities.values(), strict=True)]
    return list(shown) == list(probabilities) and all(inside)


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
    assert " ms there and back" in page.text()
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


def test_of_several_photos_each_is_asked_and_can_be_looked_at_again(
    page: Page, address: str, release: Path, tmp_path: Path
) -> None:
    opened(page, address)
    files = [put(tmp_path, f"{number}.jpg", number) for number in range(4)]
    (tmp_path / "notes.jpg").write_text("no image")

    choose(page, *files, tmp_path / "notes.jpg")
    page.wait("document.querySelectorAll('#strip .value:not(:empty)').length === 4")
    page.wait("document.querySelectorAll('#strip .failed').length === 1")

    for number, file in enumerate(files):
        page.click(f"document.querySelectorAll('#strip button')[{number}]")
        assert agrees(bars(page), expected(release, file))
        assert page.value("document.getElementById('file').textContent") == file.name
    page.click("document.querySelectorAll('#strip button')[4]")
    page.says("This kind of file is not taken")
    page.says("not an image of an allowed format")


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


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_and_every_button_is_large_enough(
    page: Page, address: str, tmp_path: Path, width: int, dark: bool
) -> None:
    opened(page, address, width, dark)
    choose(page, *(put(tmp_path, f"{'long name ' * 8}{number}.jpg", number) for number in range(3)))
    page.wait("document.querySelectorAll('#strip .value:not(:empty)').length === 3")
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    heights = "[...document.querySelectorAll('button')].filter(e => e.offsetParent).map(e => e.offsetHeight)"
    assert min(page.value(heights)) >= 44
    assert page.value("getComputedStyle(document.getElementById('camera')).display !== 'none'") == (width < 600)
    assert contrast(page, "#answer .by") >= 4.5
    assert contrast(page, "#choose") >= 4.5


def contrast(page: Page, element: str) -> float:
    """WCAG 2 contrast of an element's text against the nearest ground that is not transparent."""
    colours = page.value(
        f"(() => {{ let e = document.querySelector({json.dumps(element)}); const ink = getComputedStyle(e).color;"
        "let ground; do { ground = getComputedStyle(e).backgroundColor; e = e.parentElement; }"
        " while (ground === 'rgba(0, 0, 0, 0)'); return [ink, ground]; })()"
    )
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_keyboard_alone_reaches_the_button_and_the_answers(page: Page, address: str, tmp_path: Path) -> None:
    opened(page, address)
    choose(page, put(tmp_path, "a.jpg", 1), put(tmp_path, "b.jpg", 2))
    page.wait("document.querySelectorAll('#strip .value:not(:empty)').length === 2")
    page.value("document.activeElement.blur()")

    reached = []
    for _ in range(6):
        page.command("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        page.command("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(page.value("document.activeElement.id || document.activeElement.getAttribute('aria-label')"))
        assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    assert reached[0] == "choose"
    assert reached[1].startswith("a.jpg: ")
    assert reached[2].startswith("b.jpg: ")


def test_a_file_larger_than_the_server_takes_is_told_without_being_sent(
    page: Page, address: str, tmp_path: Path
) -> None:
    opened(page, address)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(1_000_001))

    choose(page, large)

    page.says("This file is too large")
    page.says("this server takes up to 1 MB")
    names = page.value("performance.getEntriesByType('resource').map(one => one.name)")
    assert not [name for name in names if name.endswith("/predict")]


def test_an_unsure_release_says_that_it_gives_no_answer(page: Page, release: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (40, 40), (128, 128, 128)).save(grey)
    best, probability = next(iter(expected(release, grey).items()))
    with served(app_of(release, abstain_below=min(1.0, probability + 0.01))) as address:
        opened(page, address)
        choose(page, grey)
        page.says("Too unsure to say")

        assert best in page.text()
        assert page.value("document.querySelector('.bars.unsure') !== null")
        page.wait("document.getElementById('spoken').textContent.includes('no answer')")


class Troubled:
    """An application before which something stands that refuses the first photos with a status."""

    def __init__(self, app: Any, status: int, times: int, **headers: str) -> None:
        self.app, self.status, self.times, self.headers = app, status, times, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict" or self.times == 0:
            await self.app(scope, receive, send)
            return
        self.times -= 1
        error = {"error": {"code": "x", "message": f"words of {self.status}", "request_id": "r-1"}}
        await JSONResponse(error, self.status, self.headers)(scope, receive, send)


def test_a_busy_server_is_asked_again_until_it_answers(page: Page, release: Path, tmp_path: Path) -> None:
    file = put(tmp_path, "photo.jpg")
    with served(Troubled(app_of(release), 503, 1, **{"Retry-After": "1"})) as address:  # type: ignore[arg-type]
        opened(page, address)
        choose(page, file)
        page.says("busy; asking again in 1 s")
        page.wait(ANSWERED)

        assert agrees(bars(page), expected(release, file))


def test_a_server_that_fails_is_quoted_and_can_be_asked_again(page: Page, release: Path, tmp_path: Path) -> None:
    with served(Troubled(app_of(release), 500, 1)) as address:  # type: ignore[arg-type]
        opened(page, address)
        choose(page, put(tmp_path, "photo.jpg"))
        page.says("The server failed")
        page.says("Words of 500.")
        page.says("r-1")
        page.click("document.querySelector('#answer button')")
        page.wait(ANSWERED)


def test_a_server_that_is_gone_is_told_and_asked_again_when_it_is_back(
    page: Page, release: Path, tmp_path: Path
) -> None:
    with served(app_of(release)) as address:
        opened(page, address)
    choose(page, put(tmp_path, "photo.jpg"))

    page.says("The server cannot be reached")
    assert page.value("document.querySelector('#answer button').textContent") == "Try again"


def test_a_token_is_asked_for_and_kept_for_the_tab(
    page: Page, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_SERVE_TOKEN", "open-sesame")
    file = put(tmp_path, "photo.jpg")
    with served(app_of(release)) as address:
        page.open(address)
        page.says("This server wants a token")
        assert page.value("document.activeElement.id") == "token"
        choose(page, file)
        page.says("Waiting for")

        page.fill("document.getElementById('token')", "open-says-me")
        page.click("document.querySelector('#token-form button')")
        page.says("This token is not accepted")
        page.fill("document.getElementById('token')", "open-sesame")
        page.click("document.querySelector('#token-form button')")
        page.wait(ANSWERED)
        assert agrees(bars(page), expected(release, file))
        assert page.value("document.getElementById('token-form').hidden")
        assert page.value("localStorage.length") == 0
        assert page.value("document.cookie") == ""

        page.open(address)
        page.wait(SHOWN)
        assert page.value("document.getElementById('token-form').hidden")


def test_a_new_release_is_shown_with_its_first_answer(page: Page, release: Path, tmp_path: Path) -> None:
    other = make_release(tmp_path / "other", seed=5, labels=["dusk", "dawn"])
    app = make_app(Settings(ServeParams(), release.parent, release))
    with served(app) as address:
        opened(page, address)
        assert "3 classes" in page.text()
        app.state.worker.engine.model = load_model(other, "8")
        choose(page, put(tmp_path, "photo.jpg"))
        page.wait(ANSWERED)

        page.says("Version 8")
        assert set(bars(page)) == {"dusk", "dawn"}
        assert "2 classes" in page.value("document.getElementById('where').innerText")


def test_the_page_says_that_photos_are_kept(page: Page, release: Path, tmp_path: Path) -> None:
    capture = {"share": 0.5, "content": "inputs", "keep_days": 3, "folder": str(tmp_path / "captures")}
    before = threading.active_count()
    with served(app_of(release, capture=capture)) as address:
        opened(page, address)
        page.says("It keeps photo and answer of 50% of the photos for 3 days")
    wait_for(lambda: threading.active_count() <= before)

"""The page in a real browser where a server is busy, gone, guarded or renewed, and on small and dark screens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_scene import app_of
from browser import Page
from capture_scene import rows_of, wait_for
from page_scene import (
    ANSWERED,
    SHOWN,
    Troubled,
    agrees,
    bars,
    browsing,
    choose,
    contrast,
    expected,
    hostile_release,
    opened,
    put,
)
from PIL import Image
from served_app import served
from small_release import make_release

from deploy.app import make_app
from deploy.model import load_model
from deploy.settings import Settings
from tasks.params import ServeParams

pytestmark = pytest.mark.slow


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


def test_a_server_that_is_gone_is_told_with_a_button_to_ask_again(page: Page, release: Path, tmp_path: Path) -> None:
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
        assert "Bearer $TOKEN" in page.value("document.getElementById('curl').textContent")
        assert "open-sesame" not in page.value("document.documentElement.outerHTML")
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


def test_a_photo_is_sent_as_its_original_bytes(page: Page, release: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "a camera"
    noise = Image.effect_noise((2400, 1600), 80)
    noise.save(tmp_path / "large.jpg", quality=92, exif=exif)
    captures = tmp_path / "captures"
    with served(app_of(release, capture={"share": 1.0, "content": "inputs", "folder": str(captures)})) as address:
        opened(page, address)
        choose(page, tmp_path / "large.jpg")
        page.wait(ANSWERED)
        assert page.value("document.getElementById('size').textContent").startswith("1600 \u00d7 2400")

    assert [one["image"] == (tmp_path / "large.jpg").read_bytes() for one in rows_of(captures)] == [True]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("scores", "answer and fingerprint (sha256), not the picture,"),
        ("embeddings", "answer, fingerprint (sha256) and what the model computed, not the picture,"),
        ("inputs", "photo and answer"),
    ],
)
def test_the_page_says_what_is_kept_of_photos(
    page: Page, release: Path, tmp_path: Path, content: str, kept: str
) -> None:
    capture = {"share": 0.5, "content": content, "keep_days": 3, "folder": str(tmp_path / "captures")}
    before = threading.active_count()
    with served(app_of(release, capture=capture)) as address:
        opened(page, address)
        page.says(f"It keeps {kept} of 50% of the photos for 3 days")
    wait_for(lambda: threading.active_count() <= before)

"""The page's files and /card: what a browser is given, what it may do with it, and what it has already."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_scene import app_of, png
from asgi_client import AsgiClient, asking
from release_scene import add_release, make_store
from small_release import make_release

from deploy.app import make_app
from deploy.model import load_model
from deploy.page_routes import PAGE_FILES, PAGE_PATHS
from deploy.settings import Settings
from tasks.params import ServeParams

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "deploy" / "page"
OUTSIDE = re.compile(rb"(?:https?:)?//(?!www\.w3\.org/2000/svg\b)[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)


@pytest.fixture(scope="module")
def client(release_template: Path) -> Iterator[AsgiClient]:
    with asking(app_of(release_template)) as client:
        yield client


def test_every_file_of_the_page_is_served_and_packed(client: AsgiClient) -> None:
    assert {file.name for file in PAGE.iterdir()} == set(PAGE_FILES)
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert "page/*" in packed["deploy"]
    for path in PAGE_PATHS:
        name = path.removeprefix("/page/") if path != "/" else "index.html"
        reply = client.get(path)
        assert (reply.status, reply.body) == (200, (PAGE / name).read_bytes())
        assert reply.headers["content-type"] == PAGE_FILES[name]


def test_everything_that_the_page_names_is_there(client: AsgiClient) -> None:
    markup = client.get("/").body.decode()
    named = re.findall(r'(?:href|src)="([^"]+)"', markup)
    modules = [
        (name, one)
        for name in PAGE_FILES
        if name.endswith(".js")
        for one in re.findall(r'from "\./([^"]+)"', (PAGE / name).read_text(encoding="utf-8"))
    ]

    assert {"page/page.css", "page/page.js", "page/icon.svg"} == set(named)
    assert modules
    for path in [f"/{one}" for one in named] + [f"/page/{one}" for _, one in modules]:
        assert client.get(path).status == 200, path


def test_every_element_that_the_scripts_ask_for_is_in_the_page() -> None:
    scripts = "".join(file.read_text(encoding="utf-8") for file in PAGE.glob("*.js"))
    known = set(re.findall(r'\bid="([^"]+)"', (PAGE / "index.html").read_text(encoding="utf-8")))

    wanted = set(re.findall(r'\bpart\("([^"]+)"\)', scripts))
    assert len(wanted) > 15
    assert wanted <= known


def test_nothing_of_the_page_comes_from_elsewhere_and_no_script_or_style_stands_in_it() -> None:
    for file in PAGE.iterdir():
        assert not OUTSIDE.search(file.read_bytes()), file.name
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", markup)


def test_no_script_makes_markup_or_code_of_a_text() -> None:
    for file in PAGE.glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|\bFunction\(|srcdoc",
            file.read_text(encoding="utf-8"),
        )
        assert not found, file.name


@pytest.mark.parametrize("path", sorted(PAGE_PATHS | {"/card"}))
def test_the_policy_lets_nothing_in_but_from_this_server(client: AsgiClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob:"
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/card"])
def test_what_a_browser_has_already_is_not_sent_again(client: AsgiClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "private, no-cache"

    for known in (first.headers["etag"], f"W/{first.headers['etag']}", f'"other", {first.headers["etag"]}', "*"):
        again = client.get(path, if_none_match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    for other in ('"other"', "", first.headers["etag"].strip('"')):
        assert client.get(path, if_none_match=other).status == 200


def test_head_gives_the_page_s_headers(client: AsgiClient) -> None:
    reply = client.ask("HEAD", "/")

    assert (reply.status, reply.headers["etag"]) == (200, client.get("/").headers["etag"])


@pytest.mark.parametrize(
    "path", ["/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page/index.html", "/index.html"]
)
def test_no_other_path_gives_a_file(client: AsgiClient, path: str) -> None:
    assert client.get(path).status == 404


def test_the_card_says_what_answers_and_what_the_server_takes(client: AsgiClient, release_template: Path) -> None:
    card, answer = client.get("/card").json, client.post("/predict", png()).json

    assert (card["name"], card["version"], card["digest"]) == (answer["model"], answer["version"], answer["digest"])
    assert card["labels"] == ["ember", "meadow", "ocean"]
    assert card["test_items"] == 100
    assert card["accuracy"] == pytest.approx({"value": 0.9, "low": 0.85, "high": 0.94})
    assert (card["resize"], card["crop"], card["top_k"], card["body_mb"]) == (32, 32, 5, 20.0)
    assert "JPEG" in card["formats"]
    assert card["captured"] is None
    assert card["blocks"][0] == {"kind": "heading", "level": 1, "spans": [{"text": "made-up"}]}
    assert str(release_template.parent) not in client.get("/card").body.decode()


def test_the_card_says_that_photos_are_kept(release_template: Path, tmp_path: Path) -> None:
    capture = {"share": 0.25, "content": "inputs", "keep_days": 2, "folder": str(tmp_path / "captures")}
    with asking(app_of(release_template, capture=capture)) as client:
        assert client.get("/card").json["captured"] == {"share": 0.25, "content": "inputs", "keep_days": 2.0}
        assert str(tmp_path) not in client.get("/card").body.decode()


def test_the_card_is_of_the_release_that_answers_now(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", seed=0, version=1)
    second = add_release(store, seed=1)
    app = make_app(Settings(ServeParams(), store))
    with asking(app) as client:
        first = client.get("/card")
        engine = app.state.worker.engine
        engine.model = load_model(store / second, "2", second)
        now = client.get("/card", if_none_match=first.headers["etag"])

        assert first.json["version"] == "1"
        assert (now.status, now.json["version"], now.json["digest"]) == (200, "2", second)


def test_the_page_needs_no_token_and_the_card_does(
    release_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("open-sesame\n", encoding="utf-8")
    monkeypatch.delenv("GRAFT_SERVE_TOKEN", raising=False)
    with asking(app_of(release_template, token_file=str(tmp_path / "token"))) as client:
        for path in PAGE_PATHS:
            assert client.get(path).status == 200
        assert client.get("/card").status == 401
        assert client.get("/card", authorization="Bearer open-sesame").status == 200


def test_labels_and_cards_of_any_text_come_as_json_text(tmp_path: Path) -> None:
    labels = ["<img src=x onerror=alert(1)>", "</script>", "\u202egnp.exe"]
    with asking(app_of(make_release(tmp_path / "release", labels=labels))) as client:
        reply = client.get("/card")

        assert reply.headers["content-type"] == "application/json"
        assert reply.json["labels"] == labels


def test_the_page_has_the_colours_of_the_reports() -> None:
    """deploy knows no reports, so that the colours stand twice."""

    def colours(file: Path) -> list[dict[str, str]]:
        roots = re.findall(r":root \{([^}]*)\}", file.read_text(encoding="utf-8"))
        return [dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6});", root)) for root in roots]

    ours, reports = colours(PAGE / "page.css"), colours(ROOT / "tasks" / "plots" / "page.css")
    assert len(ours) == len(reports) == 2
    for mine, theirs in zip(ours, reports, strict=True):
        assert len(mine) >= 13
        assert mine.items() <= theirs.items()

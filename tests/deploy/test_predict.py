"""POST /predict over a release made in code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_scene import app_of, png
from asgi_client import FORM, AsgiClient, asking, form

from tasks.opened_release import OpenedRelease


@pytest.fixture(scope="module")
def client(release_template: Path) -> Iterator[AsgiClient]:
    with asking(app_of(release_template)) as client:
        yield client


def test_a_body_and_a_form_of_any_field_name_are_answered_as_the_release_answers(
    client: AsgiClient, release_template: Path
) -> None:
    opened, photo = OpenedRelease(release_template), png()
    expected = opened.answer(opened.preprocess.prepare(photo))

    replies = [
        client.post("/predict", photo),
        client.post("/predict", photo, "image/png"),
        client.post("/predict", photo, "application/x-www-form-urlencoded"),
        client.post("/predict", form(("file", "a.png", photo)), FORM),
        client.post("/predict", form(("picture", "", photo)), FORM),
    ]

    for reply in replies:
        assert reply.status == 200, reply.body
        found = {one["label"]: one["probability"] for one in reply.json["predictions"]}
        assert list(found) == [opened.labels[place] for place in np.argsort(-expected)]
        assert [found[label] for label in opened.labels] == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_reply_names_release_and_request(client: AsgiClient) -> None:
    reply = client.post("/predict", png(), x_request_id="order-66")

    assert reply.json["model"] == "made-up"
    assert len(reply.json["digest"]) == 64
    assert reply.json["version"] == reply.json["digest"][:12]
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "order-66"


def test_top_k_gives_so_many_of_the_likeliest(client: AsgiClient) -> None:
    all_of_them = client.post("/predict", png()).json["predictions"]

    assert client.post("/predict?top_k=1", png()).json["predictions"] == all_of_them[:1]
    assert client.post("/predict?top_k=2", png()).json["predictions"] == all_of_them[:2]
    assert client.post("/predict?top_k=1000", png()).json["predictions"] == all_of_them


@pytest.mark.parametrize(
    "query",
    ["top_k=0", "top_k=1001", "top_k=-1", "top_k=", "top_k=1.5", "top_k=two", "top_k=%D9%A3", "top_k=1&top_k=2", "k=1"],
)
def test_another_query_is_refused_with_what_is_known(client: AsgiClient, query: str) -> None:
    reply = client.post(f"/predict?{query}", png())

    assert (reply.status, reply.error["code"]) == (400, "bad_query")
    assert "top_k" in reply.error["message"]


def test_an_answer_below_the_threshold_abstains(release_template: Path) -> None:
    with asking(app_of(release_template, abstain_below=1.0)) as client:
        unsure = client.post("/predict", png()).json
    with asking(app_of(release_template, abstain_below=0.01)) as client:
        sure = client.post("/predict", png()).json

    assert (unsure["abstained"], sure["abstained"]) == (True, False)
    assert unsure["predictions"] == sure["predictions"]


@pytest.mark.parametrize(
    ("photo", "status", "code"),
    [
        (b"hello", 415, "format_not_allowed"),
        (b"\x89PNG\r\n\x1a\nbroken", 422, "undecodable"),
        (png()[:-40], 422, "undecodable"),
        (png(40, 60), 422, "too_many_pixels"),
    ],
)
def test_a_file_that_is_no_usable_image_is_refused_by_kind(
    release_template: Path, photo: bytes, status: int, code: str
) -> None:
    with asking(app_of(release_template, limits={"max_pixels": 2000})) as client:
        reply = client.post("/predict", photo)

    assert (reply.status, reply.error["code"]) == (status, code)


def test_a_format_that_is_not_allowed_is_named_with_those_that_are(release_template: Path) -> None:
    with asking(app_of(release_template, limits={"formats": ["JPEG", "WEBP"]})) as client:
        reply = client.post("/predict", png())

    assert (reply.status, reply.error["code"]) == (415, "format_not_allowed")
    assert "JPEG, WEBP" in reply.error["message"]
    assert "PNG" in reply.error["message"]


def test_json_is_told_what_is_wanted(client: AsgiClient) -> None:
    reply = client.post("/predict", b'{"image": "..."}', "application/json; charset=utf-8")

    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    assert "multipart/form-data" in reply.error["message"]
    assert "/v2/models" in reply.error["message"]

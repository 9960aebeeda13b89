"""A run from Prefect's pages, as a person starts it: the form, a bad value, Released, the artifacts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from browser import Page, chromium
from server_desk import ServerDesk, free_port, make_server_desk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerDesk]:
    made = make_server_desk(tmp_path_factory.mktemp("pages").resolve())
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile", free_port()) as page:
        yield page


def field(label: str) -> str:
    """The part of the form under a label."""
    name = "e.querySelector('.schema-form-property__label')?.innerText.replace(' (Optional)', '')"
    return f"[...document.querySelectorAll('.schema-form-property')].find(e => {name} === {json.dumps(label)})"


def button(text: str, within: str = "document") -> str:
    return f"[...{within}.querySelectorAll('button, a')].find(e => e.innerText.trim() === {json.dumps(text)})"


def test_a_person_starts_a_run_from_the_form_and_reads_what_it_made(server: ServerDesk, page: Page) -> None:
    deployment = server.deployment("deployed-adapt/on-demand")["id"]
    page.open(f"{server.url}/deployments/deployment/{deployment}/run")
    page.says("What the run is for")
    page.fill(f"{field('why')}.querySelector('textarea')", "from the page")

    page.click(button("set here", field("adapt")))
    page.says("The method and its settings.")
    named = page.value(f"[...{field('Method')}.querySelectorAll('button')].map(e => e.innerText.trim())")
    assert [name for name in named if name][:3] == ["linear_probe", "fine_tune", "from_scratch"]

    page.click(button("as the commit says", field("adapt")))

    page.click(button("set here", field("gate")))
    page.fill(f"{field('Min Test Items')}.querySelector('input')", "4")
    page.fill(f"{field('Min Test Items Per Class')}.querySelector('input')", "2")
    assert page.value(f"{field('Alpha')} === undefined")  # the rule against the champion is the commit's
    page.fill(f"{field('Gain Over Raw Pixels')}.querySelector('input')", "1.5")
    page.click(button("Submit"))
    page.says("'settings.gate.gain_over_raw_pixels.minimum'. Failure reason: 1.5 is greater than the maximum of 1")
    keep(page, "bad-value")
    page.no_longer_says("Failure reason")  # the message lies over Submit

    page.fill(f"{field('Gain Over Raw Pixels')}.querySelector('input')", "-1")
    submit(page)
    page.click(button("View run"))
    page.says("Released", 600)
    keep(page, "released")
    (run,) = server.flow_runs(flow_runs={"deployment_id": {"any_": [deployment]}})
    assert run["state"]["name"] == "Released", server.log("worker")
    assert run["parameters"]["settings"]["gate"]["gain_over_raw_pixels"]["minimum"] == -1
    assert "champion" not in run["parameters"]["settings"]["gate"]
    assert run["parameters"]["settings"]["adapt"] is None

    page.click("[...document.querySelectorAll('.p-tab')].find(e => e.innerText.trim() === 'Artifacts')")
    for key in ("metrics", "verdict", "confusion-matrix"):
        page.says(key)
    keep(page, "artifacts")
    page.click("[...document.querySelectorAll('.artifact-card__title')].find(e => e.innerText.trim() === 'verdict')")
    page.says("Passed the gate")
    page.says("min_test_items_per_class")
    keep(page, "verdict")


def test_a_person_approves_a_version_in_the_form_with_the_verdict_beside_it(server: ServerDesk, page: Page) -> None:
    server.commit_on_a_branch("asking", {"promotion": {"automatic": True, "approval": True, "approval_hours": 1}})
    settings = {"split": {"seed": 3}, "export": {"licence": "CC0-1.0 or later"}}
    run = server.begin("deployed-adapt/on-demand", why="to be asked", commit="asking", settings=settings)[1]["id"]
    page.open(f"{server.url}/runs/flow-run/{run}")
    page.click(button("Resume"), 400)
    page.says("take over production?")
    page.says("Put this version into production.")
    keep(page, "approval")
    page.fill(f"{field('Name')}.querySelector('textarea, input')", "Ada")
    page.fill(f"{field('Reason')}.querySelector('textarea, input')", "looks good")
    page.click(f"{field('Approve')}.querySelector('.p-toggle__control, input[type=checkbox]')")
    keep(page, "approval-filled")
    page.click(button("Submit", "document.querySelector('.p-modal, [role=dialog]')"))
    assert server.ended(run, 120)["name"] == "Released"
    (change,) = json.loads(server.desk.graft("history", "--json").stdout)["changes"]
    assert (change["actor"], change["reason"], change["forced"]) == ("Ada", "looks good", False)


def submit(page: Page) -> None:
    """Again where SQLite's server was too busy to answer, as docs/server.md tells a person to."""
    for _ in range(4):
        page.click(button("Submit"))
        with suppress(AssertionError):
            return page.says("scheduled to start", 20)
    page.says("scheduled to start")
    return None


def keep(page: Page, name: str) -> None:
    """A picture for somebody who wants to see it: GRAFT_SCREENSHOTS names the folder."""
    if folder := os.environ.get("GRAFT_SCREENSHOTS"):
        page.shot(Path(folder) / f"{name}.png")
